"""The data of a run's gates, in a table beside its record: they are large, and few readers need them.

Each process of a run (xdist has several) keeps the gates of a test when the test ends. The process that writes the
record puts them together, in the order of the tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.base import Gate, gate_from_json
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.json_values import Json
from pytest_llmperf.record.redaction import redact_values
from pytest_llmperf.record.sidecar import AGAIN
from pytest_llmperf.record.tables import CASES, load_table, store_table

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Record


@dataclass(frozen=True)
class RecordedGate:
    """A gate that was asserted: its test (node id), the status of its verdict, and its data."""

    test: str
    status: Status
    gate: Gate


def keep(file: Path, order: int, attempt: int, kept: RecordedGate) -> None:
    """Add ``kept`` to the gates of this process in ``file``. ``OSError``.

    ``order`` is the place of its test in the run, ``attempt`` counts the tries of the test: only the gates of the last
    try are gathered.
    """
    fields = {"test": kept.test, "status": kept.status.value, "case": kept.gate.to_json()}
    line = json.dumps(redact_values(fields), allow_nan=False)
    file.parent.mkdir(exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(f"{order} {attempt} {line}\n")


def gathered(directory: Path) -> list[str]:
    """Return the gates of all processes as JSON texts, in the order of the run."""
    found: list[tuple[int, int, str]] = []
    for file in sorted(directory.glob("*.jsonl")):
        # A process that was killed while it wrote has reported no verdict either.
        *whole, _cut_off = file.read_text(encoding="utf-8").split("\n")
        found += [
            (int(order), int(attempt), text)
            for order, attempt, text in (line.split(" ", 2) for line in whole)
        ]
    last: dict[int, int] = {}
    for order, attempt, _ in found:
        last[order] = max(attempt, last.get(order, 0))
    kept = [(order, text) for order, attempt, text in found if attempt == last[order]]
    return [text for _, text in sorted(kept, key=lambda entry: entry[0])]


def store_gates(record: Path, lines: Sequence[str]) -> dict[str, Json]:
    """Write the table beside ``record``, if there is a gate; return its entry in the record. ``RecordNotWritten``."""
    gates = map(json.loads, lines)
    return store_table(record, CASES, (gate | {"case": json.dumps(gate["case"])} for gate in gates))


def load_gates(path: Path, record: Record) -> list[RecordedGate]:
    """Read the gates of ``record``, which was read from ``path``.

    Raises :class:`UsageError`, one line, if the file is missing, is not the one that the record was written with, or
    holds no gate.
    """
    about = record.cases
    if about is None:
        why = f"{record.partial}, before the data of its gates were written" if record.partial else ""
        raise UsageError(f"{path}: {why or 'this record keeps no data of its gates'}; {AGAIN}")
    if not about.count:
        raise UsageError(f"{path}: no gate was judged in this run, there is nothing to test")
    try:
        return [
            RecordedGate(row["test"], Status(row["status"]), gate_from_json(json.loads(row["case"])))
            for row in load_table(path, about, CASES)
        ]
    except (KeyError, TypeError, ValueError) as error:
        where = path.with_name(Path(about.file).name)
        raise UsageError(
            f"{where}: a gate in it cannot be read by this version ({error!r}); {AGAIN}"
        ) from error
