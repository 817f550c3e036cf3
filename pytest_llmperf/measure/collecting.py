"""Answers that are asked for as far as somebody needs them, and no item twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmperf.errors import InfrastructureError, NotMeasured
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.measure.asking import Answers, Asked, answer_row, fingerprint
from pytest_llmperf.measure.looks import Part
from pytest_llmperf.measure.yields import tokens_of, yields
from pytest_llmperf.tasks.task import Item

Ask = Callable[[Sequence[Item], int, int], tuple[Sequence[Asked], float]]
"""Items, how many were asked before, how many may be in all → their answers, item by item and each item's samples in
their order, and the seconds that they took."""


@dataclass
class Collection:
    """The answers of one row to one task in one variant: the first n items of the run's order.

    ``planned`` is the most items that anybody has said to need. A failure to ask is remembered, and raised again.
    """

    row: str
    task: str
    data: str
    variant: str
    part: Part = field(repr=False)
    ask: Ask = field(repr=False)
    samples: int = 1
    """Answers to each item."""
    thinking: bool = False
    """Whether the row promises to think before it answers."""
    temperature: float = 0.0
    """That it was sampled at."""
    order_seed: int = 0
    """What the order of the items was drawn from."""
    planned: int = 0
    asked: list[Asked] = field(default_factory=list, repr=False)
    seconds: float = 0.0
    failure: InfrastructureError | NotMeasured | None = None
    taken: int = 0
    """So many answers have been taken for the record."""

    def plan(self, count: int) -> int:
        """Say that up to ``count`` items may be needed; how many there are of them."""
        count = min(count, len(self.part.items))
        self.planned = max(self.planned, count)
        return count

    def first(self, count: int) -> Answers:
        """The answers to the first ``count`` items (all, if there are fewer); those that are missing are asked now."""
        count = self.plan(count)
        if self.failure is not None:
            raise self.failure
        if self.part.refused:
            raise NotMeasured(self.part.refused)
        if missing := self.part.items[self.items_asked : count]:
            try:
                answers, seconds = self.ask(missing, self.items_asked, self.planned)
            except (InfrastructureError, NotMeasured) as error:
                self.failure = error
                raise
            self.asked += answers
            self.seconds += seconds
        share = count / self.items_asked if self.asked else 1.0
        asked = self.asked[: count * self.samples]
        return Answers(self.row, self.task, self.variant, asked, self.seconds * share)

    @property
    def items_asked(self) -> int:
        """Items whose answers are there."""
        return len(self.asked) // self.samples

    def facts(self) -> dict[str, Any]:
        """For the record: what was asked, of how many, and how the answers ended."""
        answers = self.first(self.items_asked)
        return {
            "row": self.row,
            "task": self.task,
            "data": self.data,
            "items_sha256": self.part.sha256(self.items_asked),
            "before": self.part.before,
            "order_seed": self.order_seed,
            "variant": self.variant,
            "requests": fingerprint([one.body for one in self.asked]),
            "items": self.items_asked,
            "samples": self.samples,
            "seeds": sorted({one.seed for one in self.asked if one.seed is not None}),
            "planned": self.planned,
            "reused": sum(one.answer.reused for one in self.asked),
            "outcomes": answers.counts(),
            "completion_tokens": tokens_of([one for one in self.asked if one.usable]),
            "seconds": round(self.seconds, 3),
            **yields(self.asked, thinking=self.thinking, temperature=self.temperature),
        }

    def take_rows(self) -> Iterator[dict[str, Any]]:
        """The answers that were not taken before, as rows of ``record.tables.ANSWERS``."""
        fresh = range(self.taken, len(self.asked))
        self.taken = len(self.asked)
        about = {"row": self.row, "task": self.task, "variant": self.variant}
        for number in fresh:
            item, one = self.part.items[number // self.samples], self.asked[number]
            yield about | {"gold": str(item.answer)} | answer_row(one, item.prompt)


@dataclass(frozen=True)
class GrowingOutcomes:
    """What a gate watches: outcomes of the first n items, asked for when it looks. See ``gates.proportion.Growing``."""

    collection: Collection
    planned: int
    outcomes: Callable[[Answers], Outcomes] = field(repr=False)

    def first(self, n: int) -> Outcomes:
        """By item id, in the run's order. ``NotMeasured`` with the first error if not one request succeeded."""
        answers = self.collection.first(n)
        if answers.unusable:
            raise NotMeasured(answers.unusable)
        return self.outcomes(answers)
