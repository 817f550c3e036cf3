"""The questions of a test over measured data: asked once, as far as the gates need them, judged by the test's judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.client.trace import RequestOutcome as Ending
from pytest_llmperf.config.run_config import Options, resolve
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.bound import points
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.measure.answers import GradedAnswer
from pytest_llmperf.measure.evaluation import Evaluation
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.measure.planned import PlannedMeasurements
from pytest_llmperf.measure.questions import Questions
from pytest_llmperf.measure.served import Served
from pytest_llmperf.prompts import variants
from pytest_llmperf.prompts.variants import Variant
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.task import Item, Task, sample_of

SUITES = Path(__file__).parents[2] / "suites"


@dataclass
class Canned(Evaluation):
    """Answers without a server: rows in ``wrong`` are wrong on everything, others right."""

    wrong: set[str] = field(default_factory=set)
    failure: NotMeasured | None = None
    tokens: int | None = 40
    refuses: str = ""
    """The error of every third request."""
    asked: dict[str, int] = field(default_factory=dict)
    """Answers by row."""

    def graded(
        self,
        served: Served,
        task: Task,
        variant: Variant,
        items: Sequence[Item],
        what: str,
        before: int,
        planned: int,
    ) -> tuple[list[GradedAnswer], float]:
        if self.failure:
            self.asked[served.name] = self.asked.get(served.name, 0) + 1
            raise self.failure
        self.asked[served.name] = self.asked.get(served.name, 0) + len(items)
        outcome = Outcome.WRONG if served.name in self.wrong else Outcome.CORRECT
        reply = "<think>\n2 + 2 = 4\n</think>\nIt is \\boxed{4}."
        answer = Answer(0, reply, "", "stop", 12, self.tokens, None, Ending.OK, "", 1, 0.5)
        body: JsonObject = {"messages": [{"role": "user", "content": "2 + 2?"}], "seed": 7}
        refused = Answer(0, "", "", None, None, None, None, Ending.HTTP_ERROR, self.refuses, 1, 0.5)
        lost = Grade(Outcome.INFRA, "http_error")
        return [
            GradedAnswer(item.id, body, refused, lost, "", unit=sample_of(item))
            if self.refuses and number % 3 == 2
            else GradedAnswer(item.id, body, answer, Grade(outcome, ""), reply, unit=sample_of(item))
            for number, item in enumerate(items)
        ], 1.0


class Book:
    """Notes what was asked, and the errors."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def asking(self, what: str, *, gated: bool = True) -> Iterator[None]:
        self.notes.append(what)
        try:
            yield
        except NotMeasured as error:
            self.notes.append(f"{what}: {error}")
            raise


class Asking:
    """Measurements of the embedded pair whose answers are canned, and the verdicts of its comparisons."""

    def __init__(self, state: Path, full: bool = False, **canned: Any) -> None:
        options = Options(
            models=SUITES / "models.toml",
            budgets=SUITES / "budgets.toml",
            profile="embedded",
            full=full,
        )
        settings = resolve(options, device=None, device_name="CPU")
        self.data = Measurements(settings, state, lambda _: None)
        self.canned = Canned(self.data, self.data.speed.devices, **canned)
        self.data._evaluation = self.canned
        self.book = Book()
        self.verdicts: list[Verdict] = []
        self.ask = Questions(self.data, self._judge, book=self.book)
        self.candidate = self.data.served(settings.candidates[0])
        self.baseline = self.data.served(settings.baseline)

    def _judge(self, case: Gate) -> Judgement:
        self.verdicts.append(case.settled().judge())
        return Judgement(self.verdicts[-1])


def test_both_sides_are_asked_as_far_as_the_margin_needs_and_no_item_twice(tmp_path: Path) -> None:
    asking = Asking(tmp_path, wrong={"distill"})
    _ = asking.ask.accuracy(asking.candidate) >= asking.ask.accuracy(asking.baseline) - points(3)
    assert asking.verdicts[0].status is Status.FAIL
    asked = dict(asking.canned.asked)
    assert asked["distill"] == asked["math"] < asking.data.sizes.items
    assert asking.data.saving() == (sum(asked.values()), 2 * asking.data.sizes.items)
    _ = asking.ask.accuracy(asking.candidate) >= asking.ask.accuracy(asking.baseline) - points(3)
    assert asking.canned.asked == asked, "the second test shares the answers of the first"


def test_a_full_run_asks_every_item_of_the_profile(tmp_path: Path) -> None:
    asking = Asking(tmp_path, full=True)
    _ = asking.ask.accuracy(asking.candidate, items=90) >= 0.5
    assert (asking.verdicts[0].status, asking.verdicts[0].n) == (Status.PASS, 90)
    assert asking.canned.asked == {"distill": 90}


def test_a_way_of_asking_has_answers_of_its_own(tmp_path: Path) -> None:
    asking = Asking(tmp_path, full=True)
    hot = variants.at_temperature(0.5)
    _ = asking.ask.accuracy(asking.candidate, items=30) >= 0.5
    _ = asking.ask.accuracy(asking.candidate, hot, items=20) >= 0.5
    assert asking.canned.asked == {"distill": 50}
    assert asking.verdicts[0].metric == "embedded accuracy"
    assert asking.verdicts[1].metric == hot.named("embedded accuracy") != "embedded accuracy"


def test_a_failure_to_ask_is_shared_and_noted_for_every_test(tmp_path: Path) -> None:
    asking = Asking(tmp_path, failure=NotMeasured("a hidden system prompt"))
    for _attempt in range(2):
        _ = asking.ask.accuracy(asking.candidate) >= 0.5
    assert {(verdict.status, "hidden system prompt" in verdict.why) for verdict in asking.verdicts} == {
        (Status.INVALID, True)
    }
    assert asking.canned.asked == {"distill": 1}
    assert asking.book.notes.count("answers: a hidden system prompt") == 2


