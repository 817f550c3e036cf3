"""Slow rounds that the ratio of a typical round does not see."""

from __future__ import annotations

import math
import random

import pytest

from pytest_llmperf.gates.base import gate_from_json
from pytest_llmperf.gates.ratio import PairedSamples, Ratio, Rounds, tail_size
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.measure.planned import unmeasured

SHARE = 0.15
"""Of the candidate's rounds, which take twice as long."""


def rounds(slow: float, seed: int, count: int = 64) -> Rounds:
    draw = random.Random(seed)

    def value() -> float:
        return 0.02 * math.exp(draw.gauss(0.0, 0.03))

    return [(value() * (2.0 if draw.random() < slow else 1.0), value()) for _ in range(count)]


def ratio(slow: float, seed: int = 1, **more: object) -> Ratio:
    return Ratio("TPOT at 8", [rounds(slow, seed)], "s", **more)  # type: ignore[arg-type]


def test_a_server_that_is_twice_as_slow_in_some_rounds_passes_the_ratio_and_not_its_p90() -> None:
    runs = [ratio(SHARE, seed) for seed in range(60)]
    typical = [(one <= 1.05).verdict.status for one in runs]
    slow = [(one.p90 <= 1.2).verdict.status for one in runs]
    assert typical.count(Status.PASS) > 30
    assert slow.count(Status.PASS) <= 1
    assert Status.FAIL in slow


def test_equal_servers_pass_both() -> None:
    for seed in range(20):
        assert (ratio(0.0, seed) <= 1.05).verdict.status is Status.PASS
        assert (ratio(0.0, seed).p90 <= 1.2).verdict.status is Status.PASS


def test_the_verdict_of_the_ratio_tells_of_the_slow_rounds() -> None:
    assert ".ratio.p90 does" in (ratio(SHARE) <= 1.05).verdict.detail
    assert "p90" not in (ratio(0.0) <= 1.05).verdict.detail


def test_a_rate_is_gated_from_below() -> None:
    slow = [(b, a) for a, b in rounds(SHARE, 1)]
    floor = Ratio("throughput", [slow], "tok/s").quantile(0.1) >= 0.8
    assert floor.verdict.status is not Status.PASS
    assert floor.verdict.metric == "throughput ratio by round p10"


def test_a_quantile_takes_enough_rounds_whatever_the_ratio_needs() -> None:
    asked: list[int] = []
    every = rounds(0.0, 1)

    def more(n: int) -> PairedSamples:
        asked.append(n)
        return PairedSamples([every[:n]])

    one = Ratio("TPOT", [every[:8]], "s", schedule=(8, 12, 18, 27, 40, 64), more=more)
    assert (one.p90 <= 1.2).verdict.n == 64
    assert asked == [64]
    assert tail_size((36, 60, 96, 132, 180)) == 60
    assert tail_size((36, 60, 96, 132, 180), 0.99) == 180


def test_rounds_of_several_starts_are_judged_together() -> None:
    starts = [rounds(0.0, seed, 20) for seed in range(5)]
    verdict = (Ratio("TPOT", starts, "s").p90 <= 1.2).verdict
    assert (verdict.status, verdict.n) == (Status.PASS, 100)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.02, 0.0])
def test_values_that_no_clock_gives_are_no_ratio(value: float) -> None:
    broken = [(value, value)] * 4 + [*rounds(0.0, 1)][4:]
    for share in (0.0, 0.1):
        verdict = (Ratio("TPOT", [broken], "s", client_share=share).p90 <= 1.2).verdict
        assert verdict.status is Status.INVALID


def test_nothing_left_is_invalid_also_where_the_client_has_a_share() -> None:
    lost = Ratio("TPOT", [[(None, 0.02)] * 64], "s", client_share=0.1)
    assert (lost.p90 <= 1.2).verdict.status is Status.INVALID


def test_a_few_lost_rounds_are_too_many_for_a_tail_and_unusable_ones_are_not_judged() -> None:
    one = [(None, 0.02), *rounds(0.0, 1)[1:]]
    assert (Ratio("TPOT", [one], "s").p90 <= 1.2).verdict.status is Status.PASS
    # A typical round is known without them; the slowest tenth may be just these.
    few = [(None, 0.02)] * 6 + [*rounds(0.0, 1)][6:]
    assert (Ratio("TPOT", [few], "s") <= 1.2).verdict.status is Status.PASS
    assert (Ratio("TPOT", [few], "s").p90 <= 1.2).verdict.status is Status.INVALID
    assert "warm" in (ratio(0.0, unusable="a warm cache").p90 <= 1.2).verdict.why


def test_a_decision_within_the_clients_own_error_is_none() -> None:
    near = ratio(0.0, client_share=0.9)
    assert (near.p90 <= 1.2).verdict.status is Status.INVALID
    assert (ratio(0.0, client_share=0.01).p90 <= 1.2).verdict.status is Status.PASS


def test_a_plan_knows_its_number_of_rounds() -> None:
    planned = Ratio("TPOT", [unmeasured(64)], "s").p90
    assert planned.size == 64


@pytest.mark.parametrize("q", [0.0, 1.0, 1.5])
def test_another_quantile_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        ratio(0.0).quantile(q)


def test_the_gate_is_recorded_with_its_rounds() -> None:
    gates = []

    def judge(gate):  # type: ignore[no-untyped-def]
        gates.append(gate)
        return gate

    _ = ratio(SHARE, judge=judge).p90 <= 1.2
    [gate] = gates
    assert gate_from_json(gate.to_json()).judge() == gate.judge()
