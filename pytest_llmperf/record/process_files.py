"""What each process of a run (xdist has several) has measured so far, in files of its own.

Every process adds to its files as its tests end, so that a worker that crashes or is interrupted has told of all that
came before. The process that writes the record puts them together.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

from pytest_llmperf.json_values import Json, JsonObject, finite, list_of
from pytest_llmperf.record.tables import (
    ANSWERS,
    TOKENS,
    TRACES,
    AnswerRow,
    R,
    TableSchema,
    TokenRow,
    TraceRow,
)

_CLOCK: tuple[Literal["intended_s", "sent_s", "first_s", "last_s", "end_s"], ...] = (
    "intended_s",
    "sent_s",
    "first_s",
    "last_s",
    "end_s",
)
"""Columns of the traces that are readings of a clock."""


class ProcessFiles:
    """The directory in which all processes of a run keep their files; ``process`` is the name of this one.

    Files only grow: each test adds what it has changed, and each reading continues where the last one ended.
    """

    def __init__(self, directory: Path, process: str) -> None:
        self._directory = directory
        self._process = process
        self._kept: dict[str, list[tuple[Any, str]]] = {}
        """By key, what this process kept last with its JSON: each entry of a list, or the one value."""
        self._torn = False
        """The last line of the facts may be half a line."""
        self._read: dict[Path, _FactsOfProcess] = {}

    def keep_facts(self, facts: Mapping[str, object]) -> None:
        """Keep ``facts`` in place of what this process kept before. ``OSError``.

        An entry that is the same object as before is not encoded anew: it must not have changed.
        """
        lines = []
        for key, value in facts.items():
            entries = value if isinstance(value, list) else [value]
            known = self._kept.get(key)
            kept, changed = [], {}
            for at, entry in enumerate(entries):
                before = known[at] if known and at < len(known) else None
                same = before is not None and before[0] is entry
                text = before[1] if before is not None and same else json.dumps(entry, allow_nan=False)
                kept.append((entry, text))
                if before is None or before[1] != text:
                    changed[at] = text
            if known is None or changed or len(kept) != len(known):
                inner = ", ".join(f'"{at}": {text}' for at, text in changed.items())
                count = len(kept) if isinstance(value, list) else "null"
                lines.append(f'{{"key": {json.dumps(key)}, "count": {count}, "changed": {{{inner}}}}}\n')
            self._kept[key] = kept
        if self._torn:
            lines.insert(0, "\n")
        self._torn = True
        try:
            self._append("facts", lines)
        except OSError:
            self._kept.clear()
            raise
        self._torn = False

    def keep_rows(self, table: TableSchema[Any], rows: Iterable[Mapping[str, object]]) -> None:
        """Behind those that this process kept before. ``OSError``."""
        self._append(table.name, (json.dumps(row) + "\n" for row in rows))

    def _append(self, name: str, lines: Iterable[str]) -> None:
        self._directory.mkdir(exist_ok=True)
        with (self._directory / f"{self._process}.{name}.jsonl").open("a", encoding="ascii") as file:
            file.writelines(lines)

    def facts(self) -> dict[str, Json]:
        """The facts of all processes: single values are the same everywhere, and lists are concatenated.

        Two workers share one server, and may have asked it the same questions: of these the longer list counts.
        """
        files = sorted(self._directory.glob("*.facts.jsonl"))
        return joined(self._read.setdefault(file, _FactsOfProcess()).read(file) for file in files)

    def answers(self) -> Iterator[AnswerRow]:
        """Answers of all processes; those of one model to one task come from the process that has the most of them."""
        counts = Counter((_asked(row), file) for file, row in self._rows(ANSWERS))
        most: dict[tuple[object, ...], Path] = {}
        for (asked, file), count in counts.items():
            if asked not in most or count > counts[asked, most[asked]]:
                most[asked] = file
        return (row for file, row in self._rows(ANSWERS) if most[_asked(row)] == file)

    def tokens(self) -> Iterator[TokenRow]:
        """The scores of each answer by each model, from the first process that has them."""
        known: dict[tuple[str, ...], Path] = {}
        for file, row in self._rows(TOKENS):
            key = (row["row"], row["baseline"], row["task"], row["sampling"], row["look"], row["item"])
            if known.setdefault(key, file) == file:
                yield row

    def traces(self) -> Iterator[TraceRow]:
        """Traces of all processes, on the machine's monotonic clock; the first request of the run is at second 0."""
        zero = min((row["intended_s"] for _, row in self._rows(TRACES)), default=0.0)
        for _, row in self._rows(TRACES):
            for name in _CLOCK:
                if (time_s := row[name]) is not None:
                    row[name] = time_s - zero
            yield row

    def _rows(self, table: TableSchema[R]) -> Iterator[tuple[Path, R]]:
        for file in sorted(self._directory.glob(f"*.{table.name}.jsonl")):
            with file.open(encoding="ascii") as lines:
                # A process that was killed while it wrote has reported no verdict either.
                yield from ((file, json.loads(line)) for line in lines if line.endswith("\n"))


