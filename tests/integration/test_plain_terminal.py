"""A machine whose terminal and locale know ASCII alone: a CI's container, an old console."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Project, Result

# Python would otherwise take UTF-8 in place of this locale, and hide files that are opened without saying how.
PLAIN = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def ran(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory, solver: str
) -> tuple[Project, Result]:
    """A run with a green gate, a red one and an error, all of whose files are asked for."""
    project = make_project(tmp_path_factory.mktemp("plain") / "gates")
    project.catalog({"distill": {"ANSWERS": solver}})
    project.shrink(items=40)
    project.suite("""
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.2
        def test_too_much(candidate, accuracy):
            assert accuracy(candidate) >= 0.99
        def test_says_what_no_code_page_has(candidate):
            raise ValueError("→ 模 …")
    """)
    files = ("--junit-xml", "j.xml", "--llmperf-markdown", "s.md", "--llmperf-metrics", "m.prom")
    return project, project.run("--llmperf-record", "record.json", *files, environment=PLAIN)


def test_a_whole_run_writes_its_arrows_and_dots_otherwise(ran: tuple[Project, Result]) -> None:
    _, result = ran
    assert result.code == 1, result.text
    assert result.text.isascii()
    assert "UnicodeEncodeError" not in result.text
    assert "\\u2192" not in result.text
    assert result.lines("llmperf: test profile on CPU: distill -> ")
    assert result.lines("FAIL: embedded accuracy")
    assert result.lines("ValueError: -> ? ...")
    assert result.lines("record.json, page: record.html")


def test_its_files_hold_everything_as_it_is(ran: tuple[Project, Result]) -> None:
    project, _ = ran
    for name in ("s.md", "record.html"):
        text = (project.path / name).read_text(encoding="utf-8")
        assert "…" in text, name
    assert "→ 模 …" in (project.path / "j.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["show", "history", "compare", "claims"])
def test_the_commands_do_the_same(ran: tuple[Project, Result], command: str) -> None:
    project, _ = ran
    arguments = {
        "show": ["record.json"],
        "history": ["."],
        "compare": ["record.json", "record.json"],
        "claims": [str(ROOT / "contrib" / "claims" / "suite" / "claims.toml")],
    }[command]
    module = ["contrib.claims"] if command == "claims" else ["pytest_llmperf", command]
    done = subprocess.run(
        [sys.executable, "-m", *module, *arguments],
        cwd=project.path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(project.path)} | PLAIN,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == (command == "show"), done.stderr  # the run is red
    assert done.stdout.isascii()
    assert len(done.stdout) > 50
