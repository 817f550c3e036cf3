"""References: records that a person promoted, in a directory of the suite's own repository.

Each lies in a directory of its own, named for what it is a reference of, with its answers beside it. Nothing becomes a
reference by being the last run.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.record.store import read_record, write_record
from pytest_llmperf.record.tables import ANSWERS
from pytest_llmperf.record.wire import whole_run_of

RECORD = "record.json"


@dataclass(frozen=True)
class Reference:
    path: Path
    record: Mapping[str, Any]

    def __str__(self) -> str:
        promoted = self.record.get("promoted") or {}
        note = f" ({promoted['note']})" if promoted.get("note") else ""
        return f"{self.path.parent.name} of {str(promoted.get('date', ''))[:10] or '?'}{note}"


def key_of(record: Mapping[str, Any]) -> str:
    """What a reference is of: profile, device, rows; then eight digits of engine, arguments, data and suite."""
    servers = [(one["row"], one.get("engine"), one.get("arguments")) for one in record.get("servers", ())]
    data = [(one["row"], one["task"], one["variant"], one.get("data")) for one in record.get("answers", ())]
    rest = json.dumps([sorted(servers), sorted(data), record.get("suite", {}).get("sha256")], default=str)
    return f"{_about(record)}-{hashlib.sha256(rest.encode()).hexdigest()[:8]}"


def identity(record: Mapping[str, Any]) -> str:
    """Of which run this is the record, or a promoted copy of it. Two runs may end within one second."""
    if given := record.get("id"):
        return str(given)
    # A record may be older than this key: what a copy takes over tells them apart.
    kept = json.dumps([record.get(key) for key in ("written", "verdicts", "metrics")], sort_keys=True)
    return hashlib.sha256(kept.encode()).hexdigest()


def promote(source: Path, directory: Path, note: str = "") -> Path:
    """Make the record at ``source`` a reference in ``directory``; where its record lies now.

    One of the same key is replaced. Raises :class:`UsageError` for a record that is partial, has no verdict, or was not
    green by its own word, and :class:`LlmperfError` for what is no record.
    """
    record = read_record(source)
    if record.get("partial"):
        raise UsageError(f"{source}: not promoted, the record is partial ({record['partial']})")
    if not record.get("verdicts"):
        raise UsageError(f"{source}: not promoted, the record has no verdict")
    if (why := _why_not_green(record)) is not None:
        raise UsageError(f"{source}: not promoted, the run was not green ({why})")
    target = directory / key_of(record) / RECORD
    promoted = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "note": note}
    target.parent.mkdir(parents=True, exist_ok=True)
    about = record.get(ANSWERS.key) or {}
    if about.get("count"):
        beside = source.with_name(Path(str(about["file"])).name)
        if not beside.is_file():
            raise UsageError(f"{beside}: not promoted, the record's answers are not beside it")
        # Its name stays: it is what the record calls it.
        shutil.copyfile(beside, target.with_name(beside.name))
    # Of the rest a comparison needs nothing, and a repository should not carry it.
    kept = {key: value for key, value in record.items() if key not in ("schema", "cases", "traces_file")}
    write_record(target, kept | {"promoted": promoted})
    return target


def _why_not_green(record: Mapping[str, Any]) -> str | None:
    """Why the run was red by itself; a run that is red only beside the old reference may well become the new one.

    None as well for a record that is older than this word of its own.
    """
    about = record.get("run")
    if about is None:
        return None
    by_itself = {**record, "run": {**about, "failures": [], "green": about.get("green_by_itself", True)}}
    whole = whole_run_of(by_itself)
    return None if whole.green else whole.why


def references(directory: Path) -> list[Reference]:
    """All of ``directory``, the last promoted first. One that cannot be read is a :class:`UsageError`."""
    found = []
    for path in sorted(directory.glob(f"*/{RECORD}")):
        try:
            found.append(Reference(path, read_record(path)))
        except LlmperfError as error:
            raise UsageError(str(error)) from error
    return sorted(
        found, key=lambda one: str((one.record.get("promoted") or {}).get("date", "")), reverse=True
    )


def reference_for(record: Mapping[str, Any], directory: Path) -> Reference | None:
    """The one of ``directory`` to compare ``record`` with; raises as :func:`references` does."""
    return best_of(references(directory), record)


def best_of(found: Sequence[Reference], record: Mapping[str, Any]) -> Reference | None:
    """The reference of the same key; else the last one of the same profile, device and rows; None without one."""
    of_same = [one for one in found if _about(one.record) == _about(record)]
    exact = [one for one in of_same if key_of(one.record) == key_of(record)]
    return next(iter(exact or of_same), None)


def _about(record: Mapping[str, Any]) -> str:
    rows = "+".join(map(str, record.get("candidates", ())))
    parts = (
        record.get("profile"),
        record.get("device", {}).get("name"),
        f"{rows} vs {record.get('baseline')}",
    )
    return "-".join(re.sub(r"[^A-Za-z0-9@.+]+", "-", str(part)).strip("-") for part in parts)
