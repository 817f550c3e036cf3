"""The reference pages say what the code says: whole, and as it is now."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
REMEDY = "is behind the code: run `python docs/generate.py`, and commit what it writes"


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES: dict[str, str] = _generator().pages()


def _told_by_pytest(*arguments: str, cwd: Path) -> str:
    """What pytest itself says of the plugin, outside this project."""
    command = [sys.executable, "-m", "pytest", *arguments, "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says_now(name: str) -> None:
    path = DOCS / "reference" / name
    assert path.is_file(), f"{path.name} {REMEDY}"
    assert path.read_text(encoding="utf-8") == PAGES[name], f"{path.name} {REMEDY}"


def test_no_page_is_left_over() -> None:
    assert {path.name for path in (DOCS / "reference").glob("*.md")} == set(PAGES)


def test_every_option_that_pytest_lists_is_explained(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    help_text = _told_by_pytest("--help", cwd=tmp_path)
    options = set(re.findall(r"^ +(--llmperf-[a-z-]+|--model|--baseline)\b", help_text, re.MULTILINE))
    assert {"--model", "--llmperf-record"} <= options
    assert options == set(re.findall(r"^\| `(--[a-z-]+)", PAGES["options.md"], re.MULTILINE))


def test_every_fixture_that_pytest_lists_is_explained(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    listed = _told_by_pytest("--fixtures", "-c", "pytest.ini", cwd=tmp_path)
    ours = set(re.findall(r"^(\w+).* -- .*pytest_llmperf/fixtures\.py", listed, re.MULTILINE))
    assert {"candidate", "accuracy"} <= ours
    assert ours == set(re.findall(r"^\| `(\w+)` \| (?:session|function)", PAGES["fixtures.md"], re.MULTILINE))


def test_every_key_of_the_shipped_catalogues_is_explained() -> None:
    import tomllib

    suites = DOCS.parent / "suites"
    rows = [
        row
        for profile in tomllib.loads((suites / "models.toml").read_text(encoding="utf-8"))["profile"].values()
        for row in profile["model"].values()
    ]
    keys = {key for row in rows for key in row} | {key for row in rows for key in row.get("sampling", {})}
    assert {key for key in keys if f"| `{key}` |" not in PAGES["models.md"]} == set()
    budgets = tomllib.loads((suites / "budgets.toml").read_text(encoding="utf-8"))
    asked = {
        key
        for profile in budgets.values()
        for device in profile.values()
        for suite in device.values()
        for key in suite
        if key != "catches"
    }
    assert len(asked) > 10
    assert {key for key in asked if f"| `{key}` |" not in PAGES["budgets.md"]} == set()


def test_what_has_to_be_written_by_hand_has_a_meaning() -> None:
    """A key of a row or an option without a word on it helps nobody."""
    row = PAGES["models.md"].split("## A row")[1].split("\n## ")[0]
    empty = [line for line in row.splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert empty == []
