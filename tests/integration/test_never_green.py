"""What was not measured is never green: each of these runs is red, and its gates are INVALID, not PASS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

Judged = tuple["Result", list[dict[str, Any]]]

ROWS = """
    [profile.test.model.never-ready]
    extends = "base"
    ready_timeout = "1 s"
    [profile.test.model.never-ready.environment]
    FAKE_ENGINE_NEVER_READY = "1"
"""
KNOBS = {
    "every-request-fails": {"BREAK": "/v1/chat/completions"},
    "every-answer-is-an-error": {"ANSWERS": "refuses.py"},
    "says-nothing": {"ANSWER": ""},
}
BROKEN = [*KNOBS, "never-ready"]


@pytest.fixture(scope="module")
def broken(shared_project: Project) -> Judged:
    """One run over four servers that yield no measurement, with gates that anything at all would pass."""
    refuses = shared_project.answers(
        "def answer(request): return {'status': 400 if 'chat' in request['path'] else 200}"
    )
    knobs = {
        row: {k: refuses if k == "ANSWERS" else v for k, v in these.items()} for row, these in KNOBS.items()
    }
    shared_project.catalog(knobs, rows=ROWS)
    shared_project.shrink(items=60, rounds=5)
    shared_project.suite("""
        def test_boxed(candidate, answers):
            assert answers(candidate).loops <= 0.999
        def test_latency(candidate, load):
            assert load(candidate, concurrency=2).ttft.p50 <= 1000
    """)
    return shared_project.judged(*(f"--model={row}" for row in BROKEN))


@pytest.mark.parametrize("row", BROKEN)
def test_a_latency_without_a_measurement_is_invalid(broken: Judged, row: str) -> None:
    result, _ = broken
    assert result.lines(f"INVALID test_gate.py::test_latency[{row}]"), result.text


@pytest.mark.parametrize("row", BROKEN)
def test_a_share_without_an_answer_is_invalid(broken: Judged, row: str) -> None:
    result, _ = broken
    assert result.lines(f"INVALID test_gate.py::test_boxed[{row}]"), result.text


def test_nothing_unmeasured_passes(broken: Judged) -> None:
    result, verdicts = broken
    assert result.code == 1
    assert result.noise == []
    # An empty answer has no loop either, and is none.
    assert [verdict["status"] for verdict in verdicts] == ["INVALID"] * 2 * len(BROKEN)


def test_a_failure_of_all_requests_is_told_with_their_error(broken: Judged) -> None:
    result, _ = broken
    assert result.lines("INVALID", "HTTP 500"), result.text
    assert result.lines("INVALID", "HTTP 400"), result.text


SUITES = {
    "nan": """
        from pytest_llmperf.gates.scalar import Scalar
        def test_it(candidate, llmperf_run, request):
            judge = llmperf_run.judge
            assert Scalar("peak", float("nan"), "bytes", judge=judge) <= 1e12
    """,
    "no sample": """
        from pytest_llmperf.gates.quantile import Series
        def test_it(candidate, llmperf_run, request):
            assert Series("TTFT", [], "s", judge=llmperf_run.judge).p50 <= 1000
    """,
    "skipped": """
        import pytest
        @pytest.mark.skip(reason="no time")
        def test_it(candidate, accuracy):
            assert accuracy(candidate) >= 0.0
    """,
    "skipped in the test": """
        import pytest
        def test_it(candidate, accuracy):
            pytest.skip("no time")
    """,
    "not asserted": """
        def test_it(candidate, accuracy):
            accuracy(candidate) <= 0.999
    """,
    "empty data set": """
        def test_it(candidate, accuracy):
            assert accuracy(candidate, "empty") <= 0.999
    """,
    "no budget for this device": """
        def test_it(candidate, startup, budget):
            assert startup(candidate).ready <= budget.startup.ready
    """,
    "warm cache": """
        from pytest_llmperf.load.cache_check import CacheUse
        def test_it(candidate, load, monkeypatch):
            monkeypatch.setattr(CacheUse, "since", lambda self, before: CacheUse(100.0, 50.0))
            assert load(candidate, concurrency=2).ttft.p50 <= 1000
    """,
}
WHY = {
    "nan": "nan",
    "no sample": "no",
    "skipped": "skipped",
    "skipped in the test": "skipped",
    "not asserted": "not asserted",
    "empty data set": "empty",
    "no budget for this device": "budgets.toml",
    "warm cache": "warm prefix cache",
}


@pytest.mark.parametrize("case", SUITES)
def test_a_gate_without_data_is_invalid_and_the_run_red(project: Project, case: str) -> None:
    project.suite(SUITES[case])
    if case == "empty data set":
        with (project.path / "conftest.py").open("a") as conftest:
            conftest.write("""
def pytest_llmperf_tasks(config):
    from pytest_llmperf import DataFile, Item, Task
    source = DataFile(path="empty.jsonl", fetch="nothing", item=lambda row, i: Item(str(i), "?", "1"))
    return [Task(name="empty", source=source)]
""")
        project.write("data/empty.jsonl", "\n")
    result, verdicts = project.judged("--llmperf-data", str(project.write("data/x", "").parent))
    # Data that cannot be read are a mistake in the run's own input, and end it as one.
    assert result.code == (4 if case == "empty data set" else 1), result.text
    assert result.noise == [], result.text
    assert [verdict["status"] for verdict in verdicts] == ["INVALID"], result.text
    assert WHY[case] in verdicts[0]["why"], verdicts[0]["why"]
    assert "PASS" not in result.text
