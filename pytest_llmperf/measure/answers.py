"""The graded answers of a model to a task, with their costs and behaviours."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.client.trace import RequestOutcome
from pytest_llmperf.gates.mean import Choices, Scores
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.json_values import Json, JsonObject, list_of, object_of
from pytest_llmperf.measure.looks import ItemSlice
from pytest_llmperf.measure.sample_list import SampleList, outcomes
from pytest_llmperf.prompts.behaviour import Behaviour, examine
from pytest_llmperf.record.tables import AnswerRow
from pytest_llmperf.stats.ratio_estimators import RatioOfMeans, ratio_of_means
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.task import Item, sample_of


@dataclass(frozen=True)
class GradedAnswer:
    """One answer to an item, with its grade."""

    item: str
    """Id of the item, the same for every model: this pairs two models."""
    body: JsonObject
    """The request, without the model's name."""
    answer: Answer
    grade: Grade
    reply: str
    """The whole reply, thinking included."""
    sample: int = 0
    """Number of this answer among those to the item, from 0."""
    begins_inside: bool | None = None
    """True if the prompt ends inside a thinking block, False if after one; None if it does not say."""
    unit: str = ""
    """The unit of sampling that the item belongs to (``tasks.task.sample_of``); empty: the item itself."""
    is_scored: bool = False
    """True if given texts were scored (``measure.continuations``): there is no reply that could behave in any way."""

    @property
    def seed(self) -> int | None:
        """The sampling seed of the request."""
        seed = self.body.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def message(self) -> str:
        """The reply as reports show it: its text, and below it the calls of tools, one a line."""
        return "\n".join(filter(None, (self.reply, *map(str, self.answer.tool_calls))))

    @property
    def usable(self) -> bool:
        return self.grade.outcome is not Outcome.INFRA

    @property
    def blank(self) -> bool:
        """True if a whole reply came with nothing visible in it: for accuracy an error, for a user an empty answer."""
        return self.answer.outcome is RequestOutcome.EMPTY

    @property
    def correct(self) -> bool:
        """Incomplete and ungraded answers are not correct."""
        return self.grade.outcome is Outcome.CORRECT

    @property
    def error(self) -> str:
        return self.answer.error


