"""Bounds for a proportion: published tables, scipy, exhaustive enumeration, and properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from pytest_llmperf.stats import binomial

# Newcombe (1998), Statistics in Medicine 17, 857, table I, methods 3 and 5: two-sided 95 %
NEWCOMBE = [
    (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
    (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
    (0, 20, (0.0000, 0.1611), (0.0000, 0.1684)),
    (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
]


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(st.integers(1, 3000))
    return draw(st.integers(0, n)), n


def wilson_interval(k: int, n: int, confidence: float) -> tuple[float, float]:
    """Both one-sided bounds."""
    return binomial.wilson_lower(k, n, confidence), binomial.wilson_upper(k, n, confidence)


@pytest.mark.parametrize(("k", "n", "wilson", "exact"), NEWCOMBE)
def test_the_intervals_are_those_of_newcombes_table(
    k: int, n: int, wilson: tuple[float, float], exact: tuple[float, float]
) -> None:
    assert wilson_interval(k, n, 0.975) == pytest.approx(wilson, abs=5e-5)
    assert binomial.clopper_pearson_interval(k, n) == pytest.approx(exact, abs=5e-5)


@pytest.mark.parametrize("n", [1, 2, 7, 40, 1319])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.78, 1.0])
def test_the_intervals_are_scipys(n: int, share: float) -> None:
    k = round(share * n)
    wilson = binomtest(k, n).proportion_ci(0.9, method="wilson")
    exact = binomtest(k, n).proportion_ci(0.9, method="exact")
    assert wilson_interval(k, n, 0.95) == pytest.approx((wilson.low, wilson.high), abs=1e-9)
    assert binomial.clopper_pearson_interval(k, n, 0.9) == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize("n", [1, 5, 10, 30, 100])
def test_the_exact_bound_covers_at_every_true_share(n: int) -> None:
    lower = [binomial.clopper_pearson_lower(k, n) for k in range(n + 1)]
    for step in range(1, 200):
        p = step / 200
        missed = sum(float(binom.pmf(k, n, p)) for k in range(n + 1) if lower[k] > p)
        assert missed <= 0.05 + 1e-12


def test_wilsons_bound_errs_more_than_it_says_near_a_high_floor() -> None:
    """Why the gates do not use it: the largest error found by enumeration, at a floor of 0.95."""
    n, floor = 64, 0.95
    errors = {}
    for n in range(60, 130):
        upper = [binomial.wilson_upper(k, n) for k in range(n + 1)]
        errors[n] = sum(float(binom.pmf(k, n, floor)) for k in range(n + 1) if upper[k] < floor)
    assert max(errors.values()) > 0.06


@given(counts(), st.floats(0.6, 0.999))
def test_bounds_enclose_the_observed_share_and_mirror_each_other(pair: tuple[int, int], level: float) -> None:
    k, n = pair
    for lower, upper in (
        (binomial.wilson_lower, binomial.wilson_upper),
        (binomial.clopper_pearson_lower, binomial.clopper_pearson_upper),
    ):
        low, high = lower(k, n, level), upper(k, n, level)
        assert 0.0 <= low <= k / n + 1e-12
        assert k / n - 1e-12 <= high <= 1.0
        assert high == pytest.approx(1.0 - lower(n - k, n, level), abs=1e-9)


@given(counts(), st.floats(0.6, 0.99))
def test_one_more_success_raises_the_bounds(pair: tuple[int, int], level: float) -> None:
    k, n = pair
    if k < n:
        assert binomial.clopper_pearson_lower(k + 1, n, level) > binomial.clopper_pearson_lower(k, n, level)
        assert binomial.wilson_lower(k + 1, n, level) > binomial.wilson_lower(k, n, level)


@given(counts(), st.floats(0.01, 0.99))
def test_the_p_value_and_the_exact_bound_decide_alike(pair: tuple[int, int], share: float) -> None:
    k, n = pair
    p_value, bound = binomial.p_at_most(k, n, share), binomial.clopper_pearson_upper(k, n)
    if abs(bound - share) > 1e-9:
        assert (p_value < 0.05) == (bound < share)


@given(counts(), st.floats(0.01, 0.99))
def test_the_tail_is_the_binomial_distribution_function(pair: tuple[int, int], share: float) -> None:
    k, n = pair
    assert binomial.p_at_most(k, n, share) == pytest.approx(float(binom.cdf(k, n, share)), abs=1e-9)
    assert binomial.p_at_least(k, n, share) == pytest.approx(float(binom.sf(k - 1, n, share)), abs=1e-9)


@pytest.mark.parametrize(
    ("k", "n"),
    [(-1, 10), (11, 10), (0, 0), (1, -3), (math.nan, 10), (3, math.nan), (math.inf, 10), (3, math.inf)],
)
def test_counts_that_cannot_be_are_refused(k: float, n: float) -> None:
    for bound in (binomial.wilson_lower, binomial.wilson_upper, binomial.clopper_pearson_lower):
        with pytest.raises(ValueError, match=r"successes|n is"):
            bound(k, n)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 95.0, math.nan])
def test_a_confidence_outside_0_to_1_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="confidence is"):
        binomial.clopper_pearson_lower(3, 10, level)


@given(n=st.integers(2, 5000), worth=st.floats(1.5, 5000.0))
def test_all_of_an_effective_count_are_all_whatever_the_rounding(n: int, worth: float) -> None:
    # scaled up and down again, all n may come out a hair above the effective n
    assert binomial.p_at_most(worth / n * n, worth, 0.5) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="between 0 and n"):
        binomial.p_at_most(worth * 1.001, worth, 0.5)
