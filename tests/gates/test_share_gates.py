"""Floors and behaviour rates."""

from __future__ import annotations

import random

import pytest
from scipy.stats import binom

from pytest_llmperf.gates.verdict import Status
from tests.gates.judging import at_least, rate_below


def answers(right: int, n: int) -> dict[str, bool]:
    return {f"item-{index}": index < right for index in range(n)}


def test_the_three_outcomes_read_as_sentences() -> None:
    passed = at_least("accuracy", answers(320, 400), 0.74)
    failed = at_least("accuracy", answers(260, 400), 0.74)
    undecided = at_least("accuracy", answers(290, 400), 0.74)
    assert (passed.status, failed.status, undecided.status) == (Status.PASS, Status.FAIL, Status.INCONCLUSIVE)
    assert (
        passed.why
        == "accuracy 80.0 % reaches the floor of 74 % (at least 76.4 % with 95 % confidence, n = 400 items)"
    )
    assert (
        failed.why
        == "accuracy 65.0 % is below the floor of 74 % (at most 69.0 % with 95 % confidence, n = 400 items)"
    )
    assert undecided.why == (
        "accuracy 72.5 % cannot be told from the floor of 74 % (95 % bounds 68.6 % and 76.2 %, n = 400 items): "
        "about 5,500 items would decide it"
    )
    assert undecided.n_needed is not None
    assert undecided.n_needed > 5000
    assert passed.n_needed is failed.n_needed is None


def test_a_floor_is_wrongly_missed_in_at_most_5_of_100_runs() -> None:
    """Every possible outcome enumerated, at floors and sizes that suites use: no simulation, no tolerance."""
    for n in (50, 131, 200, 500):
        for floor in (0.5, 0.74, 0.9, 0.95):
            wrong_red = wrong_green = 0.0
            for right in range(n + 1):
                chance = float(binom.pmf(right, n, floor))
                if chance > 1e-9:
                    status = at_least("accuracy", answers(right, n), floor).status
                    wrong_red += chance * (status is Status.FAIL)
                    wrong_green += chance * (status is Status.PASS)
            assert wrong_red <= 0.05
            assert wrong_green <= 0.05


def test_a_rare_behaviour_is_judged_against_its_limit() -> None:
    assert rate_below("loops", answers(0, 200), 0.02).status is Status.PASS
    assert rate_below("loops", answers(2, 200), 0.02).status is Status.INCONCLUSIVE
    failed = rate_below("loops", answers(12, 200), 0.02)
    assert failed.status is Status.FAIL
    assert (
        failed.why
        == "loops 6.0 % is above the limit of 2 % (at least 3.5 % with 95 % confidence, n = 200 answers)"
    )
    assert at_least("boxed", answers(198, 200), 0.95).status is Status.PASS


def test_never_cannot_be_promised_but_can_be_refuted() -> None:
    unshown = rate_below("loops", answers(0, 200), 0.0)
    assert unshown.status is Status.INVALID
    assert "cannot be shown by any number of answers" in unshown.why
    assert rate_below("loops", answers(0, 200), 0.015).status is Status.PASS
    assert "e.g. 0.015" in unshown.why
    assert rate_below("loops", answers(1, 200), 0.0).status is Status.FAIL
    assert at_least("boxed", answers(200, 200), 1.0).status is Status.INVALID
    assert at_least("boxed", answers(199, 200), 1.0).status is Status.FAIL


def test_infrastructure_errors_are_neither_right_nor_wrong() -> None:
    outcomes: dict[str, bool | None] = {**answers(320, 400), "lost-1": None, "lost-2": None}
    verdict = at_least("accuracy", outcomes, 0.74)
    assert (verdict.observed, verdict.n, verdict.status) == (0.8, 400, Status.PASS)
    assert verdict.detail == "2 of 402 answers were lost to infrastructure errors"


def test_too_many_infrastructure_errors_are_invalid() -> None:
    outcomes: dict[str, bool | None] = {**answers(95, 95), **{f"lost-{index}": None for index in range(5)}}
    verdict = at_least("accuracy", outcomes, 0.5)
    assert verdict.status is Status.INVALID
    assert "5 of 100 answers ended in infrastructure errors (5 %, allowed 2 %)" in verdict.why
    assert at_least("accuracy", outcomes, 0.5, max_lost_share=0.05).status is Status.PASS


def test_copies_of_an_answer_do_not_decide() -> None:
    once = at_least("accuracy", answers(40, 50), 0.74)
    copied = at_least("accuracy", {item: [right] * 64 for item, right in answers(40, 50).items()}, 0.74)
    assert once.status is copied.status is Status.INCONCLUSIVE
    assert copied.interval == pytest.approx(once.interval, abs=0.01)
    assert copied.n == 50


def test_samples_that_do_differ_narrow_the_interval() -> None:
    draw = random.Random(1)
    sampled = {f"item-{index}": [draw.random() < 0.8 for _ in range(8)] for index in range(50)}
    verdict = at_least("accuracy", sampled, 0.74)
    assert verdict.interval is not None
    assert verdict.interval[1] - verdict.interval[0] < 0.1
    assert "clustered by item" in verdict.method


@pytest.mark.parametrize("floor", [float("nan"), 74.0, -0.1])
def test_a_floor_that_is_no_share_is_refused(floor: float) -> None:
    with pytest.raises(ValueError, match="a share lies between 0 and 1"):
        at_least("accuracy", answers(1, 2), floor)


def test_the_undecided_n_does_decide() -> None:
    undecided = at_least("accuracy", answers(290, 400), 0.74)
    assert undecided.n_needed is not None
    more = undecided.n_needed
    assert at_least("accuracy", answers(round(0.725 * more), more), 0.74).status is Status.FAIL
