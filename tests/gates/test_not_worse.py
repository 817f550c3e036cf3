"""Candidate against baseline on the same items."""

from __future__ import annotations

import math
import random
import re

import pytest

from pytest_llmperf.gates.outcomes import Outcomes, flips
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.stats import binomial
from tests.gates.judging import not_worse

Side = dict[str, bool | None]


def pair(n: int, both: int, gained: int, lost: int) -> tuple[Side, Side]:
    """n items: ``both`` right on both sides, ``gained`` by the candidate, ``lost`` by the baseline only."""
    ours = {f"i{k:04}": k < both + gained for k in range(n)}
    theirs = {f"i{k:04}": k < both or both + gained <= k < both + gained + lost for k in range(n)}
    return dict(ours), dict(theirs)


def test_an_identical_model_passes() -> None:
    for n in (100, 200, 1319):
        ours, theirs = pair(n, int(0.78 * n), 0, 0)
        assert not_worse("accuracy", ours, theirs, 0.03).status is Status.PASS


def test_the_three_outcomes_read_as_sentences() -> None:
    passed = not_worse("accuracy", *pair(1000, 700, 30, 25), 0.03)
    failed = not_worse("accuracy", *pair(1000, 700, 20, 90), 0.03)
    undecided = not_worse("accuracy", *pair(200, 140, 8, 10), 0.03)
    assert passed.status is Status.PASS
    assert passed.why == (
        "accuracy is 0.5 points above the baseline (73.0 against 72.5 %); at most 3 points below are allowed "
        "(at most 0.7 points below with 95 % confidence, n = 1000 common items)"
    )
    assert failed.status is Status.FAIL
    assert failed.why == (
        "accuracy is 7.0 points below the baseline (72.0 against 79.0 %); at most 3 points are allowed "
        "(at least 5.3 points below with 95 % confidence, n = 1000 common items)"
    )
    assert undecided.status is Status.INCONCLUSIVE
    assert "at most 3 points are allowed, and these data do not decide it (95 % bounds: " in undecided.why
    assert undecided.why.endswith(", n = 200 common items): about 1,500 items would decide it")
    assert (failed.candidate, failed.baseline, failed.observed) == pytest.approx((0.72, 0.79, -0.07))


def test_the_flips_are_listed() -> None:
    verdict = not_worse("accuracy", *pair(100, 70, 1, 20), 0.03)
    assert verdict.detail.splitlines()[0] == "20 items got worse, 1 got better, 79 stayed the same"
    assert "worse: i0071, i0072" in verdict.detail
    assert "and 8 more" in verdict.detail
    assert "better: i0070" in verdict.detail


def test_flips_are_in_the_order_of_their_numbers() -> None:
    ours = {f"item-{k}": False for k in (10, 9, 100)}
    theirs = dict.fromkeys(ours, True)
    assert "worse: item-9, item-10, item-100" in not_worse("accuracy", dict(ours), dict(theirs), 0.03).detail


def test_swapping_the_sides_turns_the_difference() -> None:
    ours, theirs = pair(300, 200, 12, 25)
    forth, back = not_worse("accuracy", ours, theirs, 0.03), not_worse("accuracy", theirs, ours, -0.03)
    assert forth.interval is not None
    assert back.interval is not None
    assert forth.interval == pytest.approx((-back.interval[1], -back.interval[0]))


def test_the_order_of_the_items_does_not_matter() -> None:
    ours, theirs = pair(300, 200, 12, 25)
    assert not_worse("a", dict(reversed(ours.items())), theirs, 0.03) == not_worse("a", ours, theirs, 0.03)


def test_an_unwanted_behaviour_must_not_become_more_frequent() -> None:
    more, fewer = pair(400, 2, 60, 3)
    assert not_worse("loops", more, fewer, 0.02, lower_is_better=True).status is Status.FAIL
    assert not_worse("loops", fewer, more, 0.02, lower_is_better=True).status is Status.PASS
    why = not_worse("loops", more, fewer, 0.02, lower_is_better=True).why
    assert re.search(
        r"loops is \d+\.\d points above the baseline .*; at most 2 points are allowed \(at least", why
    )


def test_a_negative_margin_asks_for_an_improvement() -> None:
    better = not_worse("accuracy", *pair(1000, 600, 120, 20), -0.03)
    assert better.status is Status.PASS
    assert "points above the baseline" in better.why
    assert "; at least 3 points above are needed (at least " in better.why
    assert not_worse("accuracy", *pair(1000, 600, 20, 20), -0.03).status is Status.FAIL


