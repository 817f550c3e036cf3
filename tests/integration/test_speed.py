"""A planted slowness is found and named, and equal servers pass: the whole path, with servers of known speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

Judged = tuple["Result", dict[str, dict[str, Any]]]
TPOT_S = 0.008

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(shared_project: Project) -> Judged:
    """One run of a candidate that is 60 % slower than the baseline, and of one that is as fast."""
    knobs = {"slow": 1.6 * TPOT_S, "twin": TPOT_S, "math": TPOT_S}
    shared_project.catalog({row: {"TPOT_S": tpot_s} for row, tpot_s in knobs.items()})
    shared_project.shrink(rounds=12)
    shared_project.suite("""
        def test_tokens_come_as_fast_as_the_baselines(candidate, baseline, load):
            assert load.interleaved(candidate, baseline, concurrency=4).tpot.ratio <= 1.25
    """)
    result, verdicts = shared_project.judged("--model", "slow", "--model", "twin")
    return result, dict(zip(("slow", "twin"), verdicts, strict=True))


def test_a_candidate_that_is_much_slower_fails_and_is_named(run: Judged) -> None:
    result, verdicts = run
    assert result.code == 1, result.text
    assert result.lines("FAILED", "[slow]", "FAIL: TPOT (4 concurrent requests) is ")
    slow = verdicts["slow"]
    assert slow["status"] == "FAIL"
    assert 1.4 < slow["observed"] < 1.75
    assert slow["interval"][0] > 1.25
    assert slow["baseline"] < slow["candidate"]


def test_the_record_says_for_which_candidate_a_test_was_repeated(
    run: Judged, shared_project: Project
) -> None:
    assert run
    tests = {one["test"].rpartition("[")[2]: one["candidate"] for one in shared_project.record()["tests"]}
    assert tests == {"slow]": "slow", "twin]": "twin"}


def test_an_equally_fast_candidate_passes(run: Judged) -> None:
    result, verdicts = run
    assert result.lines("1 failed, 1 passed"), result.text
    assert verdicts["twin"]["status"] == "PASS"
    assert 0.9 < verdicts["twin"]["observed"] < 1.1
    assert (verdicts["twin"]["n"], verdicts["twin"]["starts"]) == (1, 1)
    assert "starts are assumed to differ by 3 % a side" in verdicts["twin"]["detail"]


def test_slow_rounds_are_gated_in_a_run_and_in_its_plan(project: Project) -> None:
    project.catalog({row: {"TPOT_S": 0.004} for row in ("distill", "math")})
    project.shrink(rounds=30, answer_tokens=8)
    project.suite("""
        def test_no_round_is_slow(candidate, baseline, load):
            assert load.interleaved(candidate, baseline, concurrency=2).e2el.ratio.p90 <= 5.0
    """)
    result, [verdict] = project.judged()
    assert (verdict["status"], verdict["n"]) == ("PASS", 30), result.text
    assert verdict["metric"] == "E2EL at 2 ratio by round p90"
    planned = project.run("--llmperf-plan")
    assert planned.lines("E2EL at 2 ratio by round p90", "30 rounds"), planned.text


def test_a_tail_needs_the_candidate_alone_once_the_ratios_are_decided(project: Project) -> None:
    project.catalog({row: {"TPOT_S": 0.004} for row in ("distill", "math")})
    project.shrink(rounds=64, answer_tokens=8)
    project.suite("""
        def test_as_fast(candidate, baseline, load):
            assert load.interleaved(candidate, baseline, concurrency=2).e2el.ratio <= 5.0
        def test_tail(candidate, load):
            assert load(candidate, concurrency=2).ttft.p95 <= 5.0
    """)
    result, [ratio, tail] = project.judged()
    assert (ratio["status"], tail["status"]) == ("PASS", "PASS"), result.text
    assert result.lines("8 of 64 rounds of both servers in turn were enough"), result.text
    loads = {entry["row"]: entry["rounds"] for entry in project.record()["load"]}
    assert {row: len(rounds) for row, rounds in loads.items()} == {"distill": 64, "math": 8}
    assert [each["one_sided"] for each in loads["distill"]] == [False] * 8 + [True] * 56
    assert tail["n"] == sum(each["requests"] for each in loads["distill"])
