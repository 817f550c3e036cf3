"""Holm's correction: a worked example, and the guarantee itself."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.stats import holm

shares = st.lists(st.floats(0, 1), max_size=12)


def test_a_worked_example() -> None:
    assert holm.adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_no_tests_no_rejections() -> None:
    assert holm.adjusted([]) == []


@given(shares)
def test_adjusting_never_helps_and_keeps_the_order(values: list[float]) -> None:
    adjusted = holm.adjusted(values)
    assert all(value <= after <= 1.0 for value, after in zip(values, adjusted, strict=True))
    for a, after_a in zip(values, adjusted, strict=True):
        for b, after_b in zip(values, adjusted, strict=True):
            assert after_a <= after_b or a > b


@given(shares.filter(bool), st.randoms(use_true_random=False))
def test_the_order_of_the_tests_does_not_matter(values: list[float], shuffler: random.Random) -> None:
    order = list(range(len(values)))
    shuffler.shuffle(order)
    adjusted = holm.adjusted(values)
    assert holm.adjusted([values[i] for i in order]) == [adjusted[i] for i in order]


def test_twenty_true_hypotheses_are_all_kept_in_95_of_100_runs() -> None:
    draw = random.Random(7)
    runs = 4000
    blamed = sum(min(holm.adjusted([draw.random() for _ in range(20)])) <= 0.05 for _ in range(runs))
    assert blamed / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("bad", [[math.nan], [-0.1], [1.1]])
def test_a_p_value_that_is_none_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="p value"):
        holm.adjusted(bad)


def test_clear_tests_leave_the_family() -> None:
    assert holm.without_clear([0.009, 0.97, 0.018, 1.0], 0.9) == pytest.approx([0.02, 1.0, 0.02, 1.0])
    assert holm.without_clear([], 0.9) == []
    assert holm.without_clear([0.95], 0.9) == [1.0]


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("at_bound", [1, 5, 20])
def test_leaving_clear_tests_out_names_nobody_more_often_than_it_says(rho: float, at_bound: int) -> None:
    """Of twenty tests some stand exactly at their bound and the others three deviations inside it, all correlated."""
    draw, normal, runs, wrong = random.Random(at_bound), NormalDist(), 3000, 0
    for _ in range(runs):
        common = draw.gauss(0.0, 1.0)
        z = [rho**0.5 * common + (1 - rho) ** 0.5 * draw.gauss(0.0, 1.0) for _ in range(20)]
        p_values = [normal.cdf(value + (0.0 if k < at_bound else 3.0)) for k, value in enumerate(z)]
        wrong += min(holm.without_clear(p_values, 0.9)) <= 0.05
    assert wrong / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
