"""Quantiles against budgets."""

from __future__ import annotations

import math
import random

import pytest

from pytest_llmperf.gates.verdict import Status
from tests.gates.judging import within


def latencies(n: int, seed: int = 1) -> list[float]:
    draw = random.Random(seed)
    return [draw.lognormvariate(math.log(0.08), 0.3) for _ in range(n)]


def test_the_three_outcomes_read_as_sentences() -> None:
    samples = [0.050 + 0.0001 * k for k in range(400)]
    assert within("ttft", samples, 0.2, noun="request").why == (
        "ttft p95 87.9 ms stays within the budget of 200 ms (at most 88.7 ms with 95 % confidence, n = 400 requests)"
    )
    assert within("ttft", samples, 0.06).status is Status.FAIL
    undecided = within("ttft", samples, 0.0882)
    assert undecided.status is Status.INCONCLUSIVE
    assert undecided.n_needed is not None


@pytest.mark.parametrize(("q", "least"), [(0.5, 5), (0.95, 59), (0.99, 299)])
def test_too_few_samples_are_refused_and_the_number_is_named(q: float, least: int) -> None:
    few = within("ttft", [0.01] * (least - 1), 1.0, q=q)
    assert few.status is Status.INVALID
    assert few.n_needed == least
    assert f"at least {least} are needed" in few.why
    assert within("ttft", [0.01] * least, 1.0, q=q).status is Status.PASS


@pytest.mark.parametrize("n", [59, 299, 1000])
def test_a_budget_at_the_true_quantile_is_seldom_decided(n: int) -> None:
    truth = math.exp(math.log(0.08) + 0.3 * 1.6448536)
    runs = 400
    statuses = [within("ttft", latencies(n, seed), truth).status for seed in range(runs)]
    tolerance = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert statuses.count(Status.PASS) / runs <= 0.05 + tolerance
    assert statuses.count(Status.FAIL) / runs <= 0.05 + tolerance


def test_a_floor_for_a_quantile_is_the_mirror_image() -> None:
    rates = [1000.0 + k for k in range(20)]
    assert within("throughput", rates, 900.0, q=0.5, unit="tok/s", at_least=True).status is Status.PASS
    failed = within("throughput", rates, 1100.0, q=0.5, unit="tok/s", at_least=True)
    assert failed.status is Status.FAIL
    assert failed.why == (
        "throughput p50 1,009 tok/s is below the floor of 1,100 tok/s "
        "(at most 1,014 tok/s with 95 % confidence, n = 20 samples)"
    )


def test_failed_requests_are_counted_and_too_many_are_invalid() -> None:
    samples: list[float | None] = [*latencies(400), None, None]
    assert within("ttft", samples, 0.5).detail == "2 of 402 samples failed"
    assert within("ttft", latencies(400), 0.5, errors=40).status is Status.INVALID


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.001])
def test_a_sample_that_is_no_latency_is_invalid(bad: float) -> None:
    assert within("ttft", [*latencies(400), bad], 5.0).status is Status.INVALID


def test_a_clock_that_stands_still_is_invalid() -> None:
    assert within("ttft", [0.0] * 400, 0.1).status is Status.INVALID


def test_the_p_value_and_the_verdict_agree() -> None:
    samples = latencies(200)
    for budget in [0.08 + 0.002 * step for step in range(40)]:
        verdict = within("ttft", samples, budget)
        assert verdict.p_value is not None
        assert (verdict.status is Status.FAIL) == (verdict.p_value <= 0.05)


def test_gaps_of_few_rounds_are_not_thousands_of_samples() -> None:
    draw = random.Random(5)
    levels = [draw.gauss(0.0, 0.2) for _ in range(6)]
    samples = [0.01 * math.exp(levels[k % 6] + draw.gauss(0.0, 0.2)) for k in range(1200)]
    rounds = [k % 6 for k in range(1200)]
    plain, grouped = within("itl", samples, 0.05), within("itl", samples, 0.05, groups=rounds)
    assert plain.status is Status.PASS
    assert grouped.status is Status.INVALID
    assert "1200 samples in 6 groups are worth" in grouped.why
    assert grouped.n_needed is not None
    assert grouped.n_needed > 1200


def test_many_independent_groups_decide_like_plain_samples() -> None:
    samples = latencies(1000)
    grouped = within("itl", samples, 0.5, groups=[k % 50 for k in range(1000)])
    assert grouped.status is Status.PASS
    assert "effective samples in 50 groups" in grouped.method


def test_groups_that_do_not_fit_the_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="one group a sample"):
        within("itl", latencies(100), 0.5, groups=[1, 2])
