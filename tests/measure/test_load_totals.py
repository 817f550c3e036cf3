"""Draft tokens of a load, from its answers or from the server's counters, as gates."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from pytest_llmperf.client.drafted import Drafted
from pytest_llmperf.client.server_metrics import ServerMetrics
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.load.counter_rise import CounterRise
from pytest_llmperf.load.metrics import Metric, register_metric, unregister
from pytest_llmperf.load.results import of_part, of_run
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.measure.load_log import LoadLog
from tests.measure.test_load_results import a_run, answer, in_turn, loaded, verdict

GOOD = a_run([answer(drafted=Drafted(10, 40, 22))] * 4)
NEVER = a_run([answer(drafted=Drafted(32, 128, 0))] * 4, "math")
UNTOLD = a_run([answer()] * 4)
BEFORE = ServerMetrics(generated=100.0, drafts=10.0, draft_tokens=40.0, accepted_tokens=4.0)
AFTER = ServerMetrics(generated=228.0, drafts=50.0, draft_tokens=200.0, accepted_tokens=92.0)


def counted(**changes: Any) -> LoadRun:
    return a_run([answer()] * 4, counters=CounterRise("distill", BEFORE, replace(AFTER, **changes)))


def test_the_length_is_the_sum_of_tokens_by_the_sum_of_steps() -> None:
    mixed = [GOOD] * 6 + [a_run([answer(drafted=Drafted(32, 128, 0))] * 4)] * 6
    level = loaded(mixed).acceptance_length
    found = (level >= 1.0).verdict
    assert found.observed == pytest.approx(1 + 22 / (10 + 32))
    assert (loaded(mixed).acceptance_rate >= 0.05).verdict.observed == pytest.approx(22 / 168)


@pytest.mark.parametrize("run", [GOOD, counted()])
def test_answers_and_counters_give_the_same(run: LoadRun) -> None:
    status, why = verdict(loaded([run] * 8).acceptance_length >= 3.1)
    assert status is Status.PASS
    assert why == (
        "acceptance length (4 concurrent requests) 3.20 tok/step reaches the floor of 3.1 tok/step "
        "(at least 3.18 tok/step with 95 % confidence, n = 8 rounds)"
    )
    assert of_run(run).value("acceptance_length") == pytest.approx(3.2)


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (UNTOLD, "4 of 4 answers do not tell their draft tokens"),
        (a_run([answer(drafted=Drafted(1, 4, 1)), answer()]), "1 of 2 answers do not tell"),
        (counted(generated=500.0), "also hold other traffic"),
        (counted(drafts=5.0), "went back during the load"),
        (a_run([answer()], counters=CounterRise("distill")), "there are no counters vllm:spec_decode_num_"),
        (a_run([answer(drafted=Drafted(0, 0, 0))] * 4), "nothing was drafted: speculation is off"),
        (counted(drafts=10.0, draft_tokens=40.0, accepted_tokens=4.0), "nothing was drafted"),
    ],
)
def test_what_no_server_told_is_invalid(run: LoadRun, why: str) -> None:
    for judged in (
        loaded([run] * 8).acceptance_length >= 1.0,
        loaded([run] * 8).acceptance_rate <= 1.0,
        in_turn([run] * 8, [GOOD] * 8).acceptance_length.ratio >= 0.5,
        in_turn([GOOD] * 8, [run] * 8).acceptance_length.ratio >= 0.5,
        loaded([GOOD] * 8).acceptance_length >= loaded([run] * 8).acceptance_length * 0.5,
    ):
        status, told = verdict(judged)
        assert status is Status.INVALID
        assert why in told


def test_a_draft_that_never_matches_is_red_against_the_baseline() -> None:
    assert verdict(in_turn([GOOD] * 8, [GOOD] * 8).acceptance_length.ratio >= 0.95)[0] is Status.PASS
    status, why = verdict(in_turn([NEVER] * 8, [GOOD] * 8).acceptance_length.ratio >= 0.95)
    assert status is Status.FAIL
    assert "acceptance length (4 concurrent requests) is 68.8 % below the baseline" in why


def cached(count: int | None, **more: Any) -> LoadRun:
    return a_run([answer(cached_tokens=count)] * 4, workload=Workload(64, 32, warm_cache=True), **more)


CACHE = CounterRise("distill", replace(BEFORE, cache_hits=0.0), replace(AFTER, cache_hits=240.0))


@pytest.mark.parametrize("run", [cached(60), cached(None, counters=CACHE)])
def test_the_share_of_the_prompts_that_was_cached(run: LoadRun) -> None:
    judged = loaded([run] * 8).cached_share >= 0.9
    assert (judged.verdict.status, judged.verdict.observed) == (Status.PASS, 60 / 64)


def test_no_hits_are_red_and_hits_that_nobody_tells_invalid() -> None:
    assert verdict(loaded([cached(0)] * 8).cached_share >= 0.9)[0] is Status.FAIL
    assert (
        verdict(loaded([cached(60)] * 8).cached_share >= loaded([cached(60)] * 8).cached_share * 0.98)[0]
        is Status.PASS
    )
    for run, why in (
        (cached(None), "4 of 4 answers do not tell their cached tokens"),
        (cached(65), "or more than their prompt has"),
        (
            cached(None, counters=CounterRise("distill", BEFORE, AFTER)),
            "there is no counter vllm:prefix_cache_hits",
        ),
        (
            cached(None, counters=replace(CACHE, after=replace(AFTER, cache_hits=300.0))),
            "it also holds other traffic",
        ),
        (
            cached(None, counters=replace(CACHE, after=replace(AFTER, cache_hits=1.0, generated=500.0))),
            "other traffic",
        ),
    ):
        status, told = verdict(loaded([run] * 8).cached_share >= 0.9)
        assert status is Status.INVALID
        assert why in told


def test_slices_of_a_run_take_nothing_from_counters_of_the_whole() -> None:
    assert "answers do not tell" in of_part(counted(), counted().traces, 1.0).missing["acceptance_length"]
    assert "acceptance_length" not in of_part(GOOD, GOOD.traces, 1.0).missing


def test_a_round_that_stood_still_counts_its_drafts() -> None:
    frozen = replace(of_run(GOOD), taken_out="the server stood still")
    assert frozen.value("acceptance_length") == pytest.approx(3.2)
    assert frozen.known("throughput") is None


def test_a_ratio_of_totals_says_what_a_zero_means() -> None:
    with pytest.raises(ValueError, match="from_totals needs why_nothing"):
        Metric("m", "m", "m", from_totals=lambda totals: (totals.requests, 1))
    with pytest.raises(ValueError, match="need one of from_trace, from_round and from_totals"):
        Metric("m", "m", "m")


@pytest.mark.parametrize("over", [math.nan, math.inf])
def test_totals_that_are_no_numbers_are_invalid_and_not_recorded(over: float) -> None:
    register_metric(
        Metric(
            name="odd_share",
            title="odd share",
            description="share of nothing known",
            unit="share",
            better="higher",
            from_totals=lambda totals: (over, 1.0),
            why_nothing="nothing",
        )
    )
    try:
        status, why = verdict(loaded([GOOD] * 8).odd_share >= 0.5)
        assert status is Status.INVALID
        assert "not finite" in why
        log = LoadLog()
        log.note("distill", GOOD, of_run(GOOD))
        json.dumps(log.facts(), allow_nan=False)
    finally:
        unregister("odd_share")
