"""Open loop, replay, sweep and goodput as a suite writes them, on servers of known speed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

pytestmark = pytest.mark.slow

SUITE = """
    import pytest
    from pytest_llmperf import Slo

    USERS = Slo(ttft_s=3, tpot_s=1)
    STRICT = Slo(ttft_s=0.1)

    def test_users_who_do_not_know_of_each_other(candidate, load):
        shown = load.open_loop(candidate, rate=80, requests=600)
        assert shown.ttft.p95 <= 3
        assert shown.schedule_delay.p95 <= 1

    def test_the_same_load_is_measured_once(candidate, load):
        assert load.open_loop(candidate, rate=80, requests=600).throughput.p50 >= 2

    def test_a_recorded_load(candidate, load):
        assert load.replay(candidate, "trace.jsonl", faster=2).e2el.p50 <= 6

    def test_a_users_own_prompts(candidate, load):
        assert load.open_loop(candidate, rate=80, requests=240, prompts="mine.jsonl").ttft.p50 <= 3

    def test_a_tasks_prompts(candidate, load):
        assert load.open_loop(candidate, rate=80, requests=240, prompts="embedded", seed=1).e2el.p50 <= 6

    def test_level_by_level(candidate, load):
        swept = load.sweep(candidate, concurrency=[1, 2])
        assert swept.knee >= 1
        assert swept.throughput >= 2

    def test_content_users(candidate, load):
        assert load.goodput(candidate, slo=USERS, rate=80, requests=600) >= 0.8

    def test_nobody_is_content(candidate, load):
        assert load.goodput(candidate, slo=STRICT, rate=80, requests=600) >= 0.8

    def test_the_highest_rate(candidate, load):
        assert load.max_rate(candidate, slo=USERS, lowest=40, highest=48, requests=130, share=0.8) >= 40
"""


@pytest.fixture(scope="module")
def run(shared_project: Project) -> tuple[Result, dict[str, Any]]:
    shared_project.catalog({"distill": {"TTFT_S": 0.6, "TPOT_S": 0.06}})
    shared_project.shrink(prompt_tokens=24, answer_tokens=6)
    # A busy machine makes this client late by tenths of a second; what a late client means is tested by itself.
    with (shared_project.path / "conftest.py").open("a") as conftest:
        conftest.write("from pytest_llmperf.load import run\nrun.LATE_ABOVE_S = 60.0\n")
    lines = [{"time_s": 0.02 * i, "input_tokens": 20 + i % 3, "output_tokens": 6} for i in range(90)]
    shared_project.write("trace.jsonl", "\n".join(json.dumps(line) for line in lines))
    mine = [{"prompt": f"Count to {i}."} for i in range(5)]
    shared_project.write("mine.jsonl", "\n".join(json.dumps(line) for line in mine))
    shared_project.suite(SUITE)
    result, verdicts = shared_project.judged(timeout_s=150)
    return result, {verdict["metric"]: verdict for verdict in verdicts}


def test_each_gives_its_own_verdict(run: tuple[Result, dict[str, Any]]) -> None:
    result, verdicts = run
    assert result.lines("1 failed, 8 passed"), result.text
    assert {metric: verdict["status"] for metric, verdict in verdicts.items()} == {
        "TTFT at 80 requests/s p95": "PASS",
        "schedule delay at 80 requests/s p95": "PASS",
        "throughput at 80 requests/s p50": "PASS",
        "E2EL at trace trace.jsonl, 90 requests, 2 times as fast p50": "PASS",
        "TTFT at 80 requests/s p50": "PASS",
        "E2EL at 80 requests/s p50": "PASS",
        "knee": "PASS",
        "highest throughput": "PASS",
        "goodput at 80 requests/s": "FAIL",
        "highest rate with 80 % within the SLO": "PASS",
    }
    assert "FAIL: goodput at 80 requests/s 0" in result.text


def test_the_record_has_every_load_once_with_its_schedule(
    run: tuple[Result, dict[str, Any]], shared_project: Project
) -> None:
    del run
    record = shared_project.record()
    assert "load" not in record
    loads = record["scheduled_load"]
    opened = [one for one in loads if one["purpose"] == "open loop"]
    given = [one["workload"]["given"] or "" for one in opened]
    assert "mine.jsonl, 5 prompts" in given
    assert any(one.startswith("embedded, ") for one in given)
    (first,) = [
        one
        for one in opened
        if one["schedule"] == "Poisson, 80 requests/s, seed 0" and one["workload"]["given"] is None
    ]
    assert first["rounds"][0]["requests"] == 600
    assert first["tails"]["schedule_delay"]["p50"]["value"] < 0.1
    assert first["steady"]["method"].startswith("MSER-5")
    assert first["rate"] == pytest.approx(80, rel=0.01)
    assert first["server_metrics"]["samples"] >= 1
    assert {one["purpose"] for one in loads} == {"open loop", "sweep", "max rate"}
    assert [one["concurrency"] for one in loads if one["purpose"] == "sweep"] == [1, 2]


def test_a_plan_names_the_gates_of_a_run_and_what_they_will_be_worth(
    run: tuple[Result, dict[str, Any]], shared_project: Project
) -> None:
    _, verdicts = run
    starts = list(shared_project.starts)
    plan = shared_project.run("--llmperf-plan=record.json")
    assert plan.code == 0, plan.text
    assert not plan.noise
    assert not plan.lines("not planned:"), plan.text
    assert plan.lines("llmperf: 11 gates; 0 tests without a statistical gate")
    for metric in verdicts:
        assert plan.lines(metric), metric
    [rate] = plan.lines("highest rate with 80 % within the SLO", "≥")
    assert "≤ 12 trials" in rate
    assert plan.lines("TTFT at 80 requests/s p95", "30 slices", "p95 needs 59")
    assert plan.lines("goodput at 80 requests/s", "30 slices")
    assert plan.lines("knee", "single measurement")
    assert plan.lines("llmperf: minutes: at most", "scheduled loads"), plan.text
    assert not plan.lines("not in that record"), plan.text
    assert shared_project.starts == starts


def test_a_plan_finds_a_search_with_too_few_requests_before_it_runs(project: Project) -> None:
    project.suite("""
        from pytest_llmperf import Slo
        def test_the_highest_rate(candidate, load):
            assert load.max_rate(candidate, slo=Slo(ttft_s=1), lowest=1, highest=9, requests=50) >= 2
        def test_both(candidate, load):
            assert load.sweep(candidate, concurrency=[1], rate=[1.0]).knee >= 1
        def test_nothing_there(candidate, load):
            assert load.replay(candidate, "nowhere.jsonl").e2el.p50 <= 3
    """)
    plan = project.run("--llmperf-plan")
    assert plan.lines(
        "WARNING: highest rate with 95 %", "will be INVALID: 50 requests at each rate; need at least"
    ), plan.text
    assert plan.lines("not planned:", "test_both", "one of them only")
    assert plan.lines("not planned:", "test_nothing_there", "nowhere.jsonl")
    assert project.starts == []
