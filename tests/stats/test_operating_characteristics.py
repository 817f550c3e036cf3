"""Chances of each verdict, against simulation and against the gates themselves; and the plans made of them."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.stats import operating_characteristics, sample_size
from pytest_llmperf.stats.binomial import clopper_pearson_lower, clopper_pearson_upper
from tests.gates.judging import ratio_within


@given(st.integers(1, 300), st.floats(0.02, 0.98))
def test_the_counts_are_those_at_which_the_exact_bounds_cross_the_floor(n: int, floor: float) -> None:
    fewest, most = operating_characteristics.floor_counts(n, floor)
    passing = [k for k in range(n + 1) if clopper_pearson_lower(k, n) >= floor + 1e-12]
    failing = [k for k in range(n + 1) if clopper_pearson_upper(k, n) < floor - 1e-12]
    assert (fewest is None) == (not passing)
    assert (most is None) == (not failing)
    assert fewest is None or fewest == min(passing)
    assert most is None or most == max(failing)


def test_the_chances_of_a_floor_are_binomial_tails() -> None:
    fewest, most = operating_characteristics.floor_counts(400, 0.74)
    got = operating_characteristics.of_floor(400, 0.79, 0.74)
    assert got.passes == pytest.approx(float(binom.sf((fewest or 0) - 1, 400, 0.79)))
    assert got.fails == pytest.approx(float(binom.cdf(most or 0, 400, 0.79)))
    assert got.passes + got.fails + got.undecided == pytest.approx(1.0)


def test_a_quantile_at_its_budget_errs_in_at_most_5_per_cent() -> None:
    for n in (59, 100, 299, 1000):
        got = operating_characteristics.of_quantile(n, 0.95, 0.95)
        assert got.passes <= 0.05
        assert got.fails <= 0.05
    with pytest.raises(ValueError, match="needs at least 59"):
        operating_characteristics.of_quantile(58, 0.95, 0.95)


@pytest.mark.parametrize("ratio", [1.0, 1.05, 1.08])
def test_the_chances_of_a_ratio_agree_with_simulation(ratio: float) -> None:
    draw, runs, passes, fails = random.Random(5), 500, 0, 0
    for _ in range(runs):
        rounds = [(ratio * math.exp(draw.gauss(0, 0.0424)), 1.0) for _ in range(20)]
        status = ratio_within("tpot", rounds, 1.05).status
        passes, fails = passes + (status is Status.PASS), fails + (status is Status.FAIL)
    expected = operating_characteristics.of_ratio(20, ratio, 1.05, 0.0424)
    assert passes / runs == pytest.approx(expected.passes, abs=0.06)
    assert fails / runs == pytest.approx(expected.fails, abs=0.06)


def test_the_plan_keeps_its_promise() -> None:
    n = sample_size.exact_items_for_margin(0.0, 0.05, 0.10)
    assert n is not None
    assert operating_characteristics.of_margin(n, 0.0, 0.10, 0.05).passes >= 0.95
    n = sample_size.exact_items_for_floor(0.80, 0.74)
    assert n is not None
    assert operating_characteristics.of_floor(n, 0.80, 0.74).passes >= 0.95
    n = sample_size.exact_rounds_for_ratio(1.0, 1.05, 0.05)
    assert n is not None
    assert operating_characteristics.of_ratio(n, 1.0, 1.05, 0.05).passes >= 0.95


def test_no_plan_decides_a_truth_on_its_bound() -> None:
    assert sample_size.exact_items_for_floor(0.74, 0.74) is None
    assert sample_size.exact_items_for_margin(-0.03, 0.03, 0.1) is None


def test_the_damage_that_is_caught_is_the_smallest() -> None:
    drop = sample_size.drop_caught_by_floor(400, 0.80, 0.74)
    assert drop is not None
    assert operating_characteristics.of_floor(400, 0.80 - drop, 0.74).fails >= 0.8
    assert operating_characteristics.of_floor(400, 0.80 - drop + 0.005, 0.74).fails < 0.8
    slower = sample_size.slowdown_caught(
        lambda ratio: operating_characteristics.of_ratio(20, ratio, 1.05, 0.04), 0.8
    )
    assert slower is not None
    assert 0.05 < slower < 0.10
    lost = sample_size.drop_caught_by_margin(200, 0.10, 0.05)
    assert lost is not None
    assert 0.05 < lost < 0.20


def test_a_gate_that_cannot_catch_anything_says_so() -> None:
    assert sample_size.drop_caught_by_floor(3, 0.5, 0.05) is None


@pytest.mark.parametrize("deviation", [1e-4, 0.003, 0.01, 0.04])
@pytest.mark.parametrize("rounds", [12, 64, 512])
def test_chances_far_in_the_tails_are_numbers(rounds: int, deviation: float) -> None:
    far = operating_characteristics.of_ratio(rounds, 1.0, 1.2, deviation)
    assert far.passes == pytest.approx(1.0, abs=1e-6)
    assert far.fails == pytest.approx(0.0, abs=1e-6)
