"""Differences between starts of two servers in earlier runs on this machine, kept in the user's cache directory.

A pair of starts leaves one log ratio for each metric and load. Ratios are remembered, and not the levels of each
server: a machine that is slower tonight changes both sides alike.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pytest_llmperf.gates.ratio import Rounds, centre_of
from pytest_llmperf.home import cached_lines, own_cache, write_cache
from pytest_llmperf.json_values import Json, finite, list_of, object_of
from pytest_llmperf.stats.start_to_start import Centre

KEPT = 40
"""Runs of one comparison that are remembered: thirty starts tell a deviation to an eighth of itself."""


@dataclass(frozen=True)
class ServerPair:
    """Two servers under one load on one machine."""

    machine: str
    entries: tuple[str, str]
    """Fingerprints of both entries of the catalogue."""
    load: str
    engines: tuple[str | None, str | None] = (None, None)
    """Engine and version of both servers; None in a plan, which fits every version."""
    contents: tuple[str | None, str | None] = (None, None)
    """Fingerprints of both servers' files: starts of other files differ for other reasons as well."""

    def is_like(self, other: ServerPair) -> bool:
        """True if starts of the ``other`` comparison tell how these differ."""
        same = (other.machine, other.entries, other.load) == (self.machine, self.entries, self.load)
        return same and (None in self.engines or other.engines == self.engines)


@dataclass(frozen=True)
class _Entry:
    """A line of the file: the starts of one comparison in one run."""

    comparison: ServerPair
    metrics: Mapping[str, Sequence[Centre]]

    @classmethod
    def parse(cls, line: str) -> _Entry:
        """Read a line; ``ValueError``, ``TypeError`` or ``KeyError`` for one that is not ours."""
        fields = object_of(json.loads(line))
        first, second = map(str, list_of(fields["entries"]))
        comparison = ServerPair(
            str(fields["machine"]),
            (first, second),
            str(fields["load"]),
            _pair(fields["engines"]),
            _pair(fields["contents"]),
        )
        metrics = {
            name: [_centre(c) for c in list_of(centres)]
            for name, centres in object_of(fields["metrics"]).items()
        }
        return cls(comparison, metrics)

    @property
    def line(self) -> str:
        return json.dumps(asdict(self.comparison) | {"metrics": self.metrics}) + "\n"


def _pair(value: Json) -> tuple[str | None, str | None]:
    first, second = (None if each is None else str(each) for each in list_of(value))
    return first, second


def _centre(value: Json) -> Centre:
    centre, error = map(finite, list_of(value))
    if centre is None or error is None:
        raise ValueError("not finite")
    return centre, error


class StartMemory:
    """The centres of earlier pairs of starts, and of this run's, which :meth:`keep` adds."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._earlier: list[_Entry] | None = None
        self._own: dict[ServerPair, dict[str, Sequence[Centre]]] = {}

    def known(self, comparison: ServerPair, metric: str) -> tuple[tuple[Centre, ...], ...]:
        """The centres of earlier runs, grouped by the servers' files and engines."""
        groups: dict[object, list[Centre]] = {}
        for number, entry in enumerate(self._entries()):
            if (centres := entry.metrics.get(metric)) and comparison.is_like(entry.comparison):
                files = entry.comparison.contents
                # Unknown files may be others each time.
                group = number if None in files else (files, entry.comparison.engines)
                groups.setdefault(group, []).extend(centres)
        return tuple(map(tuple, groups.values()))

    def note(self, comparison: ServerPair, metric: str, centres: Sequence[Centre]) -> None:
        """Remember the starts of this run, from its end on; of two notes, the one of more rounds."""
        metrics = self._own.setdefault(comparison, {})
        before = metrics.get(metric, ())
        if len(centres) > len(before) or _error_of(centres) < _error_of(before):
            metrics[metric] = centres

    def keep(self) -> None:
        """Write what was noted; a file that cannot be written costs nothing but the memory."""
        if not self._own:
            return
        entries = [*_read(self._file()), *(_Entry(c, metrics) for c, metrics in self._own.items())]
        self._own = {}
        write_cache(self._file(), "".join(entry.line for entry in _latest(entries)))

    def _entries(self) -> list[_Entry]:
        if self._earlier is None:
            self._earlier = list(_read(self._file()))
        return self._earlier

    def _file(self) -> Path:
        return self._path or own_cache(os.environ) / "starts.jsonl"


@dataclass(frozen=True)
class StartsOf:
    """The memory of one comparison."""

    comparison: ServerPair
    memory: StartMemory
    remark: Callable[[], str] = str
    """What the places of the starts made so far leave in a ratio; empty for nothing."""

    def known(self, metric: str) -> tuple[tuple[Centre, ...], ...]:
        """The centres of earlier runs."""
        return self.memory.known(self.comparison, metric)

    def note(self, metric: str, starts: Sequence[Rounds]) -> None:
        """Remember the rounds of each pair of starts of this run; a start that lost nearly all of them is left out."""
        self.memory.note(self.comparison, metric, [c for rounds in starts if (c := centre_of(rounds))])


def _error_of(centres: Sequence[Centre]) -> float:
    return math.fsum(error for _, error in centres) / len(centres) if centres else math.inf


def _read(path: Path) -> Iterator[_Entry]:
    """The entries of the file; those that are not ours are left out."""
    for line in cached_lines(path):
        with suppress(ValueError, TypeError, KeyError):
            yield _Entry.parse(line)


def _latest(entries: Sequence[_Entry]) -> list[_Entry]:
    """The last :data:`KEPT` entries of each comparison, in their order."""
    counts: Counter[ServerPair] = Counter()
    kept = []
    for entry in reversed(entries):
        key = replace(entry.comparison, contents=(None, None))
        counts[key] += 1
        if counts[key] <= KEPT:
            kept.append(entry)
    return kept[::-1]