class _Change(TypedDict):
    """A line of a process's facts: what has changed at one key."""

    key: str
    count: int | None
    """Number of entries of the list; None: the value is none."""
    changed: dict[str, Json]
    """By the entry's number; ``0`` of a value that is no list."""


@dataclass
class _FactsOfProcess:
    """The facts of one process as far as they were read."""

    facts: dict[str, Json] = field(default_factory=dict)
    offset: int = 0

    def read(self, file: Path) -> JsonObject:
        """Read what was added to ``file``, and return all facts."""
        with file.open("rb") as lines:
            lines.seek(self.offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # Still being written, or cut off by the death of the process.
                self.offset += len(line)
                with contextlib.suppress(ValueError):  # Half a line, left by a full disk.
                    self._apply(json.loads(line))
        return self.facts

    def _apply(self, change: _Change) -> None:
        key, count, changed = change["key"], change["count"], change["changed"]
        if count is None:
            self.facts[key] = changed["0"]
            return
        before = list_of(self.facts.get(key))
        self.facts[key] = [changed[str(at)] if str(at) in changed else before[at] for at in range(count)]


def joined(parts: Iterable[JsonObject]) -> dict[str, Json]:
    """Return the facts of several processes, or of the shards of a run, as those of one run.

    Single values are those of the first that has them, and lists are concatenated, each entry once. Of several entries
    about the same question the longest counts.
    """
    together: dict[str, Json] = {}
    lists: dict[str, dict[str, JsonObject]] = {}
    for facts in parts:
        for key, value in facts.items():
            if isinstance(value, list):
                together.setdefault(key, ())  # keeps the order of the keys
                entries = lists.setdefault(key, {})
                for entry in value:
                    entries.setdefault(json.dumps(entry, sort_keys=True), entry)
            else:
                together.setdefault(key, value)
    every = {key: [*entries.values()] for key, entries in lists.items()}
    for key, select in _SELECT.items():
        if key in every:
            every[key] = select(every[key])
    return together | every


def _first_of_each(entries: Iterable[JsonObject], *keys: str) -> list[JsonObject]:
    found: dict[tuple[Json, ...], JsonObject] = {}
    for entry in entries:
        found.setdefault(tuple(entry[key] for key in keys), entry)
    return list(found.values())


def _largest_of_each(entries: Iterable[JsonObject], size: str) -> list[JsonObject]:
    """For each model, task and variant, the entry with the greatest ``size``."""
    by_size = sorted(entries, key=lambda entry: finite(entry[size]) or 0.0)
    return list({_asked(entry): entry for entry in by_size}.values())


_SELECT: Mapping[str, Callable[[list[JsonObject]], list[JsonObject]]] = {
    "servers": lambda entries: _first_of_each(entries, "row"),
    "answers": lambda entries: _largest_of_each(entries, "items"),
    "prompts": lambda entries: _largest_of_each(entries, "count"),
    "sampling": lambda entries: _first_of_each(entries, "row", "what"),
}
"""By key of the facts, how entries of several processes about the same thing become one."""


def _asked(of: Mapping[str, object]) -> tuple[object, ...]:
    return of["row"], of["task"], of["variant"]
