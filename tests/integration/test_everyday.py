"""How the plugin behaves in a project's daily life: options, names that clash, policies, several workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

FLOOR = """
    def test_floor(candidate, accuracy, budget):
        assert accuracy(candidate) >= budget.accuracy.floor
"""
EVERY_PLUGIN = ("-p", "no:cacheprovider")


def test_a_project_without_a_catalogue_sees_and_loads_nothing(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\n")
    project.write("conftest.py", "")
    project.suite("""
        import sys
        def test_idle():
            ours = {name for name in sys.modules if name.startswith("pytest_llmperf.")}
            names = {"config", "config.options", "plugin", "fixtures", "hookspecs", "model_option", "runs", "runs.keys"}
            assert ours <= {f"pytest_llmperf.{name}" for name in names}, sorted(ours)
    """)
    result = project.run(options=EVERY_PLUGIN)
    assert result.code == 0, result.text
    assert [line for line in result.lines("llmperf") if not line.startswith("plugins:")] == []


def test_tests_that_use_no_model_see_nothing_of_a_configured_plugin(project: Project) -> None:
    project.write("conftest.py", "")
    project.suite("def test_plain(): pass")
    result = project.run()
    assert result.code == 0, result.text
    assert [line for line in result.lines("llmperf") if not line.startswith("plugins:")] == []
    assert list((project.path / "tmp").glob("llmperf-*")) == []


def test_collecting_starts_nothing_and_judges_nothing(project: Project) -> None:
    project.suite(FLOOR)
    result = project.run("--collect-only", "-q")
    assert result.code == 0, result.text
    assert result.lines("test_gate.py::test_floor[distill]")
    assert not result.lines("verdicts")
    assert project.starts == []


def test_several_models_are_judged_in_one_run(project: Project, solver: str) -> None:
    project.catalog({"good": {"ANSWERS": solver}, "bad": {"ANSWERS": solver, "RIGHT_PERCENT": 20}})
    project.suite(FLOOR)
    result = project.run("--model", "good", "--model", "bad")
    assert result.code == 1, result.text
    assert result.lines("FAILED", "test_floor[bad]", "FAIL: embedded accuracy")
    assert result.lines("1 failed, 1 passed")
    assert result.lines("llmperf: test profile", "good →", "bad →")
    assert project.starts == ["good", "bad"]


def test_a_model_against_itself_is_green_and_started_once(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite("""
        from pytest_llmperf import points
        def test_not_worse(candidate, baseline, accuracy):
            assert accuracy(candidate) >= accuracy(baseline) - points(3)
    """)
    result, [verdict] = project.judged("--model", "distill", "--baseline", "distill")
    assert result.code == 0, result.text
    assert (verdict["status"], verdict["observed"]) == ("PASS", 0.0)
    assert project.starts == ["distill"]


@pytest.mark.parametrize(("policy", "code"), [("warn", 0), ("fail", 1)])
def test_an_undecided_gate_is_always_shown_and_red_unless_asked_otherwise(
    project: Project, solver: str, policy: str, code: int
) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite("""
        def test_undecided(candidate, accuracy):
            share = accuracy(candidate)
            assert share >= share.value - 0.005  # a floor this near to the share is never decided
    """)
    result, [verdict] = project.judged(f"--llmperf-inconclusive={policy}")
    assert result.code == code, result.text
    assert result.noise == []
    assert verdict["status"] == "INCONCLUSIVE"
    assert result.lines("embedded accuracy", "INCONCLUSIVE (n needed")
    assert result.lines("llmperf: 1 INCONCLUSIVE")


@pytest.mark.parametrize("blocked", [(), ("-p", "no:llmperf_model")])
def test_a_project_with_its_own_model_option_keeps_it(project: Project, blocked: tuple[str, ...]) -> None:
    with (project.path / "conftest.py").open("a") as conftest:
        conftest.write("def pytest_addoption(parser): parser.addoption('--model', default='nobody')\n")
    project.suite("""
        def test_both(candidate, request):
            assert request.config.getoption("--model") == "theirs"
            assert candidate.name == "math"
    """)
    result = project.run(*blocked, "--model", "theirs", "--llmperf-model", "math", options=EVERY_PLUGIN)
    assert result.code == 0, result.text


def test_a_directory_named_like_the_row_is_not_imported(project: Project) -> None:
    for name in ("conftest.py", "__init__.py", "test_never.py"):
        project.write(f"distill/{name}", "raise RuntimeError('imported')")
    project.suite("def test_name(candidate, baseline): assert candidate is baseline")
    result = project.run("--model", "distill", "--baseline", "distill", "test_gate.py", options=EVERY_PLUGIN)
    assert result.code == 0, result.text


def test_workers_share_a_server_and_refuse_to_measure_times(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite("""
        import pytest
        @pytest.mark.parametrize("floor", [0.5, 0.6])
        def test_floor(candidate, accuracy, floor):
            assert accuracy(candidate) >= floor
        @pytest.mark.parametrize("concurrency", [1, 2])
        def test_speed(candidate, load, concurrency):
            assert load(candidate, concurrency=concurrency).ttft.p50 <= 1000
    """)
    result = project.run_with_workers(2, "--llmperf-record", "record.json")
    assert result.code == 1, result.text
    assert result.noise == []
    assert project.starts == ["distill"]
    assert result.lines("llmperf: test profile", "distill →"), "the header"
    assert result.lines("llmperf: 2 PASS, 2 INVALID")
    assert (
        len(result.lines("INVALID", "test_speed", "times are not measured beside 1 other xdist workers")) == 2
    )
    assert (
        sorted(verdict["status"] for verdict in project.record()["verdicts"])
        == ["INVALID"] * 2 + ["PASS"] * 2
    )


def test_a_suite_of_ones_own_has_a_budget_of_its_own(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.write("budgets.toml", "[test.any.mytask]\nreached = 0.5\nnever = 0.5\n")
    project.suite("""
        def test_floor(candidate, accuracy, budget):
            assert accuracy(candidate) >= budget.mytask.reached
    """)
    result, verdicts = project.judged()
    assert result.code == 0, result.text
    assert [(one["status"], one["bound"]) for one in verdicts] == [("PASS", 0.5)]
    assert result.lines("no test of this run asserts these budgets", "mytask.never")
