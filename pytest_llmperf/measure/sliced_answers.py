"""The answers of a row to one shard's part of a task's items (``--llmperf-shard-items``)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.config.shard import RunShard
from pytest_llmperf.errors import InfrastructureError, NotMeasured
from pytest_llmperf.json_values import Json
from pytest_llmperf.measure.answers import GradedAnswer, TaskAnswers
from pytest_llmperf.record.tables import AnswerRow
from pytest_llmperf.tasks.task import Item, items_sha256, sample_of


def places_of(items: Sequence[Item], shard: RunShard) -> list[int]:
    """Places (from 0) of the items that ``shard`` asks, of all ``items`` in the run's order.

    The units of sampling, groups as a whole, are dealt in turn: unit ``u`` goes to shard ``u mod n + 1``.
    """
    units: dict[str, int] = {}
    numbers = [units.setdefault(sample_of(item), len(units)) for item in items]
    return [place for place, unit in enumerate(numbers) if unit % shard.of == shard.number - 1]


@dataclass(kw_only=True)
class SlicedAnswers(TaskAnswers):
    """As :class:`TaskAnswers`, whose counts are those of the whole run; only the items of ``shard`` are asked."""

    shard: RunShard
    _places: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._places = places_of(self.items, self.shard)

    def first(self, count: int) -> Sequence[GradedAnswer]:
        """The samples of this shard's items among the first ``count`` of the run; asks for those that are missing."""
        count = self.plan(count)
        if self.failure is not None:
            raise self.failure
        if self.refused:
            raise NotMeasured(self.refused)
        wanted = bisect_left(self._places, count)
        if missing := [self.items[place] for place in self._places[self.items_asked : wanted]]:
            planned = bisect_left(self._places, self.planned)
            try:
                samples, seconds = self.ask(missing, self.items_asked, planned)
            except (InfrastructureError, NotMeasured) as error:
                self.failure = error
                raise
            self.samples += samples
            self.seconds += seconds
        return self.samples[: wanted * self.per_item]

    def _computed(self) -> dict[str, Json]:
        asked = [self.items[place] for place in self._places[: self.items_asked]]
        return super()._computed() | {"items_sha256": items_sha256(asked), "slice": str(self.shard)}

    def take_rows(self) -> Iterator[AnswerRow]:
        fresh = range(self.taken, len(self.samples))
        self.taken = len(self.samples)
        for number in fresh:
            yield self._row(self.items[self._places[number // self.per_item]], self.samples[number])
