"""The files of a run, each whole or not there at all: the record (JSON), and the data of its gates beside it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import LlmperfError

SCHEMA = "llmperf-record/1"


class RecordNotWritten(LlmperfError):
    """The record could not be stored; the run's verdict stands, but nobody can look it up."""


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write ``record`` to ``path`` atomically: a reader sees the old file or the new one, never a part.

    Raises :class:`RecordNotWritten` with the cause (no space, no permission, no such directory); whatever was
    at ``path`` before is untouched then.
    """
    write_whole(
        path, json.dumps({"schema": SCHEMA, **record}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    )


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as :func:`write_record` does."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise RecordNotWritten(
            f"the record was not written to {path}: {error.strerror or error} "
            f"({len(text.encode()):,} bytes needed); free space there or choose another --llmperf-record"
        ) from error


def read_record(path: Path) -> dict[str, Any]:
    """The record at ``path``.

    Raises :class:`LlmperfError` if it is not a record, or one of another schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LlmperfError(f"{path} is not a record of a run: {error}") from error
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise LlmperfError(f"{path}: schema is {schema!r}, this version reads {SCHEMA!r}")
    return dict(record)
