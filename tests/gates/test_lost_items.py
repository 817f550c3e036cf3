"""Lost items are seldom lost at random: whatever made them be lost, both errors stay what was promised."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from pytest_llmperf.gates.early_stopping import Question, Watch
from pytest_llmperf.gates.mean import MacroF1Gate, MeanScoreGate
from pytest_llmperf.gates.verdict import Status
from tests.gates.judging import at_least, not_worse, rate_below

Side = dict[str, bool | None]


def binomial(n: int, share: float) -> Iterator[tuple[int, float]]:
    for k in range(n + 1):
        yield k, math.comb(n, k) * share**k * (1.0 - share) ** (n - k)


def outcomes(right: int, wrong: int, lost: int) -> Side:
    several = [True] * right + [False] * wrong + [None] * lost
    return {f"i{k}": outcome for k, outcome in enumerate(several)}


@pytest.mark.parametrize("allowed", [1, 2, 4])
@pytest.mark.parametrize("floor", [0.5, 0.8, 0.95])
def test_a_floor_errs_in_five_runs_of_a_hundred_whichever_answers_are_lost(
    floor: float, allowed: int
) -> None:
    n = 200
    passes = fails = 0.0
    for right, chance in binomial(n, floor):
        hidden = min(allowed, n - right)  # wrong answers are the ones that are lost
        if at_least("a", outcomes(right, n - right - hidden, hidden), floor).status is Status.PASS:
            passes += chance
        hidden = min(allowed, right)  # right answers are
        if at_least("a", outcomes(right - hidden, n - right, hidden), floor).status is Status.FAIL:
            fails += chance
    assert passes <= 0.05
    assert fails <= 0.05


def test_a_limit_errs_no_more_often_either() -> None:
    n, limit, allowed = 200, 0.05, 4
    passes = fails = 0.0
    for shown, chance in binomial(n, limit):
        hidden = min(allowed, shown)
        passes += chance * (
            rate_below("l", outcomes(shown - hidden, n - shown, hidden), limit).status is Status.PASS
        )
        hidden = min(allowed, n - shown)
        fails += chance * (
            rate_below("l", outcomes(shown, n - shown - hidden, hidden), limit).status is Status.FAIL
        )
    assert passes <= 0.05
    assert fails <= 0.05


def pairs(n: int, gained: int, worse: int, lost_worse: int, lost_gained: int = 0) -> tuple[Side, Side]:
    """``worse`` items that only the baseline gets right, of which the candidate's answer is lost to so many."""
    ours: Side = {f"i{k}": True for k in range(n)}
    theirs = dict(ours)
    for k in range(worse):
        ours[f"i{k}"] = None if k < lost_worse else False
    for k in range(worse, worse + gained):
        theirs[f"i{k}"] = False
        if k < worse + lost_gained:
            ours[f"i{k}"] = None
    return ours, theirs


@pytest.mark.parametrize("lower_is_better", [False, True])
def test_a_margin_errs_in_five_runs_of_a_hundred_whichever_answers_are_lost(lower_is_better: bool) -> None:
    """Truth at the margin, three in a hundred, and two items lost on purpose."""
    n, margin, discordance, most = 100, 0.03, 0.05, 2
    towards = (discordance + margin) / 2.0 / discordance
    passes = fails = 0.0
    for discordant, chance in binomial(n, discordance):
        if chance < 1e-5:
            continue
        for bad, share in binomial(discordant, towards):
            if chance * share < 1e-5:
                continue
            if lower_is_better:
                ours, theirs = (
                    {k: not_(v) for k, v in side.items()} for side in pairs(n, discordant - bad, bad, 0)
                )
                for k in range(min(most, bad)):
                    ours[f"i{k}"] = None
            else:
                ours, theirs = pairs(n, discordant - bad, bad, min(most, bad))
            verdict = not_worse("a", ours, theirs, margin, lower_is_better=lower_is_better, guess=-1.0)
            passes += chance * share * (verdict.status is Status.PASS)
            if lower_is_better:
                continue
            good = discordant - bad
            kept = not_worse("a", *pairs(n, good, bad, 0, min(most, good)), margin, guess=-1.0)
            fails += chance * share * (kept.status is Status.FAIL)
    assert passes <= 0.05
    assert fails <= 0.05


def not_(value: bool | None) -> bool | None:
    return None if value is None else not value


def test_a_loss_of_four_points_half_of_it_unanswered_does_not_pass_a_margin_of_three() -> None:
    # The chance that was 33 % before lost items were counted: 1,319 items, expected counts.
    n = 1319
    ours, theirs = pairs(n, 26, 79, 26)
    verdict = not_worse("accuracy", ours, theirs, 0.03)
    assert verdict.status is not Status.PASS
    came = {item: outcome for item, outcome in ours.items() if outcome is not None}
    whole = not_worse("accuracy", came, {item: theirs[item] for item in came}, 0.03)
    assert whole.observed == verdict.observed
    assert whole.interval is not None
    assert verdict.interval is not None
    assert verdict.interval[0] < whole.interval[0]


