"""The files of a run, each whole or not there at all: the record (JSON), and its data beside it."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.home import shown
from pytest_llmperf.record import SCHEMA
from pytest_llmperf.record.by_identity import ByIdentity
from pytest_llmperf.record.redaction import Redactor, clean, redact_values, redactor, sound

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Record


class RecordNotWritten(LlmperfError):
    """The record could not be stored; the verdict of the run stands, but it cannot be looked up."""


def write_record(path: Path, fields: Mapping[str, object]) -> Record:
    """Write the record with ``fields`` to ``path`` atomically: a reader sees the old file or the new one, never a part.

    Raises :class:`RecordNotWritten` with the cause (no space, no permission, no such directory); whatever was at
    ``path`` before is untouched then. A record that does not fit its types, because a hook has changed it, is kept at
    ``PATH.invalid``.
    """
    from pytest_llmperf.record.model import Record

    text = _text_of(fields)
    try:
        record = Record.parse(text)
    except ValueError as problem:
        invalid = path.with_name(f"{path.name}.invalid")
        write_whole(invalid, text)
        raise RecordNotWritten(
            f"the record was not written to {shown(path)}: {problem}; it is kept as {invalid.name}"
        ) from problem
    write_whole(path, text)
    return record


class UnfinishedRecord:
    """The record at ``path`` until the run ends: written after every test, unchecked, not safe from a loss of power.

    A value, or an entry of a list, is redacted and encoded once as long as it stays the same object, so that the cost
    of a write is that of what is new. Whoever changes one makes another object.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._redactor: Redactor | None = None
        self._encoded = ByIdentity(_encoded)

    def write(self, fields: Mapping[str, object]) -> None:
        """Write the record with ``fields``. Raises :class:`RecordNotWritten` as :func:`write_record` does."""
        if (now := redactor()) is not self._redactor:
            # Another secret is known by now.
            self._redactor, self._encoded = now, ByIdentity(_encoded)
        parts = [
            f"{json.dumps(key)}: {self._text(value)}" for key, value in {"schema": SCHEMA, **fields}.items()
        ]
        data = f"{{{', '.join(parts)}}}\n".encode()
        write_file(
            self._path,
            lambda temporary: _write_bytes(temporary, data),
            f"{len(data):,} bytes needed",
            durable=False,
        )
        self._encoded.forget_unused()

    def _text(self, value: Any) -> str:
        if isinstance(value, list):
            return f"[{', '.join(map(self._encoded, value))}]"
        return self._encoded(value)


def _encoded(value: Any) -> str:
    """The JSON text of ``value``, redacted."""
    return sound(_json(redact_values(value)))


def _text_of(fields: Mapping[str, object]) -> str:
    """The JSON text of the record, redacted: a line for each value, and for each entry of a list.

    Encoding with an indent takes three times as long, since the standard library has it in Python only.
    """
    values = redact_values({"schema": SCHEMA, **fields})
    return sound(
        "{\n" + ",\n".join(f" {_json(key)}: {_lines(value)}" for key, value in values.items()) + "\n}\n"
    )


def _lines(value: Any) -> str:
    if not isinstance(value, list) or not any(isinstance(entry, dict) for entry in value):
        return _json(value)
    return "[\n" + ",\n".join(f"  {_json(entry)}" for entry in value) + "\n ]"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write_whole(path: Path, text: str, *, durable: bool = True) -> None:
    """Write ``text`` to ``path`` as :func:`write_record` does, :func:`clean`.

    ``durable``: also a machine that loses its power has the file.
    """
    data = clean(text).encode()
    write_file(path, lambda file: _write_bytes(file, data), f"{len(data):,} bytes needed", durable=durable)


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


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


def _umask() -> int:
    """The umask of this process; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def read_record(path: Path) -> Record:
    """Read the record at ``path``.

    Raises :class:`LlmperfError`, one line, if it is not a record, has another schema, or does not fit its schema.
    """
    from pytest_llmperf.record.model import Record

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LlmperfError(f"{shown(path)} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise LlmperfError(f"{shown(path)} is not a record of a run: {error}") from error
    try:
        return Record.parse(text)
    except ValueError:
        # Almost every record is parsed once: why one does not fit is found out here.
        return _read_again(path, text)


def _read_again(path: Path, text: str) -> Record:
    """Return the record that ``text`` is after all, or raise as :func:`read_record` does."""
    from pytest_llmperf.record.model import Record

    try:
        fields = json.loads(text)
    except ValueError as error:
        raise LlmperfError(f"{shown(path)} is not a record of a run: {error}") from error
    schema = fields.get("schema") if isinstance(fields, dict) else None
    if schema != SCHEMA:
        raise LlmperfError(f"{shown(path)}: schema is {schema!r}, this version reads {SCHEMA!r}")
    if "\\ud" in text.lower():
        # A parser of UTF-8 does not accept half a surrogate pair.
        text = sound(json.dumps(fields, ensure_ascii=False))
    try:
        return Record.parse(text)
    except ValueError as problem:
        raise LlmperfError(f"{shown(path)} is not a record of schema {SCHEMA}: {problem}") from problem
