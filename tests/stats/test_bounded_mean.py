"""Bounds for the mean of a bounded quantity: exact for zeros and ones, never too narrow for rare bad items."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_llmperf.stats import bounded_mean
from pytest_llmperf.stats.binomial import clopper_pearson_lower, clopper_pearson_upper

differences = st.lists(st.floats(-1, 1), min_size=1, max_size=60)


@pytest.mark.parametrize(("right", "n"), [(30, 30), (29, 30), (0, 30), (97, 100), (700, 1500)])
def test_for_zeros_and_ones_it_is_the_exact_bound(right: int, n: int) -> None:
    scores = [1.0] * right + [0.0] * (n - right)
    assert bounded_mean.lower(scores, 0.0) == pytest.approx(clopper_pearson_lower(right, n), abs=1e-6)
    assert bounded_mean.upper(scores, 1.0) == pytest.approx(clopper_pearson_upper(right, n), abs=1e-6)


def test_it_is_the_quantile_of_means_under_random_weights() -> None:
    draw = random.Random(3)
    values = [draw.betavariate(2, 3) for _ in range(40)]
    means = []
    for _ in range(20_000):
        weights = [draw.expovariate(1.0) for _ in range(41)]
        means.append(sum(w * v for w, v in zip(weights, [*values, 0.0], strict=True)) / sum(weights))
    assert bounded_mean.lower(values, 0.0) == pytest.approx(sorted(means)[1000], abs=0.002)


def test_scores_that_spread_evenly_get_hardly_more_than_students_width() -> None:
    values = [0.3 + 0.2 * k / 999 for k in range(1000)]
    normal = 1.645 * 0.2 / math.sqrt(12 * 1000)
    width = 0.4 - bounded_mean.lower(values, 0.0)
    assert normal < width < 1.25 * normal


def zeros_among_good(draw: random.Random) -> tuple[float, float]:
    return (0.0 if draw.random() < 0.02 else draw.uniform(0.9, 1.0)), 0.95 * 0.98


def rare_losses(draw: random.Random) -> tuple[float, float]:
    return (-0.9 if draw.random() < 0.02 else draw.gauss(0.0, 0.01)), -0.018


def skewed(draw: random.Random) -> tuple[float, float]:
    return draw.betavariate(0.5, 4.5), 0.1


@pytest.mark.parametrize("drawn", [zeros_among_good, rare_losses, skewed])
@pytest.mark.parametrize("n", [30, 120])
def test_neither_bound_errs_more_often_than_it_says(
    drawn: Callable[[random.Random], tuple[float, float]], n: int
) -> None:
    draw, runs, wrong_above, wrong_below = random.Random(12), 600, 0, 0
    for _ in range(runs):
        pairs = [drawn(draw) for _ in range(n)]
        values, truth = [value for value, _ in pairs], pairs[0][1]
        wrong_above += bounded_mean.p_above(values, -1.0, truth) <= 0.05
        wrong_below += bounded_mean.p_below(values, 1.0, truth) <= 0.05
    assert max(wrong_above, wrong_below) / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("spread", [0.5, 5.0])
def test_the_bound_of_paired_item_means_covers(spread: float) -> None:
    """Candidate three points worse on every item's success rate, four samples each a side."""
    draw, runs, wrong = random.Random(12), 1500, 0
    for _ in range(runs):
        values = []
        for _ in range(60):
            p = 0.05 + 0.95 * draw.betavariate(0.75 * spread, 0.25 * spread)
            ours = sum(draw.random() < p - 0.03 for _ in range(4)) / 4
            values.append(ours - sum(draw.random() < p for _ in range(4)) / 4)
        wrong += bounded_mean.p_above(values, -1.0, -0.03) <= 0.05
    assert wrong / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


@given(differences)
def test_the_bounds_enclose_the_mean_and_mirror(values: list[float]) -> None:
    low, high = bounded_mean.lower(values, -1.0), bounded_mean.upper(values, 1.0)
    assert -1.0 <= low <= sum(values) / len(values) + 1e-9
    assert sum(values) / len(values) - 1e-9 <= high <= 1.0
    assert bounded_mean.upper([-value for value in values], 1.0) == pytest.approx(-low, abs=1e-9)


@given(differences, st.floats(-0.95, 0.95))
def test_the_p_value_and_the_bound_decide_alike(values: list[float], difference: float) -> None:
    high = bounded_mean.upper(values, 1.0)
    assume(abs(high - difference) > 1e-6)
    assert (bounded_mean.p_below(values, 1.0, difference) < 0.05) == (high < difference)


def test_items_that_never_differ_still_leave_room() -> None:
    assert bounded_mean.lower([0.0] * 50, -1.0) < -0.03 < 0.03 < bounded_mean.upper([0.0] * 50, 1.0)
    assert bounded_mean.lower([0.0] * 200, -1.0) > -0.03


@pytest.mark.parametrize("bad", [[], [-1.5], [math.nan]])
def test_values_that_cannot_be_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no values|below|finite"):
        bounded_mean.lower(bad, -1.0)
