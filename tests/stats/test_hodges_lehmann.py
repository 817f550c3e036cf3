"""The signed-rank interval: every sign pattern enumerated for small n, scipy and a textbook example beside
it.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from pytest_llmperf.stats import hodges_lehmann

# Hollander, Wolfe and Chicken (2014), table 3.1: Hamilton depression factor, before minus after
DEPRESSION = [0.952, -0.147, 1.022, 0.430, 0.620, 0.590, 0.490, -0.080, 0.010]

numbers = st.lists(st.floats(-50, 50, allow_nan=False), min_size=5, max_size=30)


def test_the_depression_example_has_its_published_numbers() -> None:
    assert hodges_lehmann.estimate(DEPRESSION) == pytest.approx(0.46, abs=5e-4)
    assert hodges_lehmann.p_greater(DEPRESSION, 0.0) == pytest.approx(0.01953, abs=5e-6)
    assert hodges_lehmann.bounds(DEPRESSION, 0.98) == pytest.approx((0.010, 0.786), abs=5e-4)


@pytest.mark.parametrize("n", range(1, 11))
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.975, 0.99])
def test_the_rank_is_the_largest_that_every_sign_pattern_allows(n: int, confidence: float) -> None:
    sums = [
        sum(rank for rank, positive in enumerate(signs, start=1) if positive)
        for signs in itertools.product((False, True), repeat=n)
    ]
    rank = hodges_lehmann.critical_rank(n, confidence)
    below = [sum(1 for total in sums if total <= limit) / 2**n for limit in range(-1, len(sums))]
    assert below[rank] <= 1 - confidence + 1e-12
    assert below[rank + 1] > 1 - confidence


@pytest.mark.parametrize("n", [5, 6, 8])
def test_the_interval_covers_in_the_promised_share_of_all_sign_patterns(n: int) -> None:
    sizes = [1.0 + 0.37 * index * index for index in range(n)]
    missed = 0
    for signs in itertools.product((-1.0, 1.0), repeat=n):
        low, _ = hodges_lehmann.bounds([sign * size for sign, size in zip(signs, sizes, strict=True)])
        missed += low > 0.0
    assert missed / 2**n <= 0.05


@pytest.mark.parametrize("n", [5, 12, 20, 40, 50])
def test_the_p_value_is_scipys_exact_one(n: int) -> None:
    draw = random.Random(n)
    values = [draw.gauss(0.3, 1.0) for _ in range(n)]
    theirs = wilcoxon(values, alternative="greater", method="exact").pvalue
    assert hodges_lehmann.p_greater(values, 0.0) == pytest.approx(theirs, rel=1e-9)


def test_the_normal_approximation_joins_the_exact_distribution() -> None:
    exact = hodges_lehmann.critical_rank(50, 0.95)
    mean, deviation = 50 * 51 / 4, math.sqrt(50 * 51 * 101 / 24)
    assert exact == pytest.approx(mean - 1.645 * deviation, abs=1.5)
    assert hodges_lehmann.critical_rank(51, 0.95) > exact


def test_five_rounds_are_the_least_at_95_percent_and_seven_at_99() -> None:
    assert hodges_lehmann.least_n(0.95) == 5
    assert hodges_lehmann.least_n(0.99) == 7
    with pytest.raises(ValueError, match="needs at least 5"):
        hodges_lehmann.bounds([1.0, 2.0, 3.0, 4.0])


@given(numbers)
def test_the_bounds_enclose_the_estimate_and_the_estimate_the_data(values: list[float]) -> None:
    low, high = hodges_lehmann.bounds(values)
    assert min(values) - 1e-9 <= low <= hodges_lehmann.estimate(values) <= high <= max(values) + 1e-9


@given(numbers, st.floats(-10, 10), st.randoms(use_true_random=False))
def test_shift_mirror_and_order_do_what_they_must(
    values: list[float], shift: float, shuffler: random.Random
) -> None:
    low, high = hodges_lehmann.bounds(values)
    moved_low, moved_high = hodges_lehmann.bounds([value + shift for value in values])
    assert (moved_low, moved_high) == pytest.approx((low + shift, high + shift), abs=1e-9)
    assert hodges_lehmann.bounds([-value for value in values]) == pytest.approx((-high, -low), abs=1e-9)
    shuffled = list(values)
    shuffler.shuffle(shuffled)
    assert hodges_lehmann.bounds(shuffled) == (low, high)


@given(numbers, st.floats(-60, 60))
def test_the_p_value_and_the_bound_decide_alike(values: list[float], centre: float) -> None:
    low, _ = hodges_lehmann.bounds(values)
    assert (hodges_lehmann.p_greater(values, centre) <= 0.05 + 1e-12) == (low > centre)


def test_one_slow_round_does_not_move_the_interval_far() -> None:
    draw = random.Random(4)
    values = [draw.gauss(0.0, 0.02) for _ in range(19)]
    assert hodges_lehmann.bounds([*values, 9.0])[1] < 0.03 < statistics.fmean([*values, 9.0])


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
def test_nothing_and_not_a_number_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="sample"):
        hodges_lehmann.estimate(bad)


def test_huge_finite_values_do_not_become_infinite() -> None:
    low, high = hodges_lehmann.bounds([1.7e308] * 6)
    assert (low, high) == (1.7e308, 1.7e308)


def test_more_rounds_than_can_be_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 2000"):
        hodges_lehmann.estimate([0.0] * 2001)
