"""Schedules: exact ends, the promised distribution of gaps, the same for the same seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, pvariance

import pytest

from pytest_llmperf.load.arrivals import Schedule, constant, gamma, poisson


def gaps(schedule: Schedule) -> list[float]:
    return [after - before for before, after in pairwise(schedule.offsets_s)]


def squared_variation(values: Sequence[float]) -> float:
    return pvariance(values) / fmean(values) ** 2


@pytest.mark.parametrize(
    "schedule", [constant(4, 101), poisson(4, 101, seed=3), gamma(4, 101, burstiness=0.3, seed=3)]
)
def test_every_schedule_begins_at_once_and_offers_exactly_the_asked_rate(schedule: Schedule) -> None:
    assert len(schedule) == 101
    assert schedule.offsets_s[0] == 0
    assert schedule.span_s == pytest.approx(25)
    assert schedule.rate_per_s == pytest.approx(4)
    assert "4 requests/s" in schedule.name


def test_a_constant_schedule_does_not_drift() -> None:
    assert constant(3, 3001).offsets_s[3000] == 1000
    assert all(gap == pytest.approx(1 / 3) for gap in gaps(constant(3, 50)))


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_are_gamma_with_the_asked_burstiness(burstiness: float) -> None:
    found = gaps(gamma(10, 40_001, burstiness=burstiness, seed=5))
    assert squared_variation(found) == pytest.approx(1 / burstiness, rel=0.08)


def test_poisson_gaps_are_exponential() -> None:
    found = gaps(poisson(2, 40_001, seed=1))
    for seconds in (0.1, 0.5, 1.5):
        longer = fmean(gap > seconds for gap in found)
        assert longer == pytest.approx(math.exp(-2 * seconds), abs=0.01)


def test_a_seed_gives_its_schedule_again_and_another_seed_another() -> None:
    assert poisson(5, 50, seed=1) == poisson(5, 50, seed=1)
    assert poisson(5, 50, seed=1).offsets_s != poisson(5, 50, seed=2).offsets_s
    assert poisson(5, 50, seed=1).offsets_s == gamma(5, 50, burstiness=1, seed=1).offsets_s


def test_one_request_is_a_schedule() -> None:
    for schedule in (constant(4, 1), poisson(4, 1), gamma(4, 1, burstiness=2)):
        assert schedule.offsets_s == (0.0,)
        assert schedule.rate_per_s == math.inf


@pytest.mark.parametrize("offsets", [(), (0.0, math.nan), (0.0, 2.0, 1.0), (-1.0,), (0.0, math.inf)])
def test_a_schedule_that_cannot_be_kept_is_refused(offsets: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="need"):
        Schedule("mine", offsets)


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    for make in (constant, poisson):
        with pytest.raises(ValueError, match="rate"):
            make(rate, 10)


@pytest.mark.parametrize("burstiness", [0, -1, math.nan, math.inf])
def test_a_burstiness_that_is_none_is_refused(burstiness: float) -> None:
    with pytest.raises(ValueError, match="burstiness"):
        gamma(1, 10, burstiness=burstiness)


def test_no_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        poisson(1, 0)
