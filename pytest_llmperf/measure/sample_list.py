"""Answers that are asked for as far as a gate needs them, and no item twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pytest_llmperf.errors import InfrastructureError, NotMeasured
from pytest_llmperf.gates.outcomes import Outcome, Outcomes, flips
from pytest_llmperf.measure.book import Book


class Sample(Protocol):
    """One answer to an item."""

    @property
    def item(self) -> str:
        """Id of the item, the same for every model: this pairs two models."""
        ...

    @property
    def usable(self) -> bool:
        """True if the answer says something about the model; False for an infrastructure error."""
        ...

    @property
    def error(self) -> str:
        """The error of a failed request; empty for an answer that came."""
        ...


I = TypeVar("I")  # noqa: E741
S = TypeVar("S", bound=Sample)
R = TypeVar("R")

Ask = Callable[[Sequence[I], int, int], tuple[Sequence[S], float]]
"""Items, how many were asked before, how many may be asked in all → their samples, item by item, and the seconds that
it took."""


@dataclass(kw_only=True)
class SampleList(Generic[I, S]):
    """The samples of the first n items, where n grows with what the gates need.

    A failure to ask is remembered, and raised again.
    """

    items: Sequence[I] = field(repr=False)
    """All that may be asked, in the run's order."""
    ask: Ask[I, S] = field(repr=False)
    per_item: int = 1
    """Samples of each item."""
    at_once: bool = False
    """True if a gate gets all planned items, and must not stop early."""
    refused: str = ""
    """Why nothing may be asked; empty if it may."""
    planned: int = 0
    """The most items that a question has planned to use."""
    samples: list[S] = field(default_factory=list, repr=False)
    seconds: float = 0.0
    """Wall time of all samples."""
    failure: InfrastructureError | NotMeasured | None = None

    @property
    def known(self) -> Sequence[I]:
        """The items, as far as they are at hand without asking anything."""
        return self.items

    @property
    def items_asked(self) -> int:
        return len(self.samples) // self.per_item

    def first_error(self) -> str:
        """The error of the first request that failed so far; empty if none has, or none told why."""
        return next((sample.error for sample in self.samples if not sample.usable and sample.error), "")

    def plan(self, count: int) -> int:
        """Announce that up to ``count`` items may be needed; returns how many of them there are."""
        count = min(count, len(self.items))
        self.planned = max(self.planned, count)
        return count

    def first(self, count: int) -> Sequence[S]:
        """The samples of the first ``count`` items (of all, if there are fewer); asks for those that are missing."""
        count = self.plan(count)
        if self.failure is not None:
            raise self.failure
        if self.refused:
            raise NotMeasured(self.refused)
        if missing := self.items[self.items_asked : count]:
            try:
                samples, seconds = self.ask(missing, self.items_asked, self.planned)
            except (InfrastructureError, NotMeasured) as error:
                self.failure = error
                raise
            self.samples += samples
            self.seconds += seconds
        return self.samples[: count * self.per_item]

    def read(self, count: int, of: Callable[[Sequence[S]], R]) -> R:
        """``of`` the samples of the first ``count`` items. Questions read data this way only, so that a plan can
        replace it (``measure.planned``)."""
        return of(self.first(count))

    def where(self, keep: Callable[[I], bool]) -> SampleList[I, S]:
        """The samples of the items that ``keep`` says; asking for one asks for all items before it, too."""
        places = [place for place, item in enumerate(self.items) if keep(item)]

        def ask(more: Sequence[I], before: int, planned: int) -> tuple[Sequence[S], float]:
            del planned
            wanted = places[before : before + len(more)]
            known = self.first(wanted[-1] + 1)
            each = self.per_item
            return [sample for place in wanted for sample in known[place * each : (place + 1) * each]], 0.0

        return SampleList(
            items=[self.items[place] for place in places],
            ask=ask,
            per_item=self.per_item,
            at_once=self.at_once,
            refused=self.refused,
        )

    def why_unusable(self, count: int, why: Callable[[Sequence[S]], str] | None = None) -> str:
        """Why the samples of the first ``count`` items must not be judged: ``why`` of them, by default that all of them
        failed. Empty if they may."""
        return (why or all_failed)(self.first(count))


@dataclass(frozen=True)
class OutcomesOnDemand(Generic[S]):
    """Outcomes of the first n items, asked when a gate looks (``gates.proportion.Growing``). Errors go to ``book``."""

    samples: SampleList[Any, S]
    planned: int
    of: Callable[[Sequence[S]], Outcomes] = field(repr=False)
    book: Book = field(repr=False)

    def first(self, n: int) -> Outcomes:
        """By item id, in the run's order. :class:`NotMeasured` with the first error if not one request succeeded."""
        with self.book.asking("answers"):
            samples = self.samples.first(n)
            if why := all_failed(samples):
                raise NotMeasured(why)
            return self.of(samples)


@dataclass(frozen=True)
class FlipsOnDemand:
    """Flips between two models on the first n items, asked of both when a gate looks."""

    candidate: OutcomesOnDemand[Any]
    baseline: OutcomesOnDemand[Any]

    @property
    def planned(self) -> int:
        return self.candidate.planned

    def first(self, n: int) -> Outcomes:
        """By item id, in the run's order; raises as :meth:`OutcomesOnDemand.first`."""
        return flips(self.candidate.first(n), self.baseline.first(n))


def outcomes(
    samples: Sequence[S],
    shows: Callable[[S], bool | list[bool]],
    unit: Callable[[S], str] = lambda sample: sample.item,
    came: Callable[[S], bool] = lambda sample: sample.usable,
) -> Outcomes:
    """By ``unit`` of sampling, the item: whether the answer ``shows`` a behaviour, None for one that never ``came``.

    A list of that for a unit with several samples, and for one whose only sample shows several things.
    """
    by_item: dict[str, list[Outcome | list[bool]]] = {}
    for sample in samples:
        by_item.setdefault(unit(sample), []).append(shows(sample) if came(sample) else None)
    return {item: shown if len(shown) > 1 else shown[0] for item, shown in by_item.items()}  # type: ignore[misc]


def all_failed(samples: Sequence[Sample]) -> str:
    """Why there is nothing to judge, with the error of the first failed request; empty if any sample is usable."""
    if not samples or any(sample.usable for sample in samples):
        return ""
    first = next((sample.error for sample in samples if sample.error), "no error was told")
    return f"nothing was measured, all {len(samples)} requests failed; the first: {first}"
