"""Macro-F1 and how far it can be trusted."""

from __future__ import annotations

import math
import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.stats.binomial import clopper_pearson_lower, clopper_pearson_upper
from pytest_llmperf.stats.macro_f1 import Said, macro_f1, macro_f1_difference

CLASSES = ("A", "B", "C", "D")


def test_it_is_the_mean_of_the_classes_own() -> None:
    items: list[Said] = [("A", "A"), ("A", "B"), ("B", "B"), ("B", None), ("C", "A")]
    # A: 1 right, 2 of it, 2 said. B: 1, 2, 2. C: 0, 1, 0. D occurs nowhere.
    assert macro_f1(items, CLASSES).estimate == pytest.approx((2 / 4 + 2 / 4 + 0.0) / 3)


def test_all_right_is_one_and_has_no_spread() -> None:
    found = macro_f1([("A", "A"), ("B", "B"), ("C", "C"), ("D", "D")] * 5, CLASSES)
    assert (found.estimate, found.error) == (1.0, 0.0)


def test_always_the_same_letter_is_worth_little_however_common_it_is() -> None:
    counts = {"A": 70, "B": 10, "C": 10, "D": 10}
    items: list[Said] = [(gold, "A") for gold, count in counts.items() for _ in range(count)]
    assert macro_f1(items, CLASSES).estimate == pytest.approx(2 * 70 / 170 / 4)


def drawn(rng: random.Random, n: int, right: float, other: float) -> tuple[list[Said], list[Said]]:
    """Two models with these chances, which go together on an item as those of real ones do."""
    ours: list[Said] = []
    theirs: list[Said] = []
    for _ in range(n):
        gold = rng.choices(CLASSES, (28, 24, 27, 21))[0]
        hard = rng.random()
        for side, chance in ((ours, right), (theirs, other)):
            luck = hard if rng.random() < 0.5 else rng.random()
            side.append((gold, gold if luck < chance else rng.choice((*CLASSES, None))))
    return ours, theirs


@pytest.mark.parametrize("n", [100, 400])
def test_each_bound_holds_as_often_as_it_says(n: int) -> None:
    rng = random.Random(n)
    ours, theirs = drawn(rng, 60_000, 0.3, 0.25)
    true = macro_f1(ours, CLASSES).estimate
    difference = macro_f1_difference(ours, theirs, CLASSES).estimate
    runs, missed = 800, [0, 0, 0, 0]
    for _ in range(runs):
        ours, theirs = drawn(rng, n, 0.3, 0.25)
        low, high = macro_f1(ours, CLASSES).bounds(0.95)
        missed[0] += true < low
        missed[1] += true > high
        low, high = macro_f1_difference(ours, theirs, CLASSES).bounds(0.95)
        missed[2] += difference < low
        missed[3] += difference > high
    # 5 % are 40; beyond 64 a perfect 5 % is in one of five thousand, and the small sample may cost one point more.
    assert max(missed) <= 68, missed
    assert sum(missed) >= 80, "bounds that always hold are too wide"


def of_two(n: int, wrong: int) -> list[Said]:
    """Items of two even classes, of which every second wrong answer is of the other class."""
    pair = ("A", "B")
    return [(pair[at % 2], pair[(at + (at < wrong)) % 2]) for at in range(n)]


def test_of_two_even_classes_with_even_errors_a_level_has_the_exact_bound_of_a_share() -> None:
    found = macro_f1(of_two(400, 12), CLASSES)
    assert found.estimate == pytest.approx(0.97)
    assert found.effective_n(0.95) == pytest.approx(400, rel=0.02)
    assert found.bounds(0.95)[0] == pytest.approx(clopper_pearson_lower(388, 400), abs=0.001)
    assert found.bounds(0.95)[1] == pytest.approx(clopper_pearson_upper(388, 400), abs=0.001)


def test_near_one_a_level_reaches_further_down_than_up() -> None:
    found = macro_f1(of_two(400, 12), CLASSES)
    low, high = found.bounds(0.95)
    assert found.estimate - low > 1.3 * (high - found.estimate)


