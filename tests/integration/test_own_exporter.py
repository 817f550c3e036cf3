"""An output of a stranger: one file in another directory, loaded as a plugin."""

from __future__ import annotations

import csv
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

EXPORTER = """
    import csv, io
    from pathlib import Path
    from pytest_llmperf import FileExporter

    class Csv(FileExporter):
        def text(self, results):
            out = io.StringIO()
            rows = csv.writer(out)
            for gate in results.gates:
                verdict = gate.verdict
                rows.writerow([gate.test, verdict.metric, verdict.status.value, verdict.observed, verdict.bound])
            rows.writerow(["run", results.title, results.verdict.status.value, results.verdict.green, ""])
            return out.getvalue()

    def pytest_addoption(parser):
        parser.addoption("--csv", default="verdicts.csv")

    def pytest_llmperf_exporters(config):
        return [Csv("CSV", Path(config.getoption("--csv")))]
"""
SUITE = """
    def test_floor(candidate, accuracy):
        assert accuracy(candidate) >= 0.5

    def test_too_much(candidate, accuracy):
        assert accuracy(candidate) >= 0.99
"""


def run(project: Project, solver: str, *arguments: str, workers: int = 0) -> Result:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite(SUITE)
    project.write("elsewhere/csv_exporter.py", textwrap.dedent(EXPORTER))
    environment = {"PYTHONPATH": str(project.path / "elsewhere")}
    if workers:
        return project.run_with_workers(workers, "-p", "csv_exporter", *arguments, environment=environment)
    return project.run("-p", "csv_exporter", *arguments, environment=environment)


def rows(project: Project) -> list[list[str]]:
    return list(csv.reader((project.path / "verdicts.csv").read_text().splitlines()))


def test_one_file_elsewhere_writes_the_verdicts_of_the_ledger(project: Project, solver: str) -> None:
    result = run(project, solver)
    assert result.lines("llmperf: CSV: verdicts.csv"), result.text
    *gates, whole = rows(project)
    assert [(gate[0], gate[1], gate[2], gate[4]) for gate in gates] == [
        ("test_gate.py::test_floor[distill]", "embedded accuracy", "PASS", "0.5"),
        ("test_gate.py::test_too_much[distill]", "embedded accuracy", "FAIL", "0.99"),
    ]
    assert whole == ["run", "distill against math", "FAIL", "False", ""]


def test_with_xdist_the_controller_writes_it_once(project: Project, solver: str) -> None:
    run(project, solver, workers=2)
    assert sorted(row[2] for row in rows(project)) == ["FAIL", "FAIL", "PASS"]


def test_an_exporter_that_cannot_begin_refuses_the_run(project: Project, solver: str) -> None:
    project.write("taken", "")
    result = run(project, solver, "--csv", "taken/verdicts.csv")
    assert result.code == 4
    assert result.lines("ERROR: CSV taken/verdicts.csv cannot be written"), result.text
    assert project.starts == []


def test_an_exporter_that_fails_makes_a_green_run_red(project: Project, solver: str) -> None:
    project.suite(SUITE)
    project.write(
        "conftest.py",
        "from pytest_llmperf import Exporter\n"
        "class Broken(Exporter):\n"
        "    def finish(self, results):\n"
        "        raise OSError('no such host')\n"
        "def pytest_llmperf_exporters(config):\n"
        "    return [Broken()]\n",
    )
    project.catalog({"distill": {"ANSWERS": solver}})
    result = project.run("-k", "floor", "--llmperf-record", "record.json")
    assert result.code == 1
    assert result.lines("llmperf: exporter Broken failed: OSError: no such host"), result.text
    assert project.record()["run"]["green"] is False