@pytest.mark.parametrize("full", [False, True])
def test_a_verdict_of_too_many_lost_answers_says_what_the_first_one_was_lost_to(
    tmp_path: Path, full: bool
) -> None:
    asking = Asking(tmp_path, full=full, refuses="HTTP 400: unknown keyword 'format'")
    ask, candidate, baseline = asking.ask, asking.candidate, asking.baseline
    _ = ask.accuracy(candidate) >= 0.5
    _ = ask.accuracy(candidate) >= ask.accuracy(baseline) - points(3)
    _ = ask.flips(candidate, baseline) <= 0.1
    _ = ask.score(candidate) >= 0.5
    _ = ask.score(candidate) >= ask.score(baseline) - points(3)
    _ = ask.behaviour(candidate).boxed >= 0.5
    _ = ask.behaviour(candidate).tokens_per_correct <= 50
    _ = ask.behaviour(candidate).length <= ask.behaviour(baseline).length * 1.1
    assert len(asking.verdicts) == 8
    for verdict in asking.verdicts:
        assert verdict.status is Status.INVALID
        assert "allowed 2 %), which say nothing of the model; the first: " in verdict.why
        assert "HTTP 400: unknown keyword 'format'" in verdict.why


def test_sides_that_changed_places_are_invalid(tmp_path: Path) -> None:
    asking = Asking(tmp_path)
    _ = asking.ask.accuracy(asking.baseline) >= asking.ask.accuracy(asking.candidate) - points(3)
    assert asking.verdicts[0].status is Status.INVALID
    assert "the baseline stands in the candidate's place" in asking.verdicts[0].why


def test_the_cost_of_a_correct_answer_is_that_of_the_items_set_beforehand(tmp_path: Path) -> None:
    asking = Asking(tmp_path)
    _ = asking.ask.behaviour(asking.candidate).tokens_per_correct <= 50
    assert (asking.verdicts[0].status, asking.verdicts[0].observed) == (Status.PASS, 40.0)
    assert asking.canned.asked == {"distill": asking.data.sizes.cost_items}


def test_tokens_that_the_server_did_not_count_are_not_judged(tmp_path: Path) -> None:
    asking = Asking(tmp_path, tokens=None)
    behaviour = asking.ask.behaviour(asking.candidate)
    _ = behaviour.tokens_per_correct <= 50
    _ = behaviour.seconds_per_correct <= 50
    _ = behaviour.boxed >= 0.5
    assert [verdict.status for verdict in asking.verdicts] == [Status.INVALID, Status.PASS, Status.PASS]
    assert "carry no usage.completion_tokens" in asking.verdicts[0].why


def test_the_energy_of_answers_that_no_device_watched_is_invalid(tmp_path: Path) -> None:
    asking = Asking(tmp_path)
    _ = asking.ask.energy(asking.candidate) <= 100
    assert asking.verdicts[0].status is Status.INVALID
    assert "no device tells its energy" in asking.verdicts[0].why
    assert asking.canned.asked == {"distill": asking.data.sizes.energy_items}


def test_every_answer_is_taken_for_the_record_once_with_what_was_expected(tmp_path: Path) -> None:
    asking = Asking(tmp_path, full=True)
    _ = asking.ask.accuracy(asking.candidate, items=20) >= 0.5
    rows = list(asking.data.take_answers())
    items = asking.data.items(asking.data.task())[:20]
    assert [(row["item"], row["gold"]) for row in rows] == [(item.id, str(item.answer)) for item in items]
    assert {(row["row"], row["task"], row["outcome"], row["seed"]) for row in rows} == {
        ("distill", "embedded", "correct", 7)
    }
    assert list(asking.data.take_answers()) == []
    _ = asking.ask.accuracy(asking.candidate, items=30) >= 0.5
    assert len(list(asking.data.take_answers())) == 10


@dataclass(frozen=True)
class Documents:
    """Thirty documents of four questions each."""

    sha256: str | None = None

    def items(self, data_dir: Path | None) -> Sequence[Item]:
        return [Item(f"i{n}", f"What is {n}?", str(n), group=f"d{n // 4}") for n in range(120)]

    def describe(self) -> str:
        return "thirty documents"


def test_groups_of_items_are_the_sample_of_every_gate_and_are_asked_whole(tmp_path: Path) -> None:
    asking = Asking(tmp_path)
    asking.data.tasks["documents"] = Task("documents", Documents())
    _ = asking.ask.accuracy(asking.candidate, "documents", items=90) >= 0.5
    assert asking.canned.asked == {"distill": 88}, "no group is cut, and no gate stops before all of them"
    assert asking.verdicts[0].n == 22
    behaviour = asking.ask.behaviour(asking.candidate, "documents")
    assert len(behaviour.tokens_per_correct.costs) == 30
    plan = PlannedMeasurements(asking.data.settings, tmp_path, lambda _: None, asking.data.tasks.values())
    planned = Questions(plan, asking._judge).accuracy(
        plan.served(asking.candidate.model), "documents", items=90
    )
    assert (planned.growing, planned.size) == (None, 22)


def test_macro_f1_of_items_in_groups_is_refused(tmp_path: Path) -> None:
    asking = Asking(tmp_path)
    asking.data.tasks["documents"] = Task("documents", Documents(), classes=("1", "2"))
    assert "are in groups" in asking.ask.macro_f1(asking.candidate, "documents").unusable
