"""The critical value that keeps the paired gate's promise: checked by adding up every outcome."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.stats import paired, paired_exact
from pytest_llmperf.stats.binomial import z_of


def size(n: int, discordance: float, difference: float) -> float:
    """P(statistic > critical value) at the truth ``difference``, over every outcome."""
    total, gain = 0.0, (discordance + difference) / (2 * discordance)
    for d in range(n + 1):
        weight = math.comb(n, d) * discordance**d * (1 - discordance) ** (n - d)
        if weight < 1e-12:
            continue
        critical = paired_exact.critical_z(n, d, difference)
        total += weight * sum(
            math.comb(d, g) * gain**g * (1 - gain) ** (d - g)
            for g in range(d + 1)
            if paired.tango_z(g, d - g, n, difference) > critical
        )
    return total


@pytest.mark.parametrize("difference", [-0.05, -0.02, 0.0, 0.03])
@pytest.mark.parametrize("discordance", [0.05, 0.08, 0.2, 0.4])
def test_the_error_is_at_most_5_per_cent_where_the_truth_is_on_the_bound(
    difference: float, discordance: float
) -> None:
    assert size(60, discordance, difference) <= 0.05


def test_the_normal_quantile_would_break_the_promise() -> None:
    """A candidate exactly at the margin of 3 points, 100 items, 5 of them answered differently."""
    at_the_quantile = paired_exact.chance_above(100, 0.03, 0.05, 0.03, z_of(0.95))
    assert at_the_quantile == pytest.approx(0.0872, abs=1e-4)
    exact = paired_exact.chance_above(100, 0.03, 0.05, 0.03, paired_exact.critical_z(100, 5, 0.03))
    assert exact <= 0.05


def test_chances_agree_with_every_outcome_of_five_items() -> None:
    n, d, psi, bound, z, expected = 5, -0.1, 0.5, -0.2, 0.8, 0.0
    lost, gained = (psi - d) / 2, (psi + d) / 2
    for g in range(n + 1):
        for less in range(n + 1 - g):
            ways = math.comb(n, g) * math.comb(n - g, less)
            if paired.tango_z(g, less, n, bound) > z:
                expected += ways * gained**g * lost**less * (1 - psi) ** (n - g - less)
    assert paired_exact.chance_above(n, d, psi, bound, z) == pytest.approx(expected)


@given(st.integers(5, 80), st.data())
def test_the_p_value_says_what_the_critical_value_says(n: int, data: st.DataObject) -> None:
    discordant = data.draw(st.integers(0, n))
    gained = data.draw(st.integers(0, discordant))
    difference = data.draw(st.sampled_from([-0.05, -0.03, 0.0, 0.03]))
    z = paired.tango_z(gained, discordant - gained, n, difference)
    critical = paired_exact.critical_z(n, discordant, difference)
    if abs(z - critical) > 0.01:  # the critical value is found to 0.002
        assert (z > critical) == (paired_exact.p_above(gained, discordant - gained, n, difference) <= 0.05)


@given(st.integers(1, 200), st.floats(0, 1), st.floats(-0.9, 0.9), st.sampled_from([0.01, 0.05, 0.1]))
def test_the_critical_value_is_finite_and_no_smaller_than_the_normal_quantile(
    n: int, share: float, difference: float, alpha: float
) -> None:
    z = paired_exact.critical_z(n, round(share * n), difference, alpha)
    assert z_of(1 - alpha) <= z < 60


def test_a_difference_that_the_discordance_does_not_allow_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a discordance of at least"):
        paired_exact.chance_above(100, -0.1, 0.05, 0.0, 1.6)
