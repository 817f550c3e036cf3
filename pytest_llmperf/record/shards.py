"""Shards: what each process of a run (xdist has several) has measured so far, in files of its own.

Every process adds to its files as its tests end, so that a worker that crashes or is interrupted has told of all that
came before. The process that writes the record puts them together.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_llmperf.record.store import write_whole
from pytest_llmperf.record.tables import ANSWERS, TRACES, Table

_CLOCK = ("intended_s", "sent_s", "first_s", "last_s", "end_s")
"""Columns of the traces that are readings of a clock."""


class Shards:
    """The directory in which all processes of a run keep their shards; ``process`` is the name of this one."""

    def __init__(self, directory: Path, process: str) -> None:
        self._directory = directory
        self._process = process

    def keep_facts(self, facts: Mapping[str, Any]) -> None:
        """In place of what this process said before. Raises ``RecordNotWritten``."""
        write_whole(
            self._directory / f"{self._process}.facts.json", json.dumps(facts, allow_nan=False), durable=False
        )

    def keep_rows(self, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
        """Behind those that this process kept before. ``OSError``."""
        self._directory.mkdir(exist_ok=True)
        file = self._directory / f"{self._process}.{table.name}.jsonl"
        with file.open("a", encoding="ascii") as lines:
            lines.writelines(json.dumps(row) + "\n" for row in rows)

    def facts(self) -> dict[str, Any]:
        """Of all processes: what one value says is the same everywhere, and lists are put behind each other.

        Two workers share one server, and may have asked it the same questions: of these the longer list counts.
        """
        together: dict[str, Any] = {}
        for file in sorted(self._directory.glob("*.facts.json")):
            for key, value in json.loads(file.read_text(encoding="utf-8")).items():
                if isinstance(value, list):
                    together.setdefault(key, []).extend(
                        one for one in value if one not in together.get(key, ())
                    )
                else:
                    together.setdefault(key, value)
        if "servers" in together:
            together["servers"] = list({one["row"]: one for one in reversed(together["servers"])}.values())[
                ::-1
            ]
        if "answers" in together:
            by_size = sorted(together["answers"], key=lambda one: int(one["items"]))
            together["answers"] = list({_asked(one): one for one in by_size}.values())
        if "prompts" in together:
            by_size = sorted(together["prompts"], key=lambda one: int(one["count"]))
            together["prompts"] = list({_asked(one): one for one in by_size}.values())
        if "sampling" in together:
            by_row = {(one["row"], one["what"]): one for one in reversed(together["sampling"])}
            together["sampling"] = list(by_row.values())[::-1]
        return together

    def answers(self) -> Iterator[dict[str, Any]]:
        """Of all processes, those of one model to one task from the process that has the most of them."""
        counts = Counter((_asked(row), file) for file, row in self._rows(ANSWERS))
        most: dict[tuple[str, ...], Path] = {}
        for (asked, file), count in counts.items():
            if asked not in most or count > counts[asked, most[asked]]:
                most[asked] = file
        return (row for file, row in self._rows(ANSWERS) if most[_asked(row)] == file)

    def traces(self) -> Iterator[dict[str, Any]]:
        """Of all processes; the first request of the run is at second 0. They share the machine's monotonic clock."""
        zero = min((row["intended_s"] for _, row in self._rows(TRACES)), default=0.0)
        for _, row in self._rows(TRACES):
            yield row | {name: None if row[name] is None else row[name] - zero for name in _CLOCK}

    def _rows(self, table: Table) -> Iterator[tuple[Path, dict[str, Any]]]:
        for file in sorted(self._directory.glob(f"*.{table.name}.jsonl")):
            with file.open(encoding="ascii") as lines:
                # A process that was killed while it wrote has told of no verdict either.
                yield from ((file, json.loads(line)) for line in lines if line.endswith("\n"))


def _asked(of: Mapping[str, Any]) -> tuple[str, ...]:
    return of["row"], of["task"], of["variant"]
