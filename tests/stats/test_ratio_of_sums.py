"""A ratio of two sums, as a perplexity's log is: what its interval covers, and what it refuses."""

from __future__ import annotations

import math
import random

import pytest

from pytest_llmperf.stats.ratio_estimators import ratio_of_sums


def test_long_pieces_weigh_more() -> None:
    found = ratio_of_sums([10.0, 300.0], [10.0, 100.0])
    assert found.estimate == pytest.approx(310 / 110)
    assert found.n == 2


def test_the_error_is_the_jackknifes() -> None:
    over, under = [3.0, 8.0, 7.0, 2.0], [1.0, 3.0, 2.0, 1.0]
    without = [(20.0 - a) / (7.0 - b) for a, b in zip(over, under, strict=True)]
    variance = 3 / 4 * sum((ratio - 20 / 7) ** 2 for ratio in without)
    assert ratio_of_sums(over, under).error == pytest.approx(math.sqrt(variance))


def test_pieces_of_uneven_weight_count_as_fewer() -> None:
    even, uneven = ratio_of_sums([1.0, 2.0, 3.0], [1.0] * 3), ratio_of_sums([1.0, 2.0, 3.0], [1.0, 1.0, 8.0])
    assert even.effective == pytest.approx(3.0)
    assert uneven.effective == pytest.approx(100 / 66)


def test_rare_large_pieces_move_the_bound_on_their_side() -> None:
    found = ratio_of_sums([0.0] * 19 + [10.0], [1.0] * 20)
    low, high = found.bounds(0.95)
    assert high - found.estimate > 1.5 * (found.estimate - low) > 0.0


def test_pieces_that_agree_leave_no_doubt() -> None:
    found = ratio_of_sums([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found.bounds(0.95) == pytest.approx((2.0, 2.0))


@pytest.mark.parametrize("n", [10, 30, 100, 300])
def test_each_bound_holds_as_often_as_it_says(n: int) -> None:
    """Documents of very different lengths, whose surprise per token differs between them more than within."""
    rng = random.Random(n)
    runs, true = 2000, 0.12
    below = above = 0
    for _ in range(runs):
        tokens = [min(1000.0, 50.0 * rng.lognormvariate(1.0, 0.8)) for _ in range(n)]
        differences = [t * rng.gauss(true, 0.25) + math.sqrt(t) * rng.gauss(0.0, 1.0) for t in tokens]
        low, high = ratio_of_sums(differences, tokens).bounds(0.95)
        below += true < low
        above += true > high
    # 5 % of 2,000 is 100; a perfect 5 % is beyond 130 in one of a thousand.
    assert below <= 150
    assert above <= 150
    assert below + above >= 120, "bounds that always hold are too wide"


@pytest.mark.parametrize(
    ("over", "under", "why"),
    [
        ([1.0], [1.0], "two or more"),
        ([1.0, 2.0], [1.0], "the same number"),
        ([1.0, 2.0], [1.0, 0.0], "more than zero"),
    ],
)
def test_what_has_no_ratio_is_refused(over: list[float], under: list[float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ratio_of_sums(over, under)
