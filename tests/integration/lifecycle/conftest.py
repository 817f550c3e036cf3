"""The same scenarios on the fake process tree and on real vLLM, and the table that they write into the docs."""

from __future__ import annotations

import datetime
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.engines.vllm import ENGINE
from pytest_llmperf.serving.engine_probe import EngineVersion, engine_version
from pytest_llmperf.serving.weights import embedded_directory

if TYPE_CHECKING:
    from tests.integration.conftest import Ending, Project, Result, Running

PAGE = Path(__file__).resolve().parents[3] / "docs" / "lifecycle.md"
FAKE, REAL = "A stand-in with vLLM's family of processes", "Real vLLM on the CPU"
HEAD = """# What was killed, and what was left

Written by the tests in `tests/integration/lifecycle` (with `LLMPERF_WRITE_DOCS=1`), never by hand. Each line is a
scenario with a pytest process of its own. *Starts* counts starts of an engine, by row. *Left* counts every process that
the run had started (pytest, xdist workers, keepers, API processes, engines and their workers, all found by a mark in
their environment) ten seconds after the event at the latest. *Seconds* is the time from the event until there was none
and every port was free; of the engine's own sockets none was left either. A run writes the lines of the scenarios that
it had, and leaves the others as they are.
"""


@dataclass
class Table:
    """Lines of one section."""

    title: str
    command: str
    versions: str
    rows: list[str] = field(default_factory=list)

    def add(self, scenario: str, event: str, result: str, starts: str, ending: Ending) -> None:
        port = "free" if ending.ports_free else "taken"
        cells = (scenario, result, starts, str(ending.processes_left), port, f"{ending.seconds:.2f}", event)
        self.rows.append(f"| {' | '.join(cells)} |")

    def keep(self, section: str) -> None:
        """Take over the lines of ``section`` whose scenarios this run did not have, in front of its own."""
        measured = {_scenario(row) for row in self.rows}
        lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
        self.rows[:0] = [line for line in lines if _scenario(line) not in measured]

    def text(self) -> str:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        head = "| what happened | pytest's exit status | starts | left | port | seconds | counted from |"
        rule = "|---|---|---|---:|---|---:|---|"
        about = f"{today}, {self.versions}: `{self.command}`"
        return "\n".join([f"## {self.title}", "", about, "", head, rule, *self.rows]) + "\n"


@dataclass
class Scenario:
    """One line of the table, while it happens."""

    project: Project
    table: Table
    ready_within_s: float
    eventually: Callable[..., Any]

    @property
    def is_fake(self) -> bool:
        return self.table.title == FAKE

    @property
    def run_within_s(self) -> float:
        """How long a whole run may take, with a start of each side."""
        return 2 * self.ready_within_s

    def note(self, scenario: str, result: Result, ending: Ending, event: str = "end of pytest") -> None:
        """Check what every scenario promises, then keep the line for the table."""
        starts = self.project.starts
        counted = ", ".join(f"{row} {starts.count(row)}" for row in dict.fromkeys(starts))
        self.table.add(scenario, event, str(result.code), counted, ending)
        assert ending.processes_left == 0, f"left behind: {self.project.alive()}"
        assert not self.project.sockets()
        assert not self.project.temporary()
        assert ending.ports_free, f"a port of {self.project.ports} is taken"

    def told(self, running: Running) -> list[dict[str, Any]]:
        """What the run's test told of its servers."""
        return self.project.servers(running, self.ready_within_s)


@pytest.fixture(scope="session")
def tables() -> Iterator[dict[str, Table]]:
    """Filled by the scenarios; written into the page afterwards if that is asked for."""
    tables: dict[str, Table] = {}
    yield tables
    if os.environ.get("LLMPERF_WRITE_DOCS") == "1":
        _write(tables)


def _write(tables: dict[str, Table]) -> None:
    """Put the lines that were measured into their sections, and leave the rest as it is."""
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    sections = {part.partition("\n")[0]: "## " + part for part in old.split("## ")[1:]}
    for title, table in tables.items():
        if table.rows:
            table.keep(sections.get(title, ""))
            sections[title] = table.text()
    ordered = [sections[title].strip() for title in (FAKE, REAL) if title in sections]
    PAGE.write_text("\n\n".join([HEAD.strip(), *ordered]) + "\n", encoding="utf-8")


def _scenario(row: str) -> str:
    """What happened, without figures in brackets."""
    return row.split("|")[1].partition("(")[0].strip()


def _python() -> str:
    return f"Python {platform.python_version()}"


@pytest.fixture
def scenario(project: Project, tables: dict[str, Table], eventually: Callable[..., Any]) -> Scenario:
    """The fake engine."""
    table = tables.setdefault(
        FAKE, Table(FAKE, "pytest tests/integration/lifecycle -m 'not vllm'", _python())
    )
    project.fresh = True
    return Scenario(project, table, 30.0, eventually)


@pytest.fixture(params=["fake", pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.slow])])
def either_for_the_page(request: pytest.FixtureRequest) -> Scenario:
    """As ``either``; on real vLLM only where the page is written, for each such scenario takes minutes."""
    if request.param == "vllm" and os.environ.get("LLMPERF_WRITE_DOCS") != "1":
        pytest.skip("on real vLLM with LLMPERF_WRITE_DOCS=1 alone")
    scenario: Scenario = request.getfixturevalue("made_either")(request.param)
    return scenario


@pytest.fixture(params=["fake", pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.slow])])
def either(request: pytest.FixtureRequest) -> Scenario:
    """The fake engine, and real vLLM where it can be had."""
    scenario: Scenario = request.getfixturevalue("made_either")(request.param)
    return scenario


@pytest.fixture
def made_either(
    request: pytest.FixtureRequest,
    tables: dict[str, Table],
    tmp_path: Path,
    make_project: Callable[..., Project],
    eventually: Callable[..., Any],
) -> Iterator[Callable[[str], Scenario]]:
    """``made_either("fake")`` or ``made_either("vllm")``."""
    projects: list[Project] = []

    def make(kind: str) -> Scenario:
        if kind == "fake":
            scenario: Scenario = request.getfixturevalue("scenario")
            return scenario
        python, version = _real_engine()
        shipped = embedded_directory("tiny-distill")
        weights = shipped if (shipped / "config.json").is_file() else None
        projects.append(make_project(tmp_path / "project", Path(python), weights))
        versions = f"{_python()}, {version}"
        table = tables.setdefault(REAL, Table(REAL, "pytest tests/integration/lifecycle -m vllm", versions))
        projects[0].fresh = True
        return Scenario(projects[0], table, 300.0, eventually)

    yield make
    for project in projects:
        project.end_everything()


def _real_engine() -> tuple[str, EngineVersion]:
    """An interpreter that has vLLM for the CPU; skips the test with the reason if there is none."""
    python = os.environ.get("LLMPERF_ENGINE_PYTHON")
    if python is None:
        if importlib.util.find_spec("vllm") is None:
            pytest.skip(
                "no vLLM: install it here, or name an interpreter that has it in LLMPERF_ENGINE_PYTHON"
            )
        python = sys.executable
    version = engine_version(python, ENGINE.distributions)
    if version is None or not version.is_cpu:
        pytest.skip(f"{python} has {version or 'no vLLM'}; these scenarios need the build for the CPU")
    return python, version
