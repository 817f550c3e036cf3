"""A comparison over several starts: each side anew, all concurrencies in each, and nothing left."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.measure.speed import LEAST_ROUNDS, rounds_of_each
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

STARTS = 3
TPOT_S = 0.006
"""Slow enough that a busy machine sees most tokens apart, as those of a real server are."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(shared_project: Project) -> tuple[Result, list[dict[str, Any]]]:
    """One run of two tests at two concurrencies over three starts."""
    shared_project.catalog({row: {"TPOT_S": TPOT_S} for row in ("distill", "math")})
    shared_project.shrink(rounds=LEAST_ROUNDS, answer_tokens=4)
    shared_project.suite("""
        import pytest
        CONCURRENCY = pytest.mark.parametrize("concurrency", [1, 4])
        @CONCURRENCY
        def test_compared(candidate, baseline, load, concurrency):
            assert load.interleaved(candidate, baseline, concurrency=concurrency).tpot.ratio <= 3.0
        @CONCURRENCY
        def test_alone(candidate, baseline, load, concurrency):
            assert load(candidate, concurrency=concurrency).throughput.p50 >= 1.0
    """)
    return shared_project.judged("--llmperf-starts", str(STARTS))


def test_each_side_is_started_anew_for_each_start_and_for_all_concurrencies(
    run: tuple[Result, list[dict[str, Any]]], shared_project: Project
) -> None:
    result, _ = run
    assert result.code == 0, result.text
    assert sorted(shared_project.starts) == ["distill"] * STARTS + ["math"] * STARTS
    for server in shared_project.record()["servers"]:
        assert len(server["every_ready_s"]) == STARTS


def test_the_start_is_the_sample_of_a_comparison(run: tuple[Result, list[dict[str, Any]]]) -> None:
    _, verdicts = run
    pairs = [verdict for verdict in verdicts if verdict["metric"].startswith("TPOT")]
    assert [verdict["metric"] for verdict in pairs] == ["TPOT at 1 ratio", "TPOT at 4 ratio"]
    assert {verdict["n"] for verdict in pairs} == {STARTS}
    assert all("over starts" in verdict["method"] for verdict in pairs)


def test_one_side_alone_is_judged_by_the_rounds_of_all_starts(
    run: tuple[Result, list[dict[str, Any]]], shared_project: Project
) -> None:
    _, verdicts = run
    alone = [verdict for verdict in verdicts if verdict["metric"].startswith("throughput")]
    assert {verdict["n"] for verdict in alone} == {STARTS * LEAST_ROUNDS}
    rounds = [len(load["rounds"]) for load in shared_project.record()["load"]]
    assert rounds == [LEAST_ROUNDS] * (2 * 2 * STARTS), "sides, concurrencies, starts"


def test_nothing_is_left(run: tuple[Result, list[dict[str, Any]]], shared_project: Project) -> None:
    ending = shared_project.ending(run[0].ended)
    assert (ending.processes_left, ending.ports_free) == (0, True)


def test_rounds_are_divided_among_the_starts_but_not_too_thinly() -> None:
    assert rounds_of_each(64, 1) == 64
    assert rounds_of_each(64, 3) == 22
    assert rounds_of_each(64, 10) == LEAST_ROUNDS


DIFFERENT_STARTS = (2.0, 0.6, 1.1)
"""Times the baseline's: the first start alone looks like a regression, and the model is none."""


@pytest.fixture
def unlucky(project: Project) -> Project:
    """``distill`` is as fast as ``math`` but for what its start happens to give it."""
    answers = project.answers("""
        import os
        from pathlib import Path
        paces = [float(pace) for pace in os.environ["FAKE_ENGINE_PACES"].split()]
        # The file has a line for every start, this one's included.
        pace = paces[(len(Path(os.environ["FAKE_ENGINE_COUNTER"]).read_text().splitlines()) - 1) % len(paces)]
        def answer(request):
            return {"text": "one two three", "tpot_s": pace}
    """)
    paces = {"distill": [TPOT_S * factor for factor in DIFFERENT_STARTS], "math": [TPOT_S]}
    project.catalog(
        {
            row: {"ANSWERS": answers, "PACES": " ".join(map(str, pace)), "COUNTER": project.path / f"n-{row}"}
            for row, pace in paces.items()
        }
    )
    project.shrink(rounds=LEAST_ROUNDS, answer_tokens=12)
    project.suite("""
        def test_compared(candidate, baseline, load):
            assert load.interleaved(candidate, baseline, concurrency=3).tpot.ratio <= 1.10
    """)
    return project


def test_one_unlucky_start_fails_a_single_comparison_and_not_one_over_starts(unlucky: Project) -> None:
    _, [single] = unlucky.judged()
    for row in ("distill", "math"):
        (unlucky.path / f"n-{row}").unlink()
    result, [several] = unlucky.judged("--llmperf-starts", str(STARTS))
    assert single["status"] == "FAIL"
    assert several["status"] == "INCONCLUSIVE", result.text
    assert several["n"] == STARTS


def test_a_concurrency_that_cannot_be_measured_does_not_cost_the_others_their_starts(
    project: Project,
) -> None:
    project.catalog({row: {"TPOT_S": TPOT_S} for row in ("distill", "math")})
    project.shrink(rounds=LEAST_ROUNDS, answer_tokens=4)
    # The fake engine serves any number at a time: the failure is planted into what measures.
    project.suite("""
        import pytest
        from pytest_llmperf.errors import NotMeasured
        from pytest_llmperf.measure import speed

        interleaved = speed.interleaved

        @pytest.fixture(scope="session", autouse=True)
        def broken():
            def measure(candidate, baseline, workload, loop, **how):
                if loop.concurrency == 5:
                    raise NotMeasured("planted")
                return interleaved(candidate, baseline, workload, loop, **how)
            speed.interleaved = measure

        @pytest.mark.parametrize("concurrency", [3, 5, 4])
        def test_compared(candidate, baseline, load, concurrency):
            assert load.interleaved(candidate, baseline, concurrency=concurrency).tpot.ratio <= 5.0
    """)
    result, verdicts = project.judged("--llmperf-starts", str(STARTS))
    assert [verdict["status"] for verdict in verdicts] == ["PASS", "INVALID", "PASS"], result.text
    assert sorted(project.starts) == ["distill"] * STARTS + ["math"] * STARTS


def test_a_run_that_is_interrupted_between_two_starts_tells_of_its_servers(project: Project) -> None:
    project.catalog({row: {"TPOT_S": 0.001, "START_S": 2} for row in ("distill", "math")})
    project.shrink(rounds=LEAST_ROUNDS, answer_tokens=4)
    project.suite("""
        def test_compared(candidate, baseline, load):
            assert load.interleaved(candidate, baseline, concurrency=1).tpot.ratio <= 3.0
    """)
    running = project.start("--llmperf-starts", str(STARTS), "--llmperf-record", "record.json")
    eventually(lambda: len(project.starts) >= 3, "the second start of a row", 60)
    running.send(signal.SIGINT)
    result = running.wait()
    assert result.code == 2, result.text
    servers = {server["row"]: server["every_ready_s"] for server in project.record()["servers"]}
    assert {row: len(ready) for row, ready in servers.items()} == {"distill": 1, "math": 1}
