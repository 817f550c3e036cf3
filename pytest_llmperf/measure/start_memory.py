"""How the starts of two servers differed in earlier runs on this machine, kept in the user's cache directory.

A pair of starts leaves one log ratio for each metric and load. Ratios are remembered, and not the levels of each
server: a machine that is slower tonight changes both sides alike.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.gates.ratio import Rounds, centre_of
from pytest_llmperf.home import own_cache, write_cache
from pytest_llmperf.stats.start_to_start import Centre

KEPT = 40
"""Runs of one comparison that are remembered: thirty starts tell a deviation to an eighth of itself."""


@dataclass(frozen=True)
class Comparison:
    """Two servers under one load on one machine."""

    machine: str
    entries: tuple[str, str]
    """Fingerprints of both entries of the catalogue."""
    load: str
    engines: tuple[str | None, str | None] = (None, None)
    """Engine and version of both servers; None in a plan, which fits every version."""
    contents: tuple[str | None, str | None] = (None, None)
    """Fingerprints of both servers' files: starts of other files differ for other reasons as well."""

    def is_of(self, entry: dict[str, Any]) -> bool:
        same = (entry["machine"], tuple(entry["entries"]), entry["load"]) == (
            self.machine,
            self.entries,
            self.load,
        )
        return same and (None in self.engines or tuple(entry["engines"]) == self.engines)


class StartMemory:
    """The centres of earlier pairs of starts, and of this run's, which :meth:`keep` adds."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._earlier: list[dict[str, Any]] | None = None
        self._own: dict[Comparison, dict[str, Sequence[Centre]]] = {}

    def known(self, comparison: Comparison, metric: str) -> tuple[tuple[Centre, ...], ...]:
        """The centres of earlier runs, grouped by the servers' files and engines."""
        groups: dict[object, list[Centre]] = {}
        for number, entry in enumerate(self._entries()):
            if comparison.is_of(entry):
                files = tuple(entry["contents"])
                # Unknown files may be others each time.
                group = number if None in files else (files, tuple(entry["engines"]))
                for centre, error in entry["metrics"].get(metric, ()):
                    groups.setdefault(group, []).append((float(centre), float(error)))
        return tuple(map(tuple, groups.values()))

    def note(self, comparison: Comparison, metric: str, centres: Sequence[Centre]) -> None:
        """Remember the starts of this run, from its end on."""
        self._own.setdefault(comparison, {})[metric] = centres

    def keep(self) -> None:
        """Write what was noted; a file that cannot be written costs nothing but the memory."""
        if not self._own:
            return
        entries = [*_read(self._file()), *(asdict(c) | {"metrics": m} for c, m in self._own.items())]
        self._own = {}
        write_cache(self._file(), "".join(json.dumps(entry) + "\n" for entry in _latest(entries)))

    def _entries(self) -> list[dict[str, Any]]:
        if self._earlier is None:
            self._earlier = list(_read(self._file()))
        return self._earlier

    def _file(self) -> Path:
        return self._path or own_cache(os.environ) / "starts.jsonl"


@dataclass(frozen=True)
class StartsOf:
    """The memory of one comparison."""

    comparison: Comparison
    memory: StartMemory

    def known(self, metric: str) -> tuple[tuple[Centre, ...], ...]:
        """The centres of earlier runs."""
        return self.memory.known(self.comparison, metric)

    def note(self, metric: str, starts: Sequence[Rounds]) -> None:
        """Remember the rounds of each pair of starts of this run; a start that lost nearly all of them is left out."""
        self.memory.note(self.comparison, metric, [c for rounds in starts if (c := centre_of(rounds))])


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of the file; those that are not ours are left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            entry = json.loads(line)
            shape = [len(pair) for centres in entry["metrics"].values() for pair in centres]
            shape += [len(entry[name]) for name in ("entries", "engines", "contents")]
            if all(length == 2 for length in shape) and {"machine", "load"} <= entry.keys():
                yield entry


def _latest(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last :data:`KEPT` entries of each comparison, in their order."""
    counts: dict[str, int] = {}
    kept = []
    for entry in reversed(entries):
        key = json.dumps([entry[name] for name in ("machine", "entries", "load", "engines")])
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= KEPT:
            kept.append(entry)
    return kept[::-1]
