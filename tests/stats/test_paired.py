"""Tango's interval and McNemar's test against independent solutions of the same problem."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm

from pytest_llmperf.stats import paired
from pytest_llmperf.stats.binomial import z_of

TABLES = [
    (1, 7, 21),
    (40, 20, 160),
    (150, 86, 1600),
    (3, 9, 32),
    (0, 1, 44),
    (12, 2, 50),
    (0, 0, 30),
    (5, 0, 5),
]


def interval(gained: int, lost: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Both one-sided bounds."""
    z = z_of(confidence)
    return paired.tango_lower_at(gained, lost, n, z), paired.tango_upper_at(gained, lost, n, z)


def p_below(gained: int, lost: int, n: int, difference: float) -> float:
    """One-sided p-value of "the true difference is below ``difference``", by the same score statistic."""
    return float(norm.cdf(paired.tango_z(gained, lost, n, difference)))


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int]:
    n = draw(st.integers(1, 1500))
    gained = draw(st.integers(0, n))
    return gained, draw(st.integers(0, n - gained)), n


def restricted_z(gained: int, lost: int, n: int, difference: float) -> float:
    """The score statistic with the restricted likelihood maximised numerically, without Tango's closed
    form.
    """
    agreeing = n - gained - lost

    def minus_log_likelihood(lost_share: float) -> float:
        gained_share = lost_share + difference
        parts = ((gained, gained_share), (lost, lost_share), (agreeing, 1.0 - gained_share - lost_share))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in parts if count)

    low, high = max(0.0, -difference), (1.0 - difference) / 2.0
    best = minimize_scalar(
        minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-13}
    )
    variance = n * (2.0 * float(best.x) + difference - difference**2)
    return (gained - lost - n * difference) / math.sqrt(variance)


@pytest.mark.parametrize(("gained", "lost", "n"), TABLES)
@pytest.mark.parametrize("difference", [-0.4, -0.05, 0.03, 0.3])
def test_the_statistic_is_the_numerically_maximised_one(
    gained: int, lost: int, n: int, difference: float
) -> None:
    expected = restricted_z(gained, lost, n, difference)
    assert paired.tango_z(gained, lost, n, difference) == pytest.approx(expected, rel=2e-3, abs=2e-3)


@pytest.mark.parametrize(("gained", "lost", "n"), TABLES)
def test_the_bounds_solve_yangs_quartic(gained: int, lost: int, n: int) -> None:
    """Yang, Sun and Hardin (2013), Statistics in Medicine 32, 1336: the same limits as roots of a
    polynomial.
    """
    import numpy as np

    g, d, both = float(norm.ppf(0.975)) ** 2, gained - lost, gained + lost
    coefficients = [
        n**2 * (n / g + 1) ** 2,
        -n * d * (n / g + 1) * (4 * n / g + 1),
        2 * n * d**2 * (3 * n / g + 2) / g - n**2 * (both / g + 1),
        n * d * (2 * both / g + 1) - d**3 * (4 * n / g + 1) / g,
        d**2 * (d**2 / g - both) / g,
    ]
    real = [float(root.real) for root in np.roots(coefficients) if abs(root.imag) < 1e-5]
    for bound in interval(gained, lost, n, 0.975):
        assert min(abs(bound - root) for root in real) < 2e-5


def test_the_airway_example_has_its_published_interval() -> None:
    """Bentur et al. (2009) in Fagerland, Lydersen and Laake (2014), Statistics in Medicine 33, 2850."""
    assert interval(1, 7, 21, 0.975) == pytest.approx((-0.517, -0.026), abs=5e-4)


@given(tables(), st.floats(0.6, 0.999))
def test_bounds_enclose_the_difference_and_turn_with_the_sides(
    table: tuple[int, int, int], level: float
) -> None:
    gained, lost, n = table
    low, high = interval(gained, lost, n, level)
    assert -1.0 <= low <= (gained - lost) / n + 1e-9
    assert (gained - lost) / n - 1e-9 <= high <= 1.0
    assert interval(lost, gained, n) == pytest.approx(
        tuple(-bound for bound in reversed(interval(gained, lost, n)))
    )


@given(tables(), st.floats(-0.99, 0.98), st.floats(0.0, 0.01))
def test_the_statistic_falls_as_the_difference_rises(
    table: tuple[int, int, int], difference: float, more: float
) -> None:
    assert paired.tango_z(*table, difference + more) <= paired.tango_z(*table, difference) + 1e-6


@given(tables(), st.floats(-0.99, 0.99))
def test_the_p_value_and_the_bound_decide_alike(table: tuple[int, int, int], difference: float) -> None:
    bound = interval(*table)[1]
    if abs(bound - difference) > 1e-6:
        assert (p_below(*table, difference) < 0.05) == (bound < difference)


def test_an_identical_model_needs_88_items_for_three_points() -> None:
    """With no flip at all the bound is −z²/(n + z²)."""
    assert interval(0, 0, 87)[0] < -0.03 < interval(0, 0, 88)[0]


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (0, 5), (5, 0), (12, 30), (200, 251)])
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    if gained + lost == 0:
        assert paired.mcnemar_p_worse(gained, lost) == 1.0
        return
    worse = binomtest(lost, gained + lost, 0.5, alternative="greater").pvalue
    assert paired.mcnemar_p_worse(gained, lost) == pytest.approx(worse)


@pytest.mark.parametrize("psi", [0.06, 0.2])
@pytest.mark.parametrize("n", [50, 200])
def test_the_error_at_the_boundary_is_near_five_percent(n: int, psi: float) -> None:
    """Truth exactly at −margin: how often the bound says "not worse" though it is not shown."""
    margin, draw, runs = 0.05, random.Random(n), 3000
    lost_share, gained_share = (psi + margin) / 2, (psi - margin) / 2
    passed = 0
    for _ in range(runs):
        moves = [draw.random() for _ in range(n)]
        lost = sum(1 for move in moves if move < lost_share)
        gained = sum(1 for move in moves if lost_share <= move < lost_share + gained_share)
        passed += p_below(lost, gained, n, margin) < 0.05
    assert passed / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs) + 0.006


@pytest.mark.parametrize("table", [(-1, 0, 5), (3, 3, 5), (0, 0, 0), (0.5, 1, 5)])
def test_tables_that_cannot_be_are_refused(table: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"whole number|do not fit"):
        interval(*table)


@pytest.mark.parametrize("difference", [-1.0, 1.0, 3.0, math.nan])
def test_a_difference_outside_is_refused(difference: float) -> None:
    with pytest.raises(ValueError, match="difference is"):
        paired.tango_z(1, 2, 10, difference)
