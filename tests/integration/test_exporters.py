"""What a run hands to other tools: GitHub's summary and annotations, JUnit, Prometheus; with and without xdist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from junitparser import JUnitXml, Properties
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Project, Result

SUITE = """
    def test_floor(candidate, accuracy, budget):
        assert accuracy(candidate) >= budget.accuracy.floor

    def test_too_much(candidate, accuracy):
        wanted = 0.95
        assert accuracy(candidate) >= wanted

    def test_skipped(candidate):
        import pytest
        pytest.skip("no")
"""
FILES = ("--junitxml", "junit.xml", "--llmperf-metrics", "llmperf.prom", "--llmperf-markdown", "llmperf.md")


def on_github(project: Project) -> dict[str, str]:
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(project.path.parent),
        "GITHUB_STEP_SUMMARY": str(project.path / "summary.md"),
    }


@pytest.fixture(scope="module", params=["alone", "xdist"])
def project_and_run(
    request: pytest.FixtureRequest,
    make_project: Callable[..., Project],
    tmp_path_factory: pytest.TempPathFactory,
    solver: str,
) -> tuple[Project, Result]:
    """The same run in one process and with two workers."""
    project = make_project(tmp_path_factory.mktemp(request.param) / "gates")
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite(SUITE)
    project.write("summary.md", "what an earlier step said\n")
    arguments = (*FILES, "--llmperf-record", "record.json")
    if request.param == "xdist":
        return project, project.run_with_workers(2, *arguments, environment=on_github(project))
    return project, project.run(*arguments, environment=on_github(project))


def test_a_failed_gate_is_annotated_at_the_line_that_asserted_it(
    project_and_run: tuple[Project, Result],
) -> None:
    project, result = project_and_run
    failed, skipped = [line for line in result.text.splitlines() if line.startswith("::")]
    lines = (project.path / "test_gate.py").read_text().splitlines()
    at = 1 + lines.index("    assert accuracy(candidate) >= wanted")
    assert failed.startswith(f"::error file=gates/test_gate.py,line={at},title=FAIL%3A embedded accuracy::")
    assert "below the floor of 95 %" in failed
    skip = 1 + lines.index('    pytest.skip("no")')
    assert skipped.startswith(
        f"::error file=gates/test_gate.py,line={skip},title=INVALID%3A test_skipped[distill]::"
    )


def test_the_summary_is_added_to_what_other_steps_have_said(project_and_run: tuple[Project, Result]) -> None:
    project, _ = project_and_run
    text = (project.path / "summary.md").read_text(encoding="utf-8")
    assert text.startswith("what an earlier step said\n## ⛔ INVALID: distill against math\n")
    assert text.count("embedded accuracy") >= 2
    assert "record: record.json · page: record.html" in text
    assert (project.path / "llmperf.md").read_text(encoding="utf-8") + "\n" == text.partition("\n")[2]


def test_the_junit_file_names_the_numbers_of_each_gate_and_the_verdict_of_the_run(
    project_and_run: tuple[Project, Result],
) -> None:
    project, _ = project_and_run
    suites: Any = JUnitXml.fromfile(str(project.path / "junit.xml"))
    [suite] = suites
    whole = {one.name: one.value for one in suite.properties()}
    assert whole["llmperf: verdict"] == "INVALID"
    assert (whole["llmperf: candidate"], whole["llmperf: baseline"]) == ("distill", "math")
    cases = {
        case.name: {one.name: one.value for given in case.iterchildren(Properties) for one in given}
        for case in suite
    }
    of_floor = cases["test_floor[distill]"]
    assert of_floor["embedded accuracy: verdict"] == "PASS"
    assert re.fullmatch(r"\d+\.\d %", of_floor["embedded accuracy: observed"])
    assert cases["test_too_much[distill]"]["embedded accuracy: bound"] == "95 %"
    assert cases["test_skipped[distill]"]["test_skipped[distill]: verdict"] == "INVALID"


def test_the_metrics_name_each_gate_by_its_test(project_and_run: tuple[Project, Result]) -> None:
    project, _ = project_and_run
    text = (project.path / "llmperf.prom").read_text(encoding="utf-8")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    red = [
        (one.labels["test"], one.labels["verdict"])
        for one in families["llmperf_gate_verdict"].samples
        if one.value
    ]
    assert sorted(red) == [
        ("test_gate.py::test_floor[distill]", "PASS"),
        ("test_gate.py::test_skipped[distill]", "INVALID"),
        ("test_gate.py::test_too_much[distill]", "FAIL"),
    ]
    assert families["llmperf_run_green"].samples[0].value == 0.0


def test_off_github_nothing_of_this_is_said(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite(SUITE)
    result = project.run()
    assert "::error" not in result.text
    assert not [path for path in project.path.iterdir() if path.suffix in {".md", ".prom"}]


@pytest.mark.parametrize("option", ["--llmperf-metrics", "--llmperf-markdown", "--llmperf-record"])
def test_a_file_that_cannot_be_written_is_one_line_before_anything_is_started(
    project: Project, option: str
) -> None:
    (project.path / "taken").write_text("")
    result = project.run(option, str(Path("taken") / "asked.for"))
    assert result.code == 4
    assert result.lines(f"ERROR: {option}", "taken"), result.text
    assert result.noise == []
    assert project.starts == []


def test_a_file_that_cannot_be_written_at_the_end_makes_a_green_run_red_everywhere(
    project: Project, solver: str
) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite("""
        import pathlib, shutil
        def test_floor(candidate, accuracy, budget):
            assert accuracy(candidate) >= budget.accuracy.floor
            shutil.rmtree("elsewhere")
            pathlib.Path("elsewhere").write_text("")
    """)
    metrics = str(Path("elsewhere") / "llmperf.prom")
    result = project.run(
        "--llmperf-metrics", metrics, "--llmperf-record", "record.json", "--llmperf-markdown", "m.md"
    )
    assert result.code == 1
    assert result.lines(f"llmperf: no metrics at {metrics}")
    assert result.noise == []
    assert project.record()["run"]["green"] is False
    assert "INVALID" in (project.path / "m.md").read_text().splitlines()[0]
