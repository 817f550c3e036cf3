"""Cost by right answer of one model by that of another: what it is, and that its bounds hold what they promise."""

from __future__ import annotations

import random

import pytest

from pytest_llmperf.stats.ratio_estimators import ratio_of_ratios


def test_it_is_the_ratio_of_the_totals_and_not_of_the_items() -> None:
    ours, theirs = [(10.0, 1.0), (30.0, 0.0), (20.0, 2.0)], [(10.0, 1.0), (10.0, 1.0), (10.0, 1.0)]
    assert ratio_of_ratios(ours).estimate == pytest.approx(60 / 3)
    assert ratio_of_ratios(ours, theirs).estimate == pytest.approx((60 / 3) / (30 / 3))


def test_the_same_answers_cost_the_same_without_any_doubt() -> None:
    one = [(float(k % 7 + 1), float(k % 2)) for k in range(50)]
    found = ratio_of_ratios(one, one)
    assert found.estimate == 1.0
    assert found.bounds(0.95) == pytest.approx((1.0, 1.0))


def test_twice_the_cost_is_twice_the_ratio_and_as_sure() -> None:
    one = [(float(k % 7 + 1), float(k % 3 > 0)) for k in range(60)]
    other = [(float(k % 5 + 1), float(k % 4 > 0)) for k in range(60)]
    single, double = ratio_of_ratios(one, other), ratio_of_ratios([(2 * x, y) for x, y in one], other)
    assert double.estimate == pytest.approx(2 * single.estimate)
    assert double.error == pytest.approx(single.error)


def test_its_error_is_that_of_the_bootstrap() -> None:
    rng = random.Random(5)
    ours, theirs = zip(*(drawn(rng, 0.7, 1.3) for _ in range(400)), strict=True)
    again = []
    for _ in range(300):
        at = rng.choices(range(400), k=400)
        again.append(ratio_of_ratios([ours[i] for i in at], [theirs[i] for i in at]).estimate)
    again.sort()
    # 90 % of the replicates lie between the two bounds at 95 %.
    low, high = ratio_of_ratios(ours, theirs).bounds(0.95)
    assert low == pytest.approx(again[15], rel=0.02)
    assert high == pytest.approx(again[285], rel=0.02)


def drawn(rng: random.Random, right: float, factor: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """One item of two models: a hard one is long and wrong on both sides, and the first model is dearer by a factor."""
    hard = rng.random()

    def side(by: float) -> tuple[float, float]:
        return by * (50.0 + 200.0 * hard) * rng.lognormvariate(0.0, 0.3), float(
            rng.random() < 1.6 * right * (1 - hard)
        )

    return side(factor), side(1.0)


def test_each_bound_is_wrong_in_about_five_of_a_hundred_runs() -> None:
    rng = random.Random(11)
    above = below = 0
    runs = 400
    for _ in range(runs):
        ours, theirs = zip(*(drawn(rng, 0.6, 1.25) for _ in range(120)), strict=True)
        low, high = ratio_of_ratios(ours, theirs).bounds(0.95)
        above += low > 1.25
        below += high < 1.25
    # 20 are expected of each; 33 and more come in one of 300 such counts.
    assert above <= 33
    assert below <= 33


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([(1.0, 1.0)], None),
        ([(1.0, 1.0)] * 3, [(1.0, 1.0)] * 2),
        ([(1.0, 0.0)] * 3, None),
        ([(0.0, 1.0)] * 3, None),
        ([(1.0, 1.0), (-1.0, 1.0)], None),
        ([(1.0, 1.0), (float("nan"), 1.0)], None),
    ],
)
def test_what_has_no_ratio_is_refused(
    ours: list[tuple[float, float]], theirs: list[tuple[float, float]] | None
) -> None:
    with pytest.raises(ValueError, match=r"items|negative|nothing"):
        ratio_of_ratios(ours, theirs)
