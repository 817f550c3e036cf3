"""The pages are followed as a reader would: files are written, commands are typed, in the order of the page.

In a page, a block of TOML or Python whose first line is ``# NAME`` is that file. A block of the language
``console`` holds commands after ``$``; what ``$ cat NAME`` shows is that file. A command ends with exit code 0
unless a comment before its block says ``<!-- exit code 1 -->``, and ``<!-- not run: REASON -->`` takes a block out.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from markdown_it import MarkdownIt

from pytest_llmperf.config.catalog import load_catalog
from tests.lora import write_adapter

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

ROOT = Path(__file__).resolve().parents[3]
_FILE = re.compile(r"# ([\w./-]+\.(?:py|toml|ini))")
_EXIT = re.compile(r"<!-- exit code (\d) -->")
# Of a row, what its stand-in needs not: everything that belongs to real weights and a real device.
_REAL_ONLY = {
    "revision",
    "dtype",
    "quantization",
    "gpu_memory_fraction",
    "gpus",
    "arguments",
    "add_arguments",
}


@dataclass(frozen=True)
class Block:
    """One block of code of a page."""

    language: str
    text: str
    where: str
    """Page and line."""
    note: str = ""
    """The comment before it."""

    @property
    def file(self) -> str | None:
        """The name of the file that this block is."""
        name = _FILE.fullmatch(self.text.split("\n", 1)[0])
        return name[1] if name and self.language in ("python", "toml", "ini") else None

    @property
    def is_run(self) -> bool:
        return not self.note.startswith("<!-- not run: ")

    @property
    def exit_code(self) -> int:
        said = _EXIT.search(self.note)
        return int(said[1]) if said else 0

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Each command with what the page shows of its output."""
        parts = re.split(r"^\$ (.*)\n?", self.text, flags=re.MULTILINE)[1:]
        return list(zip(parts[::2], parts[1::2], strict=True))


def blocks(page: Path) -> list[Block]:
    """All blocks of code of a page, as CommonMark sees them."""
    found, note = [], ""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            note = token.content.strip()
        elif token.type in ("fence", "code_block"):
            line = (token.map or [0])[0] + 1
            where = f"{page.relative_to(ROOT)}:{line}"
            found.append(Block(token.info.strip(), token.content, where, note))
            note = ""
        elif token.type != "paragraph_close":
            note = ""
    return found