@dataclass(kw_only=True)
class TaskAnswers(SampleList[Item, GradedAnswer]):
    """The answers of one row to one task, asked in one way."""

    row: str
    task: str
    data: str
    """Name and pinned version of the task's data."""
    variant: str
    part: ItemSlice
    thinking: bool
    """True if the row promises to think before it answers."""
    temperature: float
    order_seed: int
    """Seed of the order of the items."""
    taken: int = 0
    """Number of answers that :meth:`take_rows` has returned."""
    _facts: tuple[tuple[int, int], dict[str, Json]] | None = field(default=None, init=False, repr=False)
    """The last facts, with how many samples there were and were planned."""

    def plan(self, count: int) -> int:
        return super().plan(whole_groups(self.items, count))

    def facts(self) -> dict[str, Json]:
        """For the record: what was asked, of how many, and how the answers ended; the same object until more are."""
        now = (len(self.samples), self.planned)
        if self._facts is None or self._facts[0] != now:
            self._facts = (now, self._computed())
        return self._facts[1]

    def _computed(self) -> dict[str, Json]:
        return {
            "row": self.row,
            "task": self.task,
            "data": self.data,
            "items_sha256": self.part.sha256(self.items_asked),
            "source_sha256": self.part.source_sha256,
            "before": self.part.before,
            "order_seed": self.order_seed,
            "variant": self.variant,
            "requests": _fingerprint([answer.body for answer in self.samples]),
            "items": self.items_asked,
            "samples": self.per_item,
            "seeds": sorted({answer.seed for answer in self.samples if answer.seed is not None}),
            "planned": self.planned,
            "reused": sum(answer.answer.reused for answer in self.samples),
            "outcomes": outcome_counts(self.samples),
            "completion_tokens": tokens_of([answer for answer in self.samples if answer.usable]),
            "seconds": round(self.seconds, 3),
            **answer_stats(self.samples, thinking=self.thinking, temperature=self.temperature),
        }

    def take_rows(self) -> Iterator[AnswerRow]:
        """The answers that were not taken before, as rows of ``record.tables.ANSWERS``."""
        fresh = range(self.taken, len(self.samples))
        self.taken = len(self.samples)
        for number in fresh:
            yield self._row(self.items[number // self.per_item], self.samples[number])

    def _row(self, item: Item, graded: GradedAnswer) -> AnswerRow:
        # In a request that has no messages, the prompt is more than the last turn.
        return {
            "row": self.row,
            "task": self.task,
            "variant": self.variant,
            "item": graded.item,
            "sample": graded.sample,
            "question": _last_turn(graded.body) or item.prompt,
            "gold": str(item.answer),
            "reply": graded.message,
            "outcome": graded.grade.outcome.value,
            "detail": graded.grade.detail,
            "answer": graded.grade.answer,
            "finish_reason": graded.answer.finish_reason,
            "prompt_tokens": graded.answer.prompt_tokens,
            "completion_tokens": graded.answer.completion_tokens,
            "seconds": graded.answer.seconds,
            "seed": graded.seed,
        }


def by_unit(
    answers: Sequence[GradedAnswer],
    shows: Callable[[GradedAnswer], bool | list[bool]] = lambda a: a.correct,
    came: Callable[[GradedAnswer], bool] = lambda a: a.usable,
) -> Outcomes:
    """By unit of sampling (an item, or a group of items) the outcomes of its answers; see ``outcomes``."""
    return outcomes(answers, shows, lambda answer: answer.unit or answer.item, came)


def mean_scores(answers: Sequence[GradedAnswer]) -> Scores:
    """By unit of sampling the mean score of its answers; None if no answer of it came."""
    by_unit: dict[str, list[float]] = {}
    for answer in answers:
        values = by_unit.setdefault(answer.unit or answer.item, [])
        if answer.usable:
            values.append(answer.grade.value)
    return {unit: fmean(values) if values else None for unit, values in by_unit.items()}


def whole_groups(items: Sequence[Item], count: int) -> int:
    """The number of items up to the last group that is whole within the first ``count``; one group at least."""
    if not any(item.group for item in items):
        return count
    ends = [n for n in range(1, len(items)) if sample_of(items[n - 1]) != sample_of(items[n])]
    return max((n for n in [*ends, len(items)] if n <= count), default=min([*ends, len(items)]))


def endings(answers: Iterable[GradedAnswer]) -> dict[str, int]:
    """Number of answers that came and were ``correct``, ``wrong``, ``cut off``, ``empty``, …"""
    found = Counter(ending_of(answer.grade) for answer in answers if answer.usable)
    return dict(sorted(found.items()))


_ENDINGS = {
    "length": "cut off",
    "thinking": "still thinking at their end",
    "filtered": "filtered",
    "empty": "empty",
    "unboxed": "without a final answer",
    "refused": "refused",
}


def ending_of(grade: Grade) -> str:
    """The ending of an answer, in the words of :mod:`pytest_llmperf.gates.outcomes`."""
    if grade.outcome is Outcome.CORRECT:
        return "correct"
    if ending := _ENDINGS.get(grade.detail):
        return ending
    if grade.outcome is Outcome.INCOMPLETE:
        return "cut off"
    return "unreadable" if grade.outcome is Outcome.UNGRADED else "wrong"


def outcome_counts(answers: Iterable[GradedAnswer]) -> dict[str, int]:
    """Number of answers by outcome, all outcomes named."""
    counts = {outcome.value: 0 for outcome in Outcome}
    for answer in answers:
        counts[answer.grade.outcome.value] += 1
    return counts


def choices(answers: Iterable[GradedAnswer], items: Iterable[Item]) -> Choices:
    """By item the right class and the class that was read, if any; only the first sample of an item counts."""
    golds = {item.id: item.answer for item in items}
    return {
        answer.item: (golds[answer.item], answer.grade.answer) if answer.usable else None
        for answer in answers
        if answer.sample == 0
    }


def behaviour_of(answer: GradedAnswer, *, thinking: bool) -> Behaviour:
    """The behaviour of an answer, expecting the language of its question."""
    prompt = str(answer.body.get("prompt", ""))
    return examine(
        answer.reply,
        finish_reason=answer.answer.finish_reason,
        thinking=thinking,
        asked=_last_turn(answer.body) or prompt,
        begins_inside=answer.begins_inside,
        content=answer.answer.text if answer.answer.reasoning else None,
        opened=(not prompt or prompt.rstrip().endswith("<think>"))
        if answer.begins_inside is None
        else answer.begins_inside,
    )


def answer_stats(answers: Iterable[GradedAnswer], *, thinking: bool, temperature: float) -> dict[str, Json]:
    """Costs and behaviours of the answers that came, for the record; None where none came.

    ``…_per_correct`` are ratios of totals, all answers' tokens (seconds in the server's hands) over the correct ones,
    with the interval of ``stats.ratio_estimators``. Seconds depend on the load that the answers were collected at.
    Scored texts have neither.
    """
    answers = [answer for answer in answers if not answer.is_scored]
    came = [answer for answer in answers if answer.usable]
    blank = sum(answer.blank for answer in answers)
    shown = [behaviour_of(answer, thinking=thinking) for answer in came]
    tokens = tokens_of(came)

    def share(count: int) -> float | None:
        return count / len(came) if came else None

    incomplete = sum(answer.grade.outcome is Outcome.INCOMPLETE for answer in came)
    return {
        "tokens_per_answer": tokens / len(came) if tokens is not None and came else None,
        "tokens_per_correct": None if tokens is None else _per_correct(came, output_tokens),
        "seconds_per_correct": _per_correct(came, lambda answer: answer.answer.seconds),
        "incomplete": share(incomplete),
        "unboxed": share(sum(not behaviour.boxed for behaviour in shown)),
        "loops": {f"{temperature:g}": share(sum(behaviour.loops for behaviour in shown))},
        "empty": (blank + sum(behaviour.empty for behaviour in shown)) / (blank + len(came))
        if blank + len(came)
        else None,
        "leaked": share(sum(behaviour.leaked for behaviour in shown)),
        "refused": share(sum(behaviour.refused for behaviour in shown)),
        "language_switches": share(sum(behaviour.language_switch for behaviour in shown)),
    }


def output_tokens(answer: GradedAnswer) -> float:
    """Output tokens by the server's count. Raises ``ValueError`` where it sent none: that is no count of zero."""
    if answer.answer.completion_tokens is None:
        raise ValueError(f"the answer to {answer.item} carries no usage.completion_tokens")
    return float(answer.answer.completion_tokens)


def tokens_of(came: Iterable[GradedAnswer]) -> int | None:
    """Output tokens of these answers together; None if the server did not count those of one."""
    total = 0
    for answer in came:
        if answer.answer.completion_tokens is None:
            return None
        total += answer.answer.completion_tokens
    return total


def uncounted(came: Sequence[GradedAnswer]) -> str:
    """Why tokens of these answers must not be judged; empty if all of them were counted."""
    missing = sum(answer.answer.completion_tokens is None for answer in came)
    if not missing:
        return ""
    return (
        f"{missing} of {len(came)} answers carry no usage.completion_tokens, which is no count of zero; need a server "
        "that sends usage with every answer"
    )


def per_item(
    came: Iterable[GradedAnswer],
    cost: Callable[[GradedAnswer], float],
    counts: Callable[[GradedAnswer], bool] = lambda answer: answer.correct,
) -> dict[str, tuple[float, float]]:
    """By unit of sampling the cost of its answers, and how many of them are counted: the correct ones."""
    totals: dict[str, tuple[float, float]] = {}
    for answer in came:
        unit = answer.unit or answer.item
        spent, counted = totals.get(unit, (0.0, 0.0))
        totals[unit] = (spent + cost(answer), counted + counts(answer))
    return totals


def _per_correct(
    came: Sequence[GradedAnswer], cost: Callable[[GradedAnswer], float]
) -> dict[str, float | int] | None:
    found: RatioOfMeans | None = ratio_of_means(list(per_item(came, cost).values()))
    return (
        None if found is None else {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    )


def energy_per_correct(answers: Sequence[GradedAnswer], energy_j: float | None) -> tuple[float | None, str]:
    """Joules of the whole device by correct answer, or why it is not known.

    ``energy_j`` was measured while the answers of this run came; those reused from an earlier run cost nothing now, and
    count as if they had cost as much as the others.
    """
    now = sum(not answer.answer.reused for answer in answers)
    correct = sum(answer.correct for answer in answers)
    if energy_j is None:
        return None, "no device tells its energy"
    if not now:
        return None, "every answer is of an earlier run, whose energy nobody has measured"
    if not correct:
        return None, f"not one of {len(answers)} answers is right"
    return energy_j / now * len(answers) / correct, ""


def _fingerprint(bodies: Sequence[JsonObject]) -> str:
    """Sixteen hexadecimal digits that differ when any request differs."""
    text = json.dumps(list(bodies), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _last_turn(body: JsonObject) -> str:
    """The last message of the user; empty if there is none, or none that is text."""
    turns = [object_of(turn) for turn in list_of(body.get("messages"))]
    said = next((turn.get("content") for turn in reversed(turns) if turn.get("role") == "user"), None)
    return said if isinstance(said, str) else ""
