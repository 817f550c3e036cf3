"""A command of a stranger: the file and the entry point of the guide, installed in another directory."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pytest_llmperf.record.store import write_record
from tests.integration.docs.conftest import ROOT, blocks
from tests.record.test_references import RUN

PAGE = ROOT / "docs" / "how-to" / "own-command.md"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with the guide's package as pip would install it, and with one that cannot be imported."""
    files = {block.file: block.text for block in blocks(PAGE) if block.file}
    site = tmp_path / "site"
    [(group, entries)] = tomllib.loads(files["pyproject.toml"])["project"]["entry-points"].items()
    for package, announced in (("slowest_tests", entries), ("broken", {"broken": "no_such_module:add"})):
        about = site / f"{package}-1.0.dist-info"
        about.mkdir(parents=True)
        lines = [f"[{group}]", *(f"{name} = {value}" for name, value in announced.items())]
        (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (site / "slowest_tests.py").write_text(files["slowest_tests.py"], encoding="utf-8")
    return site


@pytest.fixture
def record(tmp_path: Path) -> Path:
    tests = [
        {"test": f"t.py::test_{name}", "outcome": "passed", "seconds": seconds}
        for name, seconds in (("quick", 1.0), ("slow", 700.0))
    ]
    write_record(tmp_path / "night.json", RUN | {"tests": tests})
    return tmp_path / "night.json"


def call(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest_llmperf", *map(str, arguments)],
        cwd=site.parent,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(site), str(ROOT)))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_reads_a_record_and_sets_the_exit_code(site: Path, record: Path) -> None:
    done = call(site, "slowest", record)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["   700.0 s  t.py::test_slow", "     1.0 s  t.py::test_quick"]
    assert call(site, "slowest", record, "--limit", 600).returncode == 1


def test_it_stands_in_the_help_and_in_the_completion(site: Path) -> None:
    assert "list the tests of a run that took longest" in call(site, "--help").stdout
    assert "slowest" in call(site, "completion", "bash").stdout


def test_its_errors_are_one_line(site: Path) -> None:
    done = call(site, "slowest", "nowhere.json")
    assert done.returncode == 4
    [line] = done.stderr.splitlines()
    assert line.startswith("pytest-llmperf slowest: ")


def test_a_command_that_cannot_be_imported_says_so_and_spoils_no_other(site: Path, record: Path) -> None:
    done = call(site, "broken", "--any", "argument")
    assert done.returncode == 4
    assert done.stderr == (
        "pytest-llmperf broken: cannot be loaded from no_such_module:add: ModuleNotFoundError: "
        "No module named 'no_such_module'\n"
    )
    assert call(site, "show", record).returncode in (0, 1)
