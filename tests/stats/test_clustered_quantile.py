"""Quantile bounds for samples in groups: coverage where plain order statistics fail."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.stats import clustered_quantile, order_statistics

nested = st.lists(st.lists(st.floats(0, 100), max_size=30), min_size=1, max_size=12).filter(any)


def rounds(draw: random.Random, groups: int, size: int, between: float) -> list[list[float]]:
    made = []
    for _ in range(groups):
        level = draw.gauss(0.0, between)
        made.append([math.exp(level + draw.gauss(0.0, 0.3)) for _ in range(size)])
    return made


@pytest.mark.parametrize("between", [0.0, 0.1, 0.2])
def test_the_bounds_err_near_five_percent_where_plain_ones_err_far_more(between: float) -> None:
    truth = math.exp(math.hypot(between, 0.3) * NormalDist().inv_cdf(0.95))
    draw, runs = random.Random(8), 120
    wrong = plain_wrong = 0
    for _ in range(runs):
        data = rounds(draw, 20, 200, between)
        low, high, _ = clustered_quantile.bounds(data, 0.95)
        wrong += high is not None and high < truth
        wrong += low is not None and low > truth
        _, plain = order_statistics.bounds([value for group in data for value in group], 0.95)
        plain_wrong += plain is not None and plain < truth
    assert wrong / runs <= 2 * 0.06 + 3 * math.sqrt(0.1 * 0.9 / runs)
    if between == 0.2:
        assert plain_wrong / runs > 0.2


def test_independent_samples_keep_nearly_all_their_worth() -> None:
    data = rounds(random.Random(1), 40, 100, 0.0)
    assert clustered_quantile.effective_n(data, 0.95) > 2500


def test_copies_are_worth_one_each() -> None:
    draw = random.Random(2)
    data = [[draw.random()] * 50 for _ in range(100)]
    assert clustered_quantile.effective_n(data, 0.9) == pytest.approx(100, rel=0.1)


def test_one_group_is_worth_one_sample() -> None:
    low, high, worth = clustered_quantile.bounds([[0.1 * k for k in range(500)]], 0.5)
    assert (low, high, worth) == (None, None, 1.0)


@given(nested, st.sampled_from([0.5, 0.9, 0.95]))
def test_bounds_are_samples_in_order_and_the_worth_is_sane(data: list[list[float]], q: float) -> None:
    low, high, worth = clustered_quantile.bounds(data, q)
    pooled = [value for group in data for value in group]
    assert 1.0 <= worth <= len(pooled)
    assert low is None or low in pooled
    assert high is None or high in pooled
    if low is not None and high is not None:
        assert low <= high


@pytest.mark.parametrize("bad", [[], [[]], [[1.0], [math.nan]]])
def test_nothing_and_not_a_number_are_refused(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="sample"):
        clustered_quantile.bounds(bad, 0.95)
