"""Looking while the answers come in: fewer of them where it is clear, and no more wrong decisions than promised."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates import early_stopping
from pytest_llmperf.gates.outcomes import Outcome, Outcomes
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.verdict import Status

PLANNED = 1000


class Source:
    """Answers that are right with a fixed chance, and how far they have been asked for."""

    def __init__(self, right: float, seed: int = 0, lost: int = 0) -> None:
        self.draw = random.Random(seed)
        self.right, self.lost, self.asked = right, lost, 0
        self.answers: dict[str, Outcome] = {}

    def first(self, n: int) -> dict[str, Outcome]:
        self.asked = max(self.asked, n)
        while len(self.answers) < n:
            index = len(self.answers)
            self.answers[f"i{index}"] = None if index < self.lost else self.draw.random() < self.right
        return dict(list(self.answers.items())[:n])


def alone(source: Source) -> Callable[[int], tuple[Outcomes, Outcomes]]:
    return lambda n: (source.first(n), {})


def floor(source: Source, bound: float = 0.7, *, at_least: bool = True) -> ProportionGate:
    return ProportionGate(
        metric="accuracy",
        bound=bound,
        candidate={},
        at_least=at_least,
        planned=PLANNED,
        more=alone(source),
    )


def margin(ours: Source, theirs: Source, bound: float = 0.05) -> PairedGate:
    return PairedGate(
        metric="accuracy",
        bound=bound,
        candidate={},
        baseline={},
        at_least=True,
        planned=PLANNED,
        more=lambda n: (ours.first(n), theirs.first(n)),
    )


@pytest.mark.parametrize(("right", "status"), [(0.9, Status.PASS), (0.5, Status.FAIL)])
def test_a_clear_case_is_decided_by_few_answers(right: float, status: Status) -> None:
    source = Source(right)
    settled = floor(source).settled()
    verdict = settled.judge()
    assert verdict.status is status
    assert source.asked == settled.size == verdict.n < PLANNED / 3
    assert f"decided after {verdict.n} of {PLANNED:,} items" in verdict.why
    assert verdict.interval is not None
    low, high = verdict.interval
    assert low >= 0.7 if status is Status.PASS else high < 0.7


@pytest.mark.parametrize(
    ("bound", "right", "at_least"), [(0.05, 0.0, False), (0.95, 1.0, True), (0.05, 0.3, False)]
)
def test_rates_of_a_few_per_cent_are_clear_at_the_first_look(
    bound: float, right: float, at_least: bool
) -> None:
    source = Source(right)
    expected = Status.FAIL if right == 0.3 else Status.PASS
    assert floor(source, bound, at_least=at_least).settled().judge().status is expected
    assert source.asked == early_stopping.FIRST_LOOK


def test_every_item_is_watched_once_while_answers_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = 0
    real = early_stopping.Watch.observe

    def counted(watch: early_stopping.Watch, *outcomes: Outcome) -> Status | None:
        nonlocal watched
        watched += 1
        return real(watch, *outcomes)

    monkeypatch.setattr(early_stopping.Watch, "observe", counted)
    settled = floor(Source(0.7)).settled()
    assert settled.size == watched == PLANNED, "looks at 150, 188, 235, … go on where the one before ended"


def test_a_look_at_other_items_begins_anew() -> None:
    question = early_stopping.Question("accuracy", 0.7)
    first = early_stopping.watch(question, {"a": True, "b": False}, alpha=0.05)
    other = early_stopping.watch(question, {"b": False, "c": True}, alpha=0.05, earlier=first)
    assert other is not first
    assert other.items == ["b", "c"]
    further = early_stopping.watch(question, {"a": True, "b": False, "c": True}, alpha=0.05, earlier=first)
    assert further is first
    assert further.verdict().n == 3


def test_a_close_case_asks_all_and_is_judged_by_the_fixed_gate() -> None:
    source = Source(0.7)
    verdict = floor(source).settled().judge()
    assert source.asked == PLANNED
    assert verdict.method == "Clopper-Pearson"
    assert verdict.status is Status.INCONCLUSIVE
    assert "stopped early" not in verdict.why


def test_a_damaged_candidate_is_found_early_and_equal_ones_pass() -> None:
    base = Source(0.8, seed=1)
    found = margin(Source(0.6, seed=2), base).settled()
    assert found.judge().status is Status.FAIL
    assert found.size < PLANNED / 2
    same = margin(Source(0.8, seed=1), Source(0.8, seed=1)).settled()
    assert same.judge().status is Status.PASS
    assert same.size < PLANNED / 2


def test_the_verdict_is_that_of_the_data_and_no_more_is_measured_to_judge_again() -> None:
    source = Source(0.9)
    settled = floor(source).settled()
    asked = source.asked
    assert replace(settled, more=None).judge() == settled.judge() == settled.settled().judge()
    assert source.asked == asked


def test_a_bound_that_no_data_can_show_is_refused_by_the_fixed_gate_on_all_items() -> None:
    source = Source(1.0)
    verdict = floor(source, 1.0).settled().judge()
    assert verdict.status is Status.INVALID
    assert source.asked == PLANNED


def test_lost_answers_are_asked_past_and_many_of_them_are_invalid() -> None:
    few = Source(0.9, lost=5)
    assert floor(few).settled().judge().status is Status.PASS
    assert few.asked > early_stopping.FIRST_LOOK, "5 of 150 are more than the 2 % that may be lost"
    many = Source(0.9, lost=50)
    assert floor(many).settled().judge().status is Status.INVALID


def test_what_cannot_be_measured_is_invalid_with_its_reason() -> None:
    def nothing(n: int) -> tuple[Outcomes, Outcomes]:
        raise NotMeasured(f"nothing was measured, all {n} requests failed; the first: HTTP 500")

    verdict = replace(floor(Source(0.9)), more=nothing).settled().judge()
    assert verdict.status is Status.INVALID
    assert "HTTP 500" in verdict.why


def test_a_refused_case_asks_nothing() -> None:
    source = Source(0.9)
    case = replace(floor(source), refused="no budget for this device", bound=None)
    assert case.settled().judge().status is Status.INVALID
    assert source.asked == 0


def test_looks_end_with_all_items() -> None:
    for planned in (1, 149, 150, 151, 600, 1319):
        seen = list(early_stopping.looks(planned))
        assert seen == sorted(set(seen))
        assert seen[-1] == planned
    with pytest.raises(ValueError, match="at least one"):
        list(early_stopping.looks(0))


def test_at_the_bound_each_wrong_decision_keeps_its_promise() -> None:
    runs = 300
    said = [floor(Source(0.7, seed=seed)).settled().judge().status for seed in range(runs)]
    # 5 % of 300 are 15; 29 has a chance below one in a thousand.
    assert said.count(Status.PASS) < 29
    assert said.count(Status.FAIL) < 29
