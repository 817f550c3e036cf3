"""The data of a run's gates in a file beside its record: too many for the record, and only proofs read them.

Every process of a run (xdist has several) writes down its own gates as their tests end; the one that writes the
record puts them together, in the order of the tests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.estimand import Gate, gate_from_json
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.record.redaction import clean, redact_values
from pytest_llmperf.record.sidecar import AGAIN, read_sidecar
from pytest_llmperf.record.store import write_whole

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Record


@dataclass(frozen=True)
class KeptCase:
    """A gate that was asserted: in which test (its node id), what came of it, and its data."""

    test: str
    status: Status
    case: Gate


def keep(file: Path, order: int, attempt: int, kept: KeptCase) -> None:
    """Add ``kept`` to what this process has in ``file``. ``OSError``.

    ``order`` is the place of its test in the run, ``attempt`` counts the tries of the test: only the gates of the last
    one are gathered.
    """
    fields = {"test": kept.test, "status": kept.status.value, "case": kept.case.to_json()}
    line = json.dumps(redact_values(fields), allow_nan=False)
    file.parent.mkdir(exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(f"{order} {attempt} {line}\n")


def gathered(directory: Path) -> list[str]:
    """What all processes have kept there, one JSON text each, in the order of the run."""
    found: list[tuple[int, int, str]] = []
    for file in sorted(directory.glob("*.jsonl")):
        # A process that was killed while it wrote has told of no verdict either.
        *whole, _cut_off = file.read_text(encoding="utf-8").split("\n")
        found += [
            (int(order), int(attempt), text)
            for order, attempt, text in (line.split(" ", 2) for line in whole)
        ]
    last: dict[int, int] = {}
    for order, attempt, _ in found:
        last[order] = max(attempt, last.get(order, 0))
    kept = [(order, text) for order, attempt, text in found if attempt == last[order]]
    return [text for _, text in sorted(kept, key=lambda one: one[0])]


def store_cases(record: Path, lines: Sequence[str]) -> dict[str, Any]:
    """Write the file beside ``record``, whole, if there is a gate; what the record is to say. ``RecordNotWritten``."""
    path = record.with_name(f"{record.stem}.cases.jsonl")
    text = clean("".join(f"{line}\n" for line in lines))
    if lines:
        write_whole(path, text)
    return {"file": path.name, "sha256": hashlib.sha256(text.encode()).hexdigest(), "count": len(lines)}


def load_cases(path: Path, record: Record) -> list[KeptCase]:
    """The gates of ``record``, which was read from ``path``.

    Raises :class:`UsageError`, one line, if the file is missing, is not the one that the record was written with, or
    holds no gate.
    """
    about = record.cases
    if about is None:
        why = f"{record.partial}, before the data of its gates were written" if record.partial else ""
        raise UsageError(f"{path}: {why or 'this record keeps no data of its gates'}; {AGAIN}")
    if not about.count:
        raise UsageError(f"{path}: no gate was judged in this run, there is nothing to prove")
    beside, data = read_sidecar(path, about, "the data of the record's gates", "data")
    try:
        return [_kept(json.loads(line)) for line in data.decode("utf-8").split("\n") if line]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{beside}: a gate in it cannot be read by this version ({error!r}); {AGAIN}"
        ) from error


def _kept(fields: Mapping[str, Any]) -> KeptCase:
    return KeptCase(str(fields["test"]), Status(fields["status"]), gate_from_json(fields["case"]))