@dataclass
class Reader:
    """Follows one page in a project whose engine is the stand-in."""

    project: Project
    answers: str
    """For the knob ``ANSWERS``."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """Addresses in the page → where a server really is."""
    knobs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """More knobs of the stand-in, by row."""
    results: list[Result] = field(default_factory=list)

    def follow(self, page: Path) -> list[Result]:
        """Raises where a command does not end as the page says."""
        for block in blocks(page):
            if not block.is_run:
                continue
            if block.file:
                self._write(block.file, block.text)
            elif block.language == "console":
                for command, shown in block.commands:
                    self._type(block, command, shown)
        return self.results

    def _write(self, name: str, text: str) -> None:
        if name == "models.toml":
            self.project.write(name, text)
            text = self.served_by_the_stand_in(self.project.path / name)
        elif name == "conftest.py":
            text = (self.project.path / name).read_text(encoding="utf-8") + "\n\n" + text
        self.project.write(name, text)

    def _type(self, block: Block, command: str, shown: str) -> None:
        words = shlex.split(self._at(command))
        environment = {}
        while "=" in words[0]:
            name, _, environment[name] = words.pop(0).partition("=")
        match words:
            case ["cat", name]:
                self.project.write(name, shown)
            case ["pytest", *arguments]:
                self._pytest(block, command, arguments, environment)
            case ["pytest-llmperf", *arguments]:
                self._command(block, command, "pytest_llmperf", arguments)
            case ["python", "-m", "contrib.claims", *arguments]:
                self._command(block, command, "contrib.claims", arguments)
            case ["tox", "run", "-e", "suites", "--", *arguments]:
                self._pytest(block, command, ["suites/", *arguments], environment)
            case _:
                pytest.fail(f"{block.where}: nobody runs this command: {command}")

    def _pytest(
        self, block: Block, command: str, arguments: list[str], environment: Mapping[str, str]
    ) -> None:
        result = self.project.run(*arguments, environment=environment, timeout_s=120)
        self.results.append(result)
        assert result.code == block.exit_code, f"{block.where}: {command}\n{result.text}"
        assert result.noise == [], block.where

    def _command(self, block: Block, command: str, module: str, arguments: list[str]) -> None:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.project.path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        told = done.stdout + done.stderr
        assert done.returncode == block.exit_code, f"{block.where}: {command}\n{told}"
        assert "Traceback" not in told, block.where

    def _at(self, text: str) -> str:
        for written, real in self.urls.items():
            text = text.replace(written, real)
        return text

    def served_by_the_stand_in(self, path: Path) -> str:
        """The page's catalogue, which must be a right one, with other weights and no need of a GPU."""
        models = {name: profile.models for name, profile in load_catalog(path).profiles.items()}
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))["profile"]
        text = ""
        for name, profile in profiles.items():
            rows = profile.pop("model")
            profile.pop("sizes", None)  # the test's own are smaller
            text += _table(f"profile.{name}", {**profile, "task": "embedded", "needs_cuda": False})
            for row, keys in rows.items():
                if (adapter := models[name][row].adapter) is not None:
                    write_adapter(Path(adapter), self.project.path / "weights")
                if models[name][row].host is not None:
                    own = {key: value for key, value in keys.items() if not isinstance(value, dict)}
                    text += _table(f"profile.{name}.model.{row}", own)
                    text += _tables(f"profile.{name}.model.{row}", keys)
                    continue
                sizes = {"weights": self._weights(row, small=row == profile["candidate"])}
                faster = row == profile["candidate"]
                text += _table(f"profile.{name}.model.{row}", self._row(keys) | sizes)
                text += _tables(f"profile.{name}.model.{row}", keys)
                if "base_url" not in keys:
                    knobs = {"ANSWERS": self.answers, "TTFT_S": "0.04" if faster else "0.06"}
                    knobs["TPOT_S"] = "0.006" if faster else "0.009"
                    knobs |= self.knobs.get(row, {})
                    text += _table(
                        f"profile.{name}.model.{row}.environment",
                        {f"FAKE_ENGINE_{key}": value for key, value in knobs.items()},
                    )
        return text

    def _row(self, keys: Mapping[str, Any]) -> dict[str, Any]:
        row = {k: v for k, v in keys.items() if k not in _REAL_ONLY and not isinstance(v, dict)}
        if "base_url" in row:
            return row | {"base_url": self._at(row["base_url"])}
        if "extends" in row:
            return row | (
                {"engine_python": str(self.project.path / "engine_python")} if "engine_python" in row else {}
            )
        return row | {
            "engine_python": str(self.project.path / "engine_python"),
            "gpus": 0,
            "max_model_len": 2048,
            "arguments": ["--load-format", "dummy"],
        }

    def _weights(self, row: str, *, small: bool) -> str:
        """A directory of weights for a row; the candidate's are half as large."""
        directory = self.project.path / f"weights-{row}"
        directory.mkdir(exist_ok=True)
        for file in (self.project.path / "weights").iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
        (directory / "pytorch_model.bin").write_bytes(bytes(5_000 if small else 10_000))
        return str(directory)


def _table(name: str, values: Mapping[str, Any]) -> str:
    return f"[{name}]\n" + "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items()
    )


def _tables(name: str, keys: Mapping[str, Any]) -> str:
    return "".join(
        _table(f"{name}.{key}", {k: v for k, v in value.items() if k not in ("max_tokens", "thinking")})
        for key, value in keys.items()
        if isinstance(value, dict) and key in ("sampling", "rules")
    )


@pytest.fixture
def reader(project: Project, solver: str) -> Reader:
    """A reader with a machine that answers four questions of five rightly, and the page's model a bit faster."""
    project.shrink(
        items=400, variant_items=400, quality_items=20, rounds=6, prompt_tokens=16, answer_tokens=16
    )
    project.write("budgets.toml", "")
    return Reader(project, solver)


@pytest.fixture(name="page_blocks")
def page_blocks_fixture() -> Callable[[Path], list[Block]]:
    return blocks


@pytest.fixture(scope="session")
def options() -> set[str]:
    """Every option that the plugin, or the plugin of claims, adds to pytest's."""
    from contrib.claims import plugin as claims
    from pytest_llmperf import model_option, plugin

    found: set[str] = set()

    class Parser:
        def getgroup(self, *_: str) -> Parser:
            return self

        def addoption(self, *names: str, **_: Any) -> None:
            found.update(names)

        def addini(self, *_: Any, **__: Any) -> None: ...

    parser: Any = Parser()
    plugin.pytest_addoption(parser)
    claims.pytest_addoption(parser)
    model_option.register(parser)
    return found