def test_a_floor_near_one_is_passed_wrongly_in_at_most_5_percent_of_draws() -> None:
    """400 items of two even classes at a floor of .9, where Student's t passed in 8.0 %."""
    rng, runs, passed, failed = random.Random(15), 1500, 0, 0
    # Errors are even, so that a draw is the number of its errors in either class.
    for _ in range(runs):
        first, second = (sum(rng.random() < 0.1 for _ in range(200)) for _ in range(2))
        low, high = level_of((200 - first, first), (second, 200 - second))
        passed += low > 0.9
        failed += high < 0.9
    assert max(passed, failed) <= 0.05 * runs + 2.5 * math.sqrt(0.05 * 0.95 * runs), (passed, failed)
    assert min(passed, failed) >= 0.02 * runs, "bounds that hardly ever miss are too wide"


@cache
def level_of(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """Bounds by how often the items of A and of B were answered with A and with B."""
    items = [
        (gold, said)
        for gold, counts in zip("AB", (first, second), strict=True)
        for said, count in zip("AB", counts, strict=True)
        for _ in range(count)
    ]
    return macro_f1(items, CLASSES).bounds(0.95)


def test_a_rare_class_without_an_error_seen_is_no_proof_that_it_has_none() -> None:
    """300 items, 15 of the rare class, of which a fifth is answered with nothing: an F1 of 8/9, a mean of 17/18."""
    rng, runs, wrong = random.Random(4), 400, 0
    for _ in range(runs):
        items: list[Said] = [("A", "A")] * 285
        items += [("B", "B" if rng.random() < 0.8 else None) for _ in range(15)]
        wrong += macro_f1(items, CLASSES).bounds(0.95)[0] > 17 / 18
    # All 15 are right in 3.5 % of the draws, and then the jackknife sees no spread at all.
    assert wrong <= 0.05 * runs


def test_all_right_and_all_wrong_have_the_bound_of_as_many_items_of_even_classes() -> None:
    right = macro_f1([(gold, gold) for gold in "ABCD" for _ in range(25)], CLASSES)
    assert [*right.bounds(0.95)] == pytest.approx([0.05 ** (1 / 100), 1.0])
    wrong = macro_f1([("A", "B"), ("B", "A")] * 50, CLASSES)
    assert [*wrong.bounds(0.95)] == pytest.approx([0.0, 1.0 - 0.05 ** (1 / 100)])
    # Of classes of 90 and 10 the mean of the two is as uncertain as that of 36 items.
    uneven = macro_f1([("A", "A")] * 90 + [("B", "B")] * 10, CLASSES)
    assert uneven.bounds(0.95)[0] == pytest.approx(0.05 ** (1 / 36))


def test_a_class_that_is_never_answered_shows_no_spread_and_yet_has_an_interval() -> None:
    found = macro_f1([("A", "A")] * 50 + [("B", None)] * 50, CLASSES)
    assert (found.estimate, found.error) == (0.5, 0.0)
    low, high = found.bounds(0.95)
    assert (low, high) == (clopper_pearson_lower(50, 100), clopper_pearson_upper(50, 100))


def test_a_class_that_is_answered_but_has_no_item_counts_as_wrong() -> None:
    found = macro_f1([("A", "A"), ("B", "B")] * 30 + [("A", "C")], CLASSES)
    assert 0.6 < found.estimate < 0.67
    low, high = found.bounds(0.95)
    assert 0.0 < low < found.estimate < high < 1.0


@given(
    items=st.lists(
        st.tuples(st.sampled_from("AB"), st.sampled_from(["A", "B", None])), min_size=1, max_size=40
    )
)
def test_a_level_lies_within_its_bounds_and_those_between_0_and_1(
    items: list[tuple[str, str | None]],
) -> None:
    found = macro_f1([*items, ("A", "A"), ("A", None), ("B", "B"), ("B", "A")], CLASSES)
    low, high = found.bounds(0.95)
    assert 0.0 <= low < found.estimate < high <= 1.0
    further = found.bounds(0.99)
    assert further[0] <= low
    assert high <= further[1]


def test_a_class_of_a_single_item_has_no_bounds() -> None:
    with pytest.raises(ValueError, match="rarest class has 1 item; need two or more"):
        macro_f1([("A", "A")] * 40 + [("B", "B")], CLASSES).bounds(0.95)


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more"):
        macro_f1([("A", "A")], CLASSES)
    with pytest.raises(ValueError, match="of class 'E'"):
        macro_f1([("E", "A"), ("A", "A")], CLASSES)
    with pytest.raises(ValueError, match="same items in the same order"):
        macro_f1_difference([("A", "A"), ("B", "B")], [("B", "A"), ("A", "B")], CLASSES)
