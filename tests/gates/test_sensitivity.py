"""A margin decides nothing where the baseline cannot be told from guessing by more than it."""

from __future__ import annotations

import math

import pytest

from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.bound import points
from pytest_llmperf.gates.judgement import GateInvalid, Judgement
from pytest_llmperf.gates.mean import MacroF1, MeanScore
from pytest_llmperf.gates.plan import PlannedJudgement
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.measure import answers
from pytest_llmperf.measure.answers import ending_of
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.grading.number import grade
from pytest_llmperf.tasks.gsm8k import GSM8K
from pytest_llmperf.tasks.medqa import MEDQA
from pytest_llmperf.tasks.task import Task


def share(right: int, n: int = 400, *, guess: float = 0.0, endings: dict[str, int] | None = None) -> Share:
    return Share(
        "accuracy",
        {f"i{k}": k < right for k in range(n)},
        guess=guess,
        ended=None if endings is None else lambda _: endings,
    )


def status(judgement: Judgement) -> Status:
    return judgement.verdict.status


@pytest.mark.parametrize("right", [0, 1, 8, 12])
def test_two_models_that_answer_next_to_nothing_are_not_equal(right: int) -> None:
    judgement = share(right) >= share(right) - points(3)
    assert status(judgement) is Status.INVALID
    assert "a candidate that lost everything would pass" in judgement.verdict.why
    with pytest.raises(GateInvalid):
        bool(judgement)


def test_a_baseline_above_the_margin_is_compared_as_ever() -> None:
    assert status(share(300) >= share(300) - points(3)) is Status.PASS
    assert status(share(0) >= share(300) - points(3)) is Status.FAIL
    assert status(share(40) >= share(40) - points(5)) is Status.PASS


def test_a_loss_that_was_shown_stays_a_loss() -> None:
    # The baseline guesses one of four; the candidate does not even guess.
    assert status(share(0, guess=0.25) >= share(100, guess=0.25) - points(3)) is Status.FAIL


@pytest.mark.parametrize(
    ("right", "expected"), [(100, Status.INVALID), (115, Status.INVALID), (200, Status.PASS)]
)
def test_guessing_is_one_in_as_many_as_there_are_choices(right: int, expected: Status) -> None:
    ours, theirs = share(right, guess=0.25), share(right, guess=0.25)
    assert status(ours >= theirs - points(5)) is expected


def test_of_an_unwanted_behaviour_the_worst_is_always() -> None:
    assert status(share(398) <= share(398) + points(2)) is Status.INVALID
    assert status(share(0) <= share(0) + points(2)) is Status.PASS
    assert status(share(200) <= share(200) + points(5)) is Status.PASS


def test_an_improvement_needs_no_proof_that_the_baseline_works() -> None:
    assert status(share(300) >= share(0) - points(-5)) is Status.PASS


def test_over_a_baseline_of_which_nothing_could_be_read_not_even_an_improvement_counts() -> None:
    cut = share(0, endings={"cut off": 380, "empty": 20})
    judgement = share(300, endings={"correct": 300, "wrong": 100}) >= cut - points(-5)
    assert status(judgement) is Status.INVALID
    assert (
        "400 of the baseline's 400 answers could not be graded: 380 cut off, 20 empty"
        in judgement.verdict.why
    )


def test_what_became_of_the_answers_is_told_where_none_could_be_read() -> None:
    cut = {"cut off": 380, "empty": 15, "refused": 5}
    pair = share(0, endings=cut) >= share(0, endings=cut) - points(3)
    for side in ("candidate", "baseline"):
        assert f"of the {side}'s 400 answers could not be graded: 380 cut off, 15 empty" in pair.verdict.why
    floor = share(0, endings=cut) >= 0.5
    assert status(floor) is Status.FAIL
    assert floor.verdict.why.endswith(
        "; 400 of the candidate's 400 answers could not be graded: 380 cut off, 15 empty, 5 refused"
    )


def test_many_unread_answers_are_told_below_the_sentence_and_few_are_not() -> None:
    some = share(200, endings={"correct": 200, "wrong": 120, "cut off": 80}) >= 0.7
    assert some.verdict.detail == "80 of the candidate's 400 answers could not be graded: 80 cut off"
    few = share(200, endings={"correct": 200, "wrong": 197, "cut off": 3}) >= 0.7
    assert few.verdict.detail == ""


def test_every_ending_has_a_name() -> None:
    def of(text: str, end: str = "stop", *, thinking: bool = False) -> str:
        return ending_of(grade(text, "18", finish_reason=end, thinking=thinking))

    assert of("\\boxed{18}") == "correct"
    assert of("\\boxed{17}") == "wrong"
    assert of("\\boxed{18", "length") == "cut off"
    assert of("18", thinking=True) == "still thinking at their end"
    assert of("") == "empty"
    assert of("no idea") == "without a final answer"
    assert of("I'm sorry, but I can't help with that.") == "refused"
    assert of("\\boxed{many}") == "unreadable"
    assert ending_of(Grade(Outcome.INCOMPLETE, "of a grader of their own")) == "cut off"
    assert answers.endings([]) == {}


