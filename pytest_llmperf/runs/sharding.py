"""``--llmperf-shard i/n``: each of n machines runs its part of the tests, and ``pytest-llmperf merge`` judges them all.

Every shard collects all tests and cuts them in the same way, whatever their order, the machine and its Python. Tests
that share a measurement stay together, so that none is made twice: those of one candidate in one file, and those of one
candidate that ask for the same kind of measurement, in whatever file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.config.shard import RunShard
from pytest_llmperf.json_values import Json
from pytest_llmperf.runs.asking import ASKING, MODELS, asks, candidate_of, is_ours

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Suite

_SHARED = {
    "accuracy": "answers",
    "answers": "answers",
    "consistency": "answers",
    "flips": "answers",
    "macro_f1": "answers",
    "score": "answers",
    "structured": "answers",
    "tool_calls": "answers",
    "energy": "load",
    "load": "load",
    "recall": "long answers",
    "summaries": "long answers",
    "fidelity": "fidelity",
    "perplexity": "perplexity",
}
"""By fixture, the measurement that tests with it share."""
_BY_ITEMS = frozenset({"accuracy", "flips"})
"""Fixtures whose gates are shares of items: their items can be asked in parts, and judged together."""


@dataclass(frozen=True)
class TestToCut:
    """One collected test: its node id, file, candidate (empty: not repeated for each), and what it measures."""

    __test__ = False

    test: str
    file: str
    candidate: str
    measures: frozenset[str]
    by_items: bool = False
    """True if every shard runs it, each with its part of the items."""


def cut(tests: Iterable[TestToCut], shards: int) -> Mapping[str, int]:
    """Return the shard (from 1) of each test, by node id.

    Groups of tests that share something are dealt to the shard with the fewest tests so far, the largest group first.
    Tests that are cut by items are in every shard, and not among these.
    """
    ordered = sorted((each for each in tests if not each.by_items), key=lambda each: each.test)
    group: dict[tuple[str, str, str], tuple[str, str, str]] = {}

    def root(key: tuple[str, str, str]) -> tuple[str, str, str]:
        while group.setdefault(key, key) != key:
            key = group[key]
        return key

    for each in ordered:
        mine = root((each.candidate, "file", each.file))
        for what in sorted(each.measures):
            group[root((each.candidate, "measurement", what))] = mine
    members: dict[tuple[str, str, str], list[str]] = {}
    for each in ordered:
        members.setdefault(root((each.candidate, "file", each.file)), []).append(each.test)
    taken = Counter(dict.fromkeys(range(1, shards + 1), 0))
    found: dict[str, int] = {}
    for several in sorted(members.values(), key=lambda several: (-len(several), several[0])):
        number = min(taken, key=lambda number: (taken[number], number))
        taken[number] += len(several)
        found |= dict.fromkeys(several, number)
    return found


@dataclass(eq=False)
class Sharding:
    """The plugin that leaves out the tests of other shards, and what the record says of the cut."""

    shard: RunShard
    root: Path
    catalogues: Sequence[Path]
    by_items: bool = False
    """True if tests over items are cut by items (``--llmperf-shard-items``)."""
    cut_tests: list[str] = field(default_factory=list)
    """Node ids of the tests that all shards run, each with its part of the items; in the order of the run."""
    elsewhere: set[str] = field(default_factory=set)
    """Node ids of the tests of other shards."""
    _asking: dict[str, Path] = field(default_factory=dict)
    """Files of all tests that ask about a model, by node id, in the order of the run."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        self._asking = {item.nodeid: item.path for item in items if asks(item) is not None}
        every = [_to_cut(item, by_items=self.by_items and self.shard.of > 1) for item in items]
        self.cut_tests = [each.test for each in every if each.by_items]
        numbers = cut(every, self.shard.of)
        mine = self.shard.number
        gone = [item for item in items if numbers.get(item.nodeid, mine) != mine]
        self.elsewhere = {item.nodeid for item in gone}
        if gone:
            config.hook.pytest_deselected(items=gone)
            items[:] = [item for item in items if item.nodeid not in self.elsewhere]

    def pytest_report_collectionfinish(self, items: Sequence[pytest.Item]) -> str:
        every = len(items) + len(self.elsewhere)
        part = f", of {len(self.cut_tests)} a part of their items" if self.cut_tests else ""
        return (
            f"llmperf: shard {self.shard} has {len(items)} of {every} tests{part}; "
            "`pytest-llmperf merge RECORD…` judges the whole run by the records of all shards"
        )

    def facts(self) -> dict[str, Json]:
        """For the record: the shard, and the tests and files of the whole run."""
        from pytest_llmperf.record.fingerprint import suite_of

        suite: Suite = suite_of(self._asking.values(), self.catalogues, self.root)
        whole = suite.as_json() | {"tests": [*self._asking]}
        cut_tests = list[Json](self.cut_tests)
        return {"number": self.shard.number, "of": self.shard.of, "cut_tests": cut_tests, "suite": whole}

    def part_of(self, test: str) -> RunShard | None:
        """Return the shard whose part of the items ``test`` asks; None if it asks all."""
        return self.shard if test in self.cut_tests else None


def _to_cut(item: pytest.Item, *, by_items: bool) -> TestToCut:
    names = getattr(item, "fixturenames", ())
    measures = frozenset(_SHARED[name] for name in names if name in _SHARED and is_ours(item, name))
    file = item.nodeid.partition("::")[0]
    # A fixture that needs a whole run's data keeps its test in one shard, with all items.
    asked = {name for name in names if name in ASKING - MODELS and is_ours(item, name)}
    is_cut = by_items and bool(asked) and asked <= _BY_ITEMS
    return TestToCut(item.nodeid, file, candidate_of(item), measures, is_cut)
