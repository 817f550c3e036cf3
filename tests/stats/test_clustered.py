"""Several samples an item: the variance by hand, its limits, and its coverage."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.stats.binomial import clopper_pearson_lower
from pytest_llmperf.stats.clustered import clustered_mean

items = st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=5), min_size=1, max_size=40)


def test_the_variance_is_that_between_item_means() -> None:
    result = clustered_mean([[1, 1], [0, 1], [0, 0], [1, 1]])
    assert result.mean == pytest.approx(0.625)
    assert result.variance == pytest.approx((2 * 0.375**2 + 0.125**2 + 0.625**2) / 3 / 4)
    assert (result.items, result.answers) == (4, 8)


def test_one_sample_an_item_is_the_plain_proportion() -> None:
    result = clustered_mean([[1.0]] * 30 + [[0.0]] * 10)
    assert (result.mean, result.effective_n) == (0.75, 40.0)


def test_copies_of_an_answer_add_nothing() -> None:
    plain, copied = (
        clustered_mean([[1.0]] * 300 + [[0.0]] * 100),
        clustered_mean([[1.0] * 8] * 300 + [[0.0] * 8] * 100),
    )
    assert copied.effective_n == pytest.approx(plain.effective_n, rel=0.02)


def test_independent_answers_all_count() -> None:
    draw = random.Random(2)
    result = clustered_mean([[float(draw.random() < 0.7) for _ in range(4)] for _ in range(500)])
    assert result.effective_n == pytest.approx(2000, rel=0.12)


@given(items)
def test_the_effective_n_lies_between_one_and_the_answers(scores: list[list[float]]) -> None:
    result = clustered_mean(scores)
    assert 0.0 <= result.mean <= 1.0
    assert 1.0 <= result.effective_n <= result.answers
    assert math.isfinite(result.variance)


@pytest.mark.parametrize("spread", [0.5, 5.0])
def test_the_bound_by_effective_n_covers(spread: float) -> None:
    """Items differ in difficulty (a beta law with mean 0.75), four samples each; truth: 0.75."""
    draw, runs, wrong = random.Random(11), 1500, 0
    for _ in range(runs):
        scores = []
        for _ in range(60):
            p = draw.betavariate(0.75 * spread, 0.25 * spread)
            scores.append([float(draw.random() < p) for _ in range(4)])
        result = clustered_mean(scores)
        wrong += clopper_pearson_lower(result.mean * result.effective_n, result.effective_n) > 0.75
    assert wrong / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("bad", [[], [[]], [[0.5, math.nan]], [[2.0]], [[-0.1]]])
def test_nothing_and_no_shares_are_refused(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"item|sample|score"):
        clustered_mean(bad)
