"""Ratios of interleaved rounds."""

from __future__ import annotations

import math
import random

import pytest

from pytest_llmperf.gates.verdict import Status
from tests.gates.judging import ratio_within


def rounds(ratio: float, seed: int, n: int = 20, noise: float = 0.03) -> list[tuple[float, float]]:
    """Rounds with ``noise`` on each side, on a machine that gets 8 % slower, a hiccup in one of 33."""
    draw = random.Random(seed)
    made = []
    for index in range(n):
        level = 0.012 * (1.0 + 0.08 * index / n)
        theirs, ours = (level * math.exp(draw.gauss(0.0, noise)) for _ in range(2))
        if draw.random() < 0.03:
            ours *= 1.5
        if draw.random() < 0.03:
            theirs *= 1.5
        made.append((ours * ratio, theirs))
    return made


def share(status: Status, ratio: float, budget: float, runs: int = 1500) -> float:
    return (
        sum(ratio_within("tpot", rounds(ratio, seed), budget).status is status for seed in range(runs)) / runs
    )


def test_a_clearly_slower_candidate_fails_with_its_numbers() -> None:
    verdict = ratio_within("tpot", [(0.0132, 0.012)] * 10, 1.05)
    assert verdict.status is Status.FAIL
    assert verdict.why == (
        "tpot is 10.0 % above the baseline (13.2 against 12.0 ms); at most 5 % is allowed "
        "(at least 10.0 % above with 95 % confidence, n = 10 rounds)"
    )
    assert (verdict.candidate, verdict.baseline, verdict.level_unit) == (0.0132, 0.012, "s")


def test_equal_servers_at_the_budget_are_seldom_called_wrong() -> None:
    tolerance = 3 * math.sqrt(0.05 * 0.95 / 1500)
    assert share(Status.FAIL, 1.05, 1.05) <= 0.05 + tolerance
    assert share(Status.PASS, 1.05, 1.05) <= 0.05 + tolerance


def test_equal_servers_pass_and_never_fail_in_spite_of_drift_and_hiccups() -> None:
    assert share(Status.PASS, 1.0, 1.05) >= 0.95
    assert share(Status.FAIL, 1.0, 1.05) <= 0.005


def test_five_percent_slower_is_never_green_at_two_and_eight_is_red() -> None:
    assert share(Status.PASS, 1.05, 1.02) <= 0.01
    assert share(Status.FAIL, 1.08, 1.02) >= 0.95


def test_a_floor_for_throughput_is_the_mirror_image() -> None:
    slower = [(900.0 + k, 1000.0) for k in range(10)]
    assert ratio_within("throughput", slower, 0.95, unit="tok/s", at_least=True).status is Status.FAIL
    assert ratio_within("throughput", slower, 0.85, unit="tok/s", at_least=True).status is Status.PASS
    mirrored = ratio_within("tpot", [(b, a) for a, b in slower], 1 / 0.95)
    straight = ratio_within("throughput", slower, 0.95, at_least=True)
    assert mirrored.p_value == pytest.approx(straight.p_value)
    assert mirrored.status is straight.status


def test_swapping_the_sides_inverts_the_interval() -> None:
    forth = ratio_within("tpot", rounds(1.0, 3), 1.05)
    back = ratio_within("tpot", [(b, a) for a, b in rounds(1.0, 3)], 1.05)
    assert forth.interval is not None
    assert back.interval is not None
    assert forth.interval == pytest.approx((1 / back.interval[1], 1 / back.interval[0]))


def test_fewer_than_five_rounds_are_refused() -> None:
    verdict = ratio_within("tpot", rounds(1.0, 1, n=4), 1.05)
    assert (verdict.status, verdict.n_needed) == (Status.INVALID, 5)
    assert "at least 5 are needed" in verdict.why


def test_a_lost_round_is_left_out_and_counted() -> None:
    verdict = ratio_within("tpot", [*rounds(1.0, 1), (None, 0.012)], 1.05)
    assert (verdict.n, verdict.detail.splitlines()[0]) == (20, "1 of 21 rounds were lost")
    many = [*rounds(1.0, 1), *[(0.01, None)] * 8]
    assert ratio_within("tpot", many, 1.05).status is Status.INVALID


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_a_round_that_cannot_be_is_invalid(bad: float) -> None:
    assert ratio_within("tpot", [*rounds(1.0, 1), (bad, 0.012)], 1.05).status is Status.INVALID
    assert ratio_within("tpot", [*rounds(1.0, 1), (0.012, bad)], 1.05).status is Status.INVALID


@pytest.mark.parametrize("budget", [math.nan, 0.0, -1.0, math.inf])
def test_a_budget_that_is_no_ratio_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="budget"):
        ratio_within("tpot", rounds(1.0, 1), budget)


def test_the_p_value_and_the_verdict_agree() -> None:
    for seed in range(40):
        verdict = ratio_within("tpot", rounds(1.05, seed), 1.04)
        assert verdict.p_value is not None
        assert (verdict.status is Status.FAIL) == (verdict.p_value <= 0.05)