class Growing:
    """Answers that come when they are asked for."""

    def __init__(self, right: int, n: int) -> None:
        self.planned, self.asked, self._share = n, 0, right / n

    def first(self, n: int) -> dict[str, bool]:
        self.asked = max(self.asked, n)
        return {f"i{k}": (k * self._share) % 1.0 < self._share for k in range(n)}


def growing(right: int, n: int = 1319) -> Share:
    return Share("accuracy", {}, growing=Growing(right, n))


def test_stopping_early_waits_until_the_baseline_can_be_told_from_guessing() -> None:
    ours, theirs = growing(80), growing(80)
    judgement = ours >= theirs - points(4)
    assert status(judgement) is Status.PASS
    assert isinstance(ours.growing, Growing)
    quick, other = growing(1000), growing(1000)
    assert status(quick >= other - points(4)) is Status.PASS
    assert isinstance(quick.growing, Growing)
    assert quick.growing.asked < ours.growing.asked


def test_a_dead_pair_is_asked_to_the_end_and_not_stopped_as_equal() -> None:
    ours, theirs = growing(0), growing(0)
    assert status(ours >= theirs - points(10)) is Status.INVALID


@pytest.mark.parametrize("margin", [1, 3, 5, 10])
def test_a_candidate_that_lost_everything_passes_in_five_runs_of_a_hundred_at_most(margin: int) -> None:
    """Every count of right answers of a baseline at the worst truth, with its probability."""
    n, truth = 100, margin / 100
    passes = math.fsum(
        math.comb(n, right) * truth**right * (1 - truth) ** (n - right)
        for right in range(45)
        if status(share(0, n) >= share(right, n) - points(margin)) is Status.PASS
    )
    assert passes <= 0.05


def choices(right: int, n: int = 400) -> dict[str, tuple[str, str]]:
    wrong = dict(zip("ABCD", "BCDA", strict=True))
    golds = ["ABCD"[k % 4] for k in range(n)]
    return {f"i{k}": (gold, gold if k < right else wrong[gold]) for k, gold in enumerate(golds)}


def test_macro_f1_and_mean_scores_follow_the_same_rule() -> None:
    def f1(right: int) -> MacroF1:
        return MacroF1("macro-F1", choices(right), tuple("ABCD"), guess=0.25)

    assert status(f1(100) >= f1(100) - points(3)) is Status.INVALID
    assert status(f1(300) >= f1(300) - points(3)) is Status.PASS

    def rouge(score: float) -> MeanScore:
        return MeanScore("ROUGE-L", {f"i{k}": score + (k % 10) / 1000 for k in range(100)})

    assert status(rouge(0.01) >= rouge(0.01) - points(3)) is Status.INVALID
    assert status(rouge(0.3) >= rouge(0.3) - points(3)) is Status.PASS


def test_a_macro_f1_of_nothing_tells_what_became_of_the_answers() -> None:
    none = {f"i{k}": ("ABCD"[k % 4], None) for k in range(400)}
    dead = MacroF1("macro-F1", none, tuple("ABCD"), guess=0.25, endings={"without a final answer": 400})
    verdict = (dead >= dead - points(3)).verdict
    assert verdict.status is Status.INVALID
    assert "400 without a final answer" in verdict.why


def test_a_task_says_what_guessing_is_worth() -> None:
    assert GSM8K.guessing == 0.0
    assert MEDQA.guessing == 0.25
    yes_or_no = Task("mine", GSM8K.source, guess=0.5)
    assert yes_or_no.guessing == 0.5


def test_the_plan_says_that_a_margin_can_decide_nothing() -> None:
    seen: list[Gate] = []

    def plan(case: Gate) -> Judgement:
        seen.append(case)
        return PlannedJudgement(case.forecast())

    def asked(n: int) -> Share:
        return Share("accuracy", {f"i{k}": None for k in range(n)}, judge=plan, guess=0.25)

    bool(asked(400) >= asked(400) - points(3))
    bool(asked(400) >= asked(400) - points(80))
    ordinary, hopeless = seen
    assert "INVALID" not in ordinary.forecast().warning
    assert "will be INVALID: the margin of 80 pts can decide nothing" in hopeless.forecast().warning
    at_guessing = (share(101, guess=0.25) >= share(100, guess=0.25) - points(3)).verdict
    assert at_guessing.status is Status.INVALID
    assert "will be INVALID: the margin of 3 pts" in ordinary.forecast(at_guessing).warning
    good = (share(300, guess=0.25) >= share(300, guess=0.25) - points(3)).verdict
    assert "INVALID" not in ordinary.forecast(good).warning