def test_how_many_may_be_lost_follows_from_the_margin() -> None:
    ours, theirs = pairs(1000, 10, 10, 0)
    for k in range(500, 508):
        ours[f"i{k}"] = None
    assert not_worse("accuracy", ours, theirs, 0.05).status is Status.PASS
    narrow = not_worse("accuracy", ours, theirs, 0.013)
    assert narrow.status is Status.INCONCLUSIVE
    assert narrow.n_needed is None
    assert "the 8 lost items could turn the PASS of the others; ask again where fewer are lost" in narrow.why


def test_a_run_without_lost_items_is_judged_to_the_last_digit_as_before() -> None:
    verdict = not_worse("accuracy", *pairs(1000, 30, 25, 0), 0.03)
    assert verdict.interval == (-0.007372197049812132, 0.017967363974714486)
    floor = at_least("accuracy", outcomes(320, 80, 0), 0.7)
    assert floor.interval == (0.7642374906083147, 0.832414105103776)


def test_a_lost_sample_of_an_item_counts_as_the_worst_too() -> None:
    sampled = {f"i{k}": [True, True, True, None if k < 8 else True] for k in range(100)}
    other = {f"i{k}": [True] * 4 for k in range(100)}
    with_loss = not_worse("a", sampled, other, 0.1).interval
    without = not_worse("a", other, other, 0.1).interval
    assert with_loss is not None
    assert without is not None
    assert with_loss[0] < without[0]
    assert with_loss[1] == without[1]


def test_items_that_one_side_was_never_asked_are_lost_items() -> None:
    ours, theirs = pairs(1000, 20, 20, 0)
    for k in range(900, 910):
        del ours[f"i{k}"]
    verdict = not_worse("a", ours, theirs, 0.013)
    assert verdict.status is Status.INCONCLUSIVE
    assert "lost items" in verdict.why


def test_looking_early_takes_a_lost_item_for_the_worst_and_for_the_best() -> None:
    lucky, unlucky = (Watch(Question("a", 0.5), alpha=0.01) for _ in range(2))
    for k in range(60):
        lucky.observe(True)
        unlucky.observe(None if k % 2 else True)
    assert lucky.status is Status.PASS
    assert unlucky.status is None
    failing = Watch(Question("a", 0.5), alpha=0.01)
    for k in range(60):
        failing.observe(None if k % 2 else False)
    assert failing.status is None


def test_looking_early_at_answers_lost_on_purpose_errs_no_more_often() -> None:
    """Every order of 12 answers at the floor: the wrong ones are lost."""
    n, alpha = 12, 0.1
    wrong_pass = 0
    for bits in range(2**n):
        watch = Watch(Question("a", 0.5), alpha=alpha)
        for k in range(n):
            watch.observe(True if bits >> k & 1 else None)
        wrong_pass += watch.status is Status.PASS
    assert wrong_pass / 2**n <= alpha


def test_mean_scores_and_macro_f1_count_lost_answers_too() -> None:
    scores: dict[str, float | None] = {f"i{k}": 0.5 + (k % 7) / 100 for k in range(400)}
    whole = MeanScoreGate(metric="r", bound=0.525, candidate=scores).judge()
    lossy = MeanScoreGate(
        metric="r", bound=0.525, candidate=scores | {f"x{k}": None for k in range(8)}
    ).judge()
    assert whole.status is Status.PASS
    assert lossy.status is Status.INCONCLUSIVE
    assert "the 8 lost answers could turn the PASS" in lossy.why
    assert whole.interval is not None
    assert lossy.interval is not None
    assert lossy.interval[0] == pytest.approx(whole.interval[0] - 8 / 408 * float(whole.observed or 0.0))

    golds = ["ABCD"[k % 4] for k in range(400)]
    said: dict[str, list[str] | None] = {f"i{k}": [g, g if k % 5 else "A"] for k, g in enumerate(golds)}
    classes = tuple("ABCD")
    f1 = MacroF1Gate(metric="f", bound=0.8, candidate=said, classes=classes).judge()
    low, high = f1.interval or (0.0, 0.0)
    lost = MacroF1Gate(
        metric="f", bound=0.8, candidate=said | {f"x{k}": None for k in range(8)}, classes=classes
    ).judge()
    worst, best = lost.interval or (0.0, 0.0)
    for gold in classes:
        for other in classes:
            filled = said | {f"x{k}": [gold, other] for k in range(8)}
            found = MacroF1Gate(metric="f", bound=0.8, candidate=filled, classes=classes).judge().observed
            assert worst - low <= float(found or 0.0) - float(f1.observed or 0.0) + 1e-9
            assert best - high >= float(found or 0.0) - float(f1.observed or 0.0) - 1e-9
