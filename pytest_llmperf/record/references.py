"""References: records that a person promoted, in a directory of the suite's own repository.

Each has a directory of its own, named after profile, device and entries, with its answers beside the record. A run
never becomes a reference by being the last one.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.record.store import read_record, write_record

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Record

RECORD = "record.json"


@dataclass(frozen=True)
class Reference:
    path: Path
    record: Record

    @property
    def date(self) -> str:
        """When it was promoted, ISO 8601; empty if that is not recorded."""
        promoted = self.record.promoted
        return (promoted and promoted.date) or ""

    def __str__(self) -> str:
        promoted = self.record.promoted
        note = f" ({promoted.note})" if promoted and promoted.note else ""
        return f"{self.path.parent.name} of {self.date[:10] or '?'}{note}"


def key_of(record: Record) -> str:
    """Profile, device and entries; then eight digits that depend on engine, arguments, data and suite."""
    servers = sorted((server.row, server.engine, server.arguments) for server in record.servers)
    data = sorted((*entry.key, entry.data) for entry in record.answers)
    rest = json.dumps([servers, data, record.suite.sha256], default=str)
    return f"{_about(record)}-{hashlib.sha256(rest.encode()).hexdigest()[:8]}"


def identity(record: Record) -> str:
    """Identity of the run that this record, or a promoted copy of it, describes."""
    if record.id:
        return record.id
    # Records made before this key: what a copy takes over distinguishes them.
    fields = record.as_json()
    kept = json.dumps([fields.get(key) for key in ("written", "verdicts", "metrics")], sort_keys=True)
    return hashlib.sha256(kept.encode()).hexdigest()


def promote(
    source: Path, directory: Path, note: str = "", *, waived: bool = False, force: bool = False
) -> Path:
    """Make the record at ``source`` a reference in ``directory``; return the path of its copy.

    A reference of the same key is replaced. ``force`` promotes a record that is partial, not green or green by a
    waiver, ``waived`` only the last; the note then says what was passed over. Raises :class:`UsageError` for such a
    record without them, for one of several shards and for one that has no verdict, and
    :class:`LlmperfError` for a file that is no record.
    """
    record = read_record(source)
    if record.shard is not None and record.shard.of > 1:
        raise UsageError(
            f"{source}: not promoted, it is shard {record.shard.number} of {record.shard.of}; promote the record of "
            "`pytest-llmperf merge`"
        )
    if not record.verdicts:
        raise UsageError(f"{source}: not promoted, the record has no verdict")
    passed_over = []
    if record.partial:
        passed_over.append(f"the record is partial ({record.partial})")
    if why := _why_not_green(record):
        passed_over.append(f"the run was not green ({why})")
    if passed_over and not force:
        raise UsageError(
            f"{source}: not promoted, {passed_over[0]}, which later runs would be compared with; "
            "--force promotes it all the same"
        )
    if (let_through := record.outcome.waived) and not (waived or force):
        raise UsageError(
            f"{source}: not promoted, a waiver lets {plural(let_through, 'verdict')} of it through, which later runs "
            "would be compared with; --waived promotes it all the same"
        )
    if let_through:
        passed_over.append(f"{let_through} waived")
    note = "; ".join(filter(None, [note, *passed_over]))
    target = _place_of(record, directory)
    promoted = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "note": note}
    target.parent.mkdir(parents=True, exist_ok=True)
    if record.answers_file and record.answers_file.count:
        answers = source.with_name(Path(record.answers_file.file).name)
        if not answers.is_file():
            raise UsageError(f"{answers}: not promoted, the record's answers are not beside it")
        # It keeps the name by which the record refers to it.
        shutil.copyfile(answers, target.with_name(answers.name))
    # A comparison needs neither gate data nor traces, and a repository should not carry them.
    kept = {key: value for key, value in record.as_json().items() if key not in ("cases", "traces_file")}
    write_record(target, kept | {"promoted": promoted})
    return target


def replaced_by(source: Path, directory: Path) -> str:
    """What :func:`promote` would replace in ``directory`` by the record at ``source``; empty if nothing.

    Raises :class:`LlmperfError` where ``source`` is no record. What is replaced may be unreadable, since a new record
    is how it is mended.
    """
    place = _place_of(read_record(source), directory)
    if not place.is_file():
        return ""
    try:
        return str(Reference(place, read_record(place)))
    except LlmperfError:
        return f"{place}, which could not be read"


def _place_of(record: Record, directory: Path) -> Path:
    return directory / key_of(record) / RECORD


def _why_not_green(record: Record) -> str:
    """Why the run was red by itself; empty if it was green, or red only compared with the old reference."""
    if record.run is None:
        return ""  # The record is older than this key.
    by_itself = record.run.model_copy(update={"failures": (), "green": record.run.green_by_itself})
    outcome = record.model_copy(update={"run": by_itself}).outcome
    return "" if outcome.green else outcome.why


def references(directory: Path) -> list[Reference]:
    """All references in ``directory``, the last promoted first; :class:`UsageError` for one that cannot be read."""
    found = []
    for path in sorted(directory.glob(f"*/{RECORD}")):
        try:
            found.append(Reference(path, read_record(path)))
        except LlmperfError as error:
            raise UsageError(str(error)) from error
    return sorted(found, key=lambda reference: reference.date, reverse=True)


def reference_for(record: Record, directory: Path) -> Reference | None:
    """The reference in ``directory`` to compare ``record`` with; raises as :func:`references` does."""
    return best_of(references(directory), record)


def best_of(found: Sequence[Reference], record: Record) -> Reference | None:
    """The reference of the same key; else the last one of the same profile, device and entries; None without one."""
    same = [reference for reference in found if _about(reference.record) == _about(record)]
    exact = [reference for reference in same if key_of(reference.record) == key_of(record)]
    return next(iter(exact or same), None)


def _about(record: Record) -> str:
    entries = f"{'+'.join(record.candidates)} vs {record.baseline}"
    parts = (record.profile, record.device.name, entries)
    return "-".join(re.sub(r"[^A-Za-z0-9@.+]+", "-", str(part)).strip("-") for part in parts)
