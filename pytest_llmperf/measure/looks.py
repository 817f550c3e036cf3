"""The items of a further look at the same gates: those that no look had, or else the same items with other seeds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pytest_llmperf.config.models import Model
from pytest_llmperf.config.run_config import Settings
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.early_stopping import spending
from pytest_llmperf.home import shown
from pytest_llmperf.json_values import Json, JsonObject
from pytest_llmperf.prompts.variants import Variant
from pytest_llmperf.record.prior import PriorLooks
from pytest_llmperf.tasks.task import Item, Task, is_scored, items_sha256

SEEDS_APART = 100_000
"""Distance between the seeds of two looks, so that none repeats another's samples."""
_SPREAD, _FIRST_SEEDS = 2_654_435_761, 2**30
"""Knuth's multiplier: neighbouring seeds of runs give sampling seeds that lie far apart, with all looks below 2³¹."""
_OF_THE_MACHINE = {"base_url", "api_key_env", "ready_timeout_s", "engine_python", "same_model_as"}
"""Fields of a row that say where and how it is reached or compared, and not which model answers."""
_NEW = {"extra_body", "adapter_of", "adapter", "alias_of"}
"""Keys that are younger than the first records: at their default, the row is served as it was without them, and its
fingerprint stays."""


@dataclass(frozen=True)
class ItemSlice:
    """The items of a task that this run may ask, in their order.

    ``before``: how many of the task's items the looks before have asked. ``again``: they are all that there are, and
    these are the same. ``refused``: why the looks before cannot be added to.
    """

    every: Sequence[Item] = field(repr=False)
    items: Sequence[Item] = field(repr=False)
    before: int = 0
    again: bool = False
    refused: str = ""

    @cached_property
    def source_sha256(self) -> str:
        """Fingerprint of all items that the task has, in the run's order."""
        return items_sha256(self.every)

    def sha256(self, asked: int) -> str:
        """Fingerprint of the items of all looks, when this run has asked so many."""
        return items_sha256(self.every[: self.before + asked])


@dataclass(frozen=True)
class Looks:
    """Which look this run is; without an earlier one, the first."""

    settings: Settings
    earlier: PriorLooks | None = None

    def items_for(self, task: Task, variant: Variant, items: Sequence[Item]) -> ItemSlice:
        """The part of ``items``, all that the task has, which this run may ask."""
        if self.earlier is None:
            return ItemSlice(items, items)
        differ = self.earlier.data_differ(
            task.name, variant.name, task.source.describe(), lambda n: items_sha256(items[:n])
        )
        before = min(len(items), self.earlier.asked(task.name, variant.name))
        if left := items[before:]:
            return ItemSlice(items, left, before, refused=differ)
        # Greedy answers to the same items are the same answers, and so are log probabilities: no data at all. Where one
        # side is sampled, both are asked, since a pair needs both; the other's same answers change neither its mean nor
        # its spread over items.
        rows = (*self.settings.candidates, self.settings.baseline)
        sampled = not is_scored(items) and any(
            variant.sampling(row.sampling).temperature > 0.0 for row in rows
        )
        return ItemSlice(items, items if sampled else (), before, again=True, refused=differ)

    def at(self, test: str, gate: Gate, nth: int, engines: Callable[[], Mapping[str, str]]) -> Gate:
        """The ``nth`` gate like it of ``test``, with its part of the error and the data of the looks before.

        ``engines`` tells which engines serve by now, by row.
        """
        if self.earlier is None:
            return dataclasses.replace(gate, spent=spending(1, self.settings.looks))
        if other := self.earlier.other_engine(engines()):
            return dataclasses.replace(gate, refused=gate.refused or other)
        return self.earlier.with_data(test, gate, nth)

    @property
    def note(self) -> str:
        """A line for the end of the report; empty for a first look."""
        if self.earlier is None:
            return ""
        path = shown(self.earlier.path)
        return f"look {self.earlier.look}: the data of {path} were added to; what was decided stands"

    def facts(self) -> dict[str, Json]:
        """For the record, so that the next look knows."""
        if self.earlier is None:
            return {"look": 1, "looks": self.settings.looks, "adds_to": []}
        announced = self.earlier.record.looks
        return {"look": self.earlier.look, "looks": announced, "adds_to": self.earlier.chain}


def comparable(settings: Settings, workload: JsonObject) -> dict[str, Json]:
    """Everything that two runs must have in common for their data to be pooled."""
    rows = (*settings.candidates, settings.baseline)
    return {
        "profile": settings.profile.name,
        "placement": settings.profile.placement,
        "device": {"class": settings.device, "name": settings.device_name},
        "baseline": settings.baseline.name,
        "rows": {row.name: row_fingerprint(row) for row in rows},
        "workload": workload,
    }


def reseeded(settings: Settings, look: int) -> Settings:
    """The same settings with sampling seeds that no other look has."""
    return _moved(settings, SEEDS_APART * (look - 1))


def drawn(settings: Settings, seed: int) -> Settings:
    """The settings of a run with this seed: both sides' sampling seeds follow from it, and are those of the entries
    for 0."""
    return _moved(settings, seed * _SPREAD % _FIRST_SEEDS)


def _moved(settings: Settings, by: int) -> Settings:
    def other(row: Model) -> Model:
        return dataclasses.replace(
            row, sampling=dataclasses.replace(row.sampling, seed=row.sampling.seed + by)
        )

    return dataclasses.replace(
        settings,
        candidates=tuple(map(other, settings.candidates)),
        baseline=other(settings.baseline),
    )


def row_fingerprint(row: Model) -> str:
    """Sixteen hexadecimal digits that differ when a row is served, or sampled, in another way; seeds aside."""
    fields = {
        f.name: getattr(row, f.name)
        for f in dataclasses.fields(row)
        if f.name not in _OF_THE_MACHINE and not (f.name in _NEW and getattr(row, f.name) == f.default)
    }
    fields["sampling"] = dataclasses.replace(row.sampling, seed=0)
    text = json.dumps(fields, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return dict(value) if isinstance(value, Mapping) else str(value)
