"""Starts as a random effect."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from scipy.stats import ttest_1samp

from pytest_llmperf.stats import start_to_start
from pytest_llmperf.stats.start_to_start import StartVariation, bounds, p_above, starts_needed, variation


def measured(starts: int, rounds: int, between: float, within: float, seed: int) -> list[list[float]]:
    draw = random.Random(seed)
    effects = [draw.gauss(0, between) for _ in range(starts)]
    return [[effect + draw.gauss(0, within) for _ in range(rounds)] for effect in effects]


def test_both_variations_are_found_again() -> None:
    found = variation(measured(400, 10, 0.04, 0.02, seed=1))
    assert found.between == pytest.approx(0.04, rel=0.1)
    assert found.within == pytest.approx(0.02, rel=0.1)


def test_starts_that_do_not_differ_have_no_variation_between_them() -> None:
    assert variation([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]).between == 0.0


def test_the_bounds_are_students() -> None:
    values = [0.01, 0.05, -0.02, 0.03]
    low, high = bounds(values)
    expected = ttest_1samp(values, 0.0).confidence_interval(0.90)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert p_above(values, 0.0) == pytest.approx(
        float(ttest_1samp(values, 0.0, alternative="greater").pvalue)
    )


def test_two_starts_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 are needed"):
        bounds([0.1, 0.2])


def test_the_planned_number_of_starts_decides() -> None:
    seen, gap = StartVariation(0.04, 0.03, 5, 10), 0.10
    k = starts_needed(gap, seen, rounds=10)
    assert k is not None
    spread = math.hypot(0.04, 0.03 / math.sqrt(10))
    draw = random.Random(2)
    found = [bounds([gap + draw.gauss(0, spread) for _ in range(k)])[0] > 0 for _ in range(400)]
    assert statistics.fmean(found) >= 0.75
    assert starts_needed(0.0, seen, rounds=10) is None
    assert starts_needed(0.1, StartVariation(0.0, 0.0, 3, 3), rounds=1) == start_to_start.LEAST_STARTS


def test_without_memory_the_spread_of_starts_is_students_t_around_what_is_assumed() -> None:
    for level in (0.9, 0.95, 0.99):
        prior = math.sqrt(2.0) * start_to_start.ASSUMED_DEVIATION
        expected = prior * start_to_start.t_of(start_to_start.ASSUMED_FREEDOM, level)
        assert start_to_start.spread_quantile((), level) == pytest.approx(expected)
        one = start_to_start._quantile_of_spread((((0.0, 0.01),),), level)
        assert one == pytest.approx(expected, rel=1e-3), "a single start tells nothing of how starts differ"


@pytest.mark.parametrize("deviation", [0.01, 0.0424, 0.10])
def test_the_spread_of_many_starts_is_found_whatever_was_assumed(deviation: float) -> None:
    draw = random.Random(2)
    many = tuple((draw.gauss(0.3, math.hypot(deviation, 0.004)), 0.004) for _ in range(400))
    assert start_to_start.spread_seen((many,)) == pytest.approx(deviation, rel=0.1)
    assert start_to_start.spread_quantile((many,), 0.95) == pytest.approx(1.645 * deviation, rel=0.1)


def test_the_noise_of_rounds_is_not_taken_for_a_spread_of_starts() -> None:
    draw = random.Random(3)
    noisy = tuple((draw.gauss(0.0, 0.06), 0.06) for _ in range(40))
    assert start_to_start.spread_seen((noisy,)) < 0.05
    assert start_to_start.spread_seen((tuple((c, 0.001) for c, _ in noisy),)) == pytest.approx(0.06, rel=0.25)
