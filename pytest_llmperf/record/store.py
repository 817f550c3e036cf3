"""The files of a run, each whole or not there at all: the record (JSON), and its data beside it."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.home import shown
from pytest_llmperf.record.redaction import redact, redact_values
from pytest_llmperf.record.validity import first_problem

SCHEMA = "llmperf-record/1"


class RecordNotWritten(LlmperfError):
    """The record could not be stored; the run's verdict stands, but nobody can look it up."""


def write_record(path: Path, record: Mapping[str, Any], *, checked: bool = True) -> None:
    """Write ``record`` to ``path`` atomically: a reader sees the old file or the new one, never a part.

    Raises :class:`RecordNotWritten` with the cause (no space, no permission, no such directory); whatever was
    at ``path`` before is untouched then. One that does not fit the schema, because somebody's hook has put something
    else into it, is kept at ``PATH.invalid``. ``checked`` is false for what is only kept until the run ends.
    """
    record = redact_values({"schema": SCHEMA, **record})
    text = json.dumps(record, indent=1 if checked else None, ensure_ascii=False, allow_nan=False) + "\n"
    if checked and (problem := first_problem(record)):
        invalid = path.with_name(f"{path.name}.invalid")
        write_whole(invalid, text)
        raise RecordNotWritten(
            f"the record was not written to {shown(path)}: {problem}; it is kept as {invalid.name}"
        )
    write_whole(path, text, durable=checked)


def write_whole(path: Path, text: str, *, durable: bool = True) -> None:
    """Write ``text`` to ``path`` as :func:`write_record` does, :func:`clean`.

    ``durable``: also a machine that loses its power has the file.
    """
    data = clean(text).encode()

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_file(path, write, f"{len(data):,} bytes needed", durable=durable)


def write_file(path: Path, write: Callable[[Path], None], needs: str = "", *, durable: bool = True) -> None:
    """Let ``write`` make a file that takes the place of ``path`` once it is whole and on the disk.

    Raises :class:`RecordNotWritten` as :func:`write_record` does, with what the file ``needs``.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        # A temporary file is its owner's alone; a record is made like any other file.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise RecordNotWritten(
            f"the record was not written to {shown(path)}: {_reason(error, path, needs)}"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _reason(error: OSError, path: Path, needs: str) -> str:
    """Why ``path`` could not be written and what to do; ``needs`` is how much space the file takes."""
    reason = error.strerror or str(error)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        in_the_way = next((parent for parent in path.parents if parent.exists()), path.parent)
        return f"{shown(in_the_way)} is a file, not a directory; choose another --llmperf-record"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        size = f" ({needs})" if needs else ""
        return f"{reason}{size}; free space there or choose another --llmperf-record"
    return f"{reason}; choose another --llmperf-record"


def clean(text: str) -> str:
    """What may be written of ``text``: no secrets, and nothing that UTF-8 cannot hold. A model may say anything."""
    return redact(sound(text))


def sound(text: str) -> str:
    """``text`` as UTF-8 can hold it: halves of surrogate pairs are joined, and the lone ones become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _umask() -> int:
    """What this process takes from the rights of new files; there is no way to ask without setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def read_record(path: Path) -> dict[str, Any]:
    """The record at ``path``.

    Raises :class:`LlmperfError`, one line, if it is not a record, one of another schema, or one that does not fit its
    schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LlmperfError(f"{shown(path)} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise LlmperfError(f"{shown(path)} is not a record of a run: {error}") from error
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise LlmperfError(f"{shown(path)}: schema is {schema!r}, this version reads {SCHEMA!r}")
    if problem := first_problem(record):
        raise LlmperfError(f"{shown(path)} is not a record of schema {SCHEMA}: {problem}")
    return dict(record)
