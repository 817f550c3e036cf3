"""Tokens per correct answer: the interval holds what it promises, and nothing is made of nothing."""

from __future__ import annotations

import random

import pytest

from pytest_llmperf.stats.ratio_estimators import ratio_of_means


def test_it_is_the_ratio_of_the_totals_and_not_the_mean_of_ratios() -> None:
    found = ratio_of_means([(100, 1), (300, 0), (200, 1)])
    assert found is not None
    assert (found.value, found.n) == (300.0, 3)
    assert found.low < 300 < found.high


def test_nothing_right_has_no_price() -> None:
    assert ratio_of_means([(100, 0), (200, 0)]) is None
    assert ratio_of_means([(100, 1)]) is None
    assert ratio_of_means([]) is None


def test_the_interval_shrinks_with_the_root_of_the_items() -> None:
    few = ratio_of_means([(100, 1), (300, 0), (200, 1)] * 20)
    many = ratio_of_means([(100, 1), (300, 0), (200, 1)] * 80)
    assert few is not None
    assert many is not None
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2.0, rel=0.05)


def test_a_nominal_95_percent_interval_holds_the_truth_in_about_95_percent_of_runs() -> None:
    chance = random.Random(3)
    held, runs = 0, 1500
    for _ in range(runs):
        # Wrong answers are longer, as a reasoning model's are: 400 tokens, and 250 if right; 75 % are right.
        pairs = []
        for _ in range(120):
            right = chance.random() < 0.75
            pairs.append((chance.lognormvariate(0.0, 0.5) * (250.0 if right else 400.0), float(right)))
        found = ratio_of_means(pairs)
        assert found is not None
        mean = 1.1331484530668263  # of the lognormal, exp(0.5² / 2)
        held += found.low <= mean * (0.75 * 250 + 0.25 * 400) / 0.75 <= found.high
    assert 0.93 <= held / runs <= 0.97


@pytest.mark.parametrize("pair", [(-1.0, 1.0), (float("nan"), 1.0), (1.0, float("inf"))])
def test_a_total_that_is_none_is_refused(pair: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="negative or not finite"):
        ratio_of_means([pair, (1.0, 1.0)])
