"""Values that resemble their neighbours."""

from __future__ import annotations

import random
import statistics

import pytest

from pytest_llmperf.stats.autocorrelation import expected_widenings, lag_one, widening


def series(n: int, rho: float, draw: random.Random) -> list[float]:
    values = [draw.gauss(0.0, 1.0)]
    while len(values) < n:
        values.append(rho * values[-1] + (1.0 - rho**2) ** 0.5 * draw.gauss(0.0, 1.0))
    return values


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6])
def test_the_correlation_is_found_without_bias(rho: float) -> None:
    draw = random.Random(1)
    found = [lag_one([series(64, rho, draw)]) for _ in range(400)]
    assert statistics.fmean(found) == pytest.approx(rho, abs=0.03)


def test_alternating_and_constant_values_widen_nothing() -> None:
    assert widening([[1.0, -1.0] * 20]) == 1.0
    assert widening([[2.0] * 20]) == 1.0
    assert widening([[1.0, 2.0]]) == 1.0


def test_the_factor_is_that_of_an_autoregression_and_stays_finite() -> None:
    draw = random.Random(2)
    assert statistics.fmean(widening([series(400, 0.5, draw)]) for _ in range(60)) == pytest.approx(
        3**0.5, rel=0.05
    )
    assert widening([list(map(float, range(50)))]) < 4.4


def test_a_step_between_two_runs_is_no_correlation_within_them() -> None:
    draw = random.Random(3)
    found = [
        lag_one([series(64, 0.0, draw), [10.0 + value for value in series(64, 0.0, draw)]])
        for _ in range(200)
    ]
    assert statistics.fmean(found) == pytest.approx(0.0, abs=0.03)


def test_the_expected_factors_of_independent_values_are_those_that_are_found() -> None:
    draw = random.Random(4)
    for n in (20, 64):
        found = [widening([series(n, 0.0, draw)]) for _ in range(2000)]
        assert statistics.fmean(expected_widenings(n)) == pytest.approx(statistics.fmean(found), abs=0.015)