def test_items_of_one_side_and_lost_answers_are_left_out_and_counted() -> None:
    ours, theirs = pair(1000, 700, 10, 10)
    ours["i0000"] = None
    theirs["i0001"] = None
    ours["only-ours"] = True
    verdict = not_worse("accuracy", ours, theirs, 0.03)
    assert (verdict.status, verdict.n) == (Status.PASS, 998)
    assert "3 items left out" in verdict.detail


def test_different_items_are_invalid() -> None:
    ours, theirs = pair(100, 70, 0, 0)
    shifted = {f"x{item}": right for item, right in theirs.items()}
    assert "no item in common" in not_worse("accuracy", ours, shifted, 0.03).why
    half = dict(list(theirs.items())[:50])
    verdict = not_worse("accuracy", ours, half, 0.03)
    assert verdict.status is Status.INVALID
    assert "50 of 100 items were given to one side only" in verdict.why


def test_errors_on_one_side_name_that_side() -> None:
    ours, theirs = pair(100, 70, 0, 0)
    verdict = not_worse("accuracy", ours, dict.fromkeys(theirs), 0.03)
    assert verdict.status is Status.INVALID
    assert "baseline: nothing was measured, all 100 answers ended in infrastructure errors" in verdict.why


def test_losses_on_different_items_add_up() -> None:
    ours, theirs = pair(100, 70, 0, 0)
    ours["i0001"] = ours["i0002"] = theirs["i0003"] = theirs["i0004"] = None
    verdict = not_worse("accuracy", ours, theirs, 0.03)
    assert verdict.status is Status.INVALID
    assert "4 of 100 items" in verdict.why


def test_identical_samples_pass_and_lost_ones_fail() -> None:
    draw = random.Random(3)
    theirs = {f"i{k}": [draw.random() < 0.75 for _ in range(4)] for k in range(300)}
    assert not_worse("accuracy", theirs, theirs, 0.03).status is Status.PASS
    damaged = {item: [right and draw.random() > 0.2 for right in samples] for item, samples in theirs.items()}
    verdict = not_worse("accuracy", damaged, theirs, 0.03)
    assert verdict.status is Status.FAIL
    assert "clustered by item" in verdict.method


@pytest.mark.parametrize(("n", "psi"), [(50, 0.1), (200, 0.06), (200, 0.2), (1319, 0.1)])
def test_a_model_at_the_margin_is_seldom_called_wrong(n: int, psi: float) -> None:
    """Truth exactly at −5 points; PASS and FAIL are both errors there."""
    from pytest_llmperf.stats import paired
    from pytest_llmperf.stats.binomial import z_of

    draw, runs, z = random.Random(n), 2000, z_of(0.95)
    counts: dict[tuple[int, int], int] = {}
    for _ in range(runs):
        gained = lost = 0
        for _ in range(n):
            move = draw.random()
            lost += move < (psi + 0.05) / 2
            gained += (psi + 0.05) / 2 <= move < psi
        counts[gained, lost] = counts.get((gained, lost), 0) + 1
    passed = failed = 0
    for (gained, lost), times in counts.items():
        passed += times * (paired.tango_lower_at(gained, lost, n, z) >= -0.05)
        failed += times * (paired.tango_upper_at(gained, lost, n, z) < -0.05)
    tolerance = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert passed / runs <= 0.056 + tolerance
    assert failed / runs <= 0.056 + tolerance


@pytest.mark.parametrize("margin", [3.0, 1.0, float("nan")])
def test_a_margin_in_points_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        not_worse("accuracy", *pair(10, 5, 0, 0), margin)


def test_flips_are_counted_in_either_direction_with_an_exact_interval() -> None:
    baseline = {f"item-{n}": n < 80 for n in range(100)}
    candidate = baseline | {"item-1": False, "item-2": False, "item-90": True, "item-3": None}
    assert [item for item, (changed,) in flips(candidate, baseline).items() if changed] == [
        "item-1",
        "item-2",
        "item-90",
    ]
    verdict = PairedGate(
        metric="accuracy", bound=0.1, at_least=True, candidate=candidate, baseline=baseline
    ).judge()
    assert verdict.flips == pytest.approx(3 / 99)
    low, high = verdict.flips_interval or (0.0, 0.0)
    assert binomial.p_at_least(3.0, 99.0, low) == pytest.approx(0.025)
    assert binomial.p_at_most(3.0, 99.0, high) == pytest.approx(0.025)
    assert "flips: 3.0 % (95 % interval 0.6 % … 8.6 %)" in verdict.detail


def test_samples_are_paired_in_their_order_and_one_answer_with_all_of_the_other_side() -> None:
    several: Outcomes = {"a": [True, False, None], "b": [True, True], "only-here": True}
    found = flips(several, {"a": True, "b": [False, True]})
    assert found == {"a": [False, True, None], "b": [True, False]}
    assert flips({"a": []}, {"a": True}) == {"a": []}
