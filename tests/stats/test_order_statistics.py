"""Quantile bounds: the least n, exact coverage, and scipy's test."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pytest_llmperf.stats import order_statistics


@pytest.mark.parametrize(("q", "n"), [(0.5, 5), (0.9, 29), (0.95, 59), (0.99, 299), (0.999, 2995)])
def test_the_least_n_is_the_known_one(q: float, n: int) -> None:
    assert order_statistics.least_n_upper(q) == order_statistics.least_n(q) == n
    assert order_statistics.upper_rank(n, q) == n
    assert order_statistics.upper_rank(n - 1, q) is None
    assert order_statistics.least_n_lower(1 - q) == n


@pytest.mark.parametrize("n", [1, 5, 20, 59, 100, 299, 1000, 5000])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_both_ranks_cover_exactly_and_are_the_tightest(n: int, q: float, confidence: float) -> None:
    upper, lower = (
        order_statistics.upper_rank(n, q, confidence),
        order_statistics.lower_rank(n, q, confidence),
    )
    if upper is None:
        assert 1 - q**n < confidence
    else:
        assert binom.cdf(upper - 1, n, q) >= confidence - 1e-9
        assert upper == 1 or binom.cdf(upper - 2, n, q) < confidence + 1e-9
    if lower is None:
        assert 1 - (1 - q) ** n < confidence
    else:
        assert binom.sf(lower - 1, n, q) >= confidence - 1e-9
        assert lower == n or binom.sf(lower, n, q) < confidence + 1e-9


@pytest.mark.parametrize(("q", "n"), [(0.95, 59), (0.95, 400), (0.99, 299)])
def test_a_heavy_tail_is_covered_as_promised(q: float, n: int) -> None:
    draw, runs = random.Random(n), 400
    truth = (1 - q) ** (-1 / 1.5)  # quantile of a Pareto law with index 1.5: no variance exists
    covered = 0
    for _ in range(runs):
        _, high = order_statistics.bounds([draw.paretovariate(1.5) for _ in range(n)], q)
        assert high is not None
        covered += high >= truth
    assert covered / runs >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / runs)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=400), st.floats(0.01, 0.99))
def test_the_quantile_is_a_sample_within_its_bounds(samples: list[float], q: float) -> None:
    low, high = order_statistics.bounds(samples, q)
    observed = order_statistics.quantile(samples, q)
    assert observed in samples
    assert sum(1 for sample in samples if sample <= observed) >= q * len(samples) - 1e-6
    if low is not None:
        assert low <= observed
    if high is not None:
        assert high >= observed


@given(st.lists(st.floats(0, 1e6), min_size=60, max_size=200), st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(samples: list[float], shuffler: random.Random) -> None:
    shuffled = list(samples)
    shuffler.shuffle(shuffled)
    assert order_statistics.bounds(shuffled, 0.95) == order_statistics.bounds(samples, 0.95)


@pytest.mark.parametrize("q", [0.0, 1.0, 95, math.nan])
def test_a_quantile_outside_0_to_1_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="q is"):
        order_statistics.least_n(q)


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [math.inf]])
def test_nothing_and_not_a_number_are_refused(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="sample"):
        order_statistics.quantile(samples, 0.5)
