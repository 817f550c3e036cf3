"""Reads the rows of a file: JSON lines, a JSON array or Parquet, with or without gzip. Errors fit on one line."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import DataError
from pytest_llmperf.parquet_reading import read_parquet
from pytest_llmperf.tasks.file_kinds import kind_of, shape_of

Row = Mapping[str, Any]

_LINE_END = re.compile(rb"\r\n|\n|\r")
_SHOWN = 40
"""Characters of a damaged row that a message shows."""


def read_rows(file: Path, *, sha256: str | None, fetch: str) -> list[Row]:
    """All rows of ``file``, read as its name says: ``.parquet``, ``.json``, else JSON lines; with ``.gz``, unpacked.

    Skips byte order marks in UTF-8 text. Raises :class:`DataError` with the file, the row and the reason; if another
    copy of the file would help, also with the command ``fetch``.
    """
    data = _read(file, sha256, fetch)
    name = file.name.lower()
    if name.endswith(".gz"):
        name = name.removesuffix(".gz")
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            if not data.startswith(b"\x1f\x8b"):
                _refuse_other_kinds(file, data, fetch)
            raise DataError(f"{file}: not gzip: {error}; fetch it with: {fetch}") from None
    if name.endswith(".parquet"):
        return _parquet_rows(file, data, fetch)
    data = data.removeprefix(codecs.BOM_UTF8)
    if not data.strip():
        raise DataError(f"{file}: is empty; fetch it with: {fetch}")
    if name.endswith(".json") and data.lstrip()[:1] == b"[":
        return _array_rows(file, data)
    try:
        return _lines(file, data)
    except DataError:
        _refuse_other_kinds(file, data, fetch)
        if (shape := shape_of(data)) is not None:
            raise DataError(f"{file}: is {shape}") from None
        raise


def _refuse_other_kinds(file: Path, data: bytes, fetch: str) -> None:
    """Raise :class:`DataError` if ``data`` is recognised as something that cannot hold rows."""
    if (kind := kind_of(data)) is not None:
        raise DataError(f"{file}: is {kind}; fetch it with: {fetch}")


def _read(file: Path, sha256: str | None, fetch: str) -> bytes:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; fetch it with: {fetch}") from None
    except IsADirectoryError:
        raise DataError(f"{file}: is a directory, needs a file; fetch it with: {fetch}") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    if not data.strip():
        raise DataError(f"{file}: is empty; fetch it with: {fetch}")
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        if not file.name.endswith((".gz", ".parquet")):
            _refuse_other_kinds(file, data, fetch)
        raise DataError(
            f"{file}: is not the pinned file: sha256 {found}, needs {sha256}; fetch it with: {fetch}"
        )
    return data


def _lines(file: Path, data: bytes) -> list[Row]:
    rows: list[Row] = []
    # Not splitlines(), which also splits at U+2028 inside a JSON string.
    for number, line in enumerate(_LINE_END.split(data), start=1):
        # A mark stands in the middle where files with marks were put together.
        line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: row {number}: not UTF-8 at byte {error.start} of the row") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}: row {number}: not JSON: {error}; {_beginning(line)}") from None
        rows.append(_object(file, number, row))
    return rows


def _beginning(line: bytes) -> str:
    """The first characters of a row, which tell an error message of a download from a damaged row."""
    text = line.decode("utf-8").strip()
    return f"the row is {text!r}" if len(text) <= _SHOWN else f"the row begins with {text[:_SHOWN]!r}"


def _array_rows(file: Path, data: bytes) -> list[Row]:
    try:
        found = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}: line {line}: not UTF-8 at byte {error.start} of the file") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON: {error}") from None
    if not found:
        raise DataError(f"{file}: is an empty array")
    return [_object(file, number, row) for number, row in enumerate(found, start=1)]


def _object(file: Path, number: int, row: Any) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{file}: row {number}: needs a JSON object, not {type(row).__name__}")
    return row


def _parquet_rows(file: Path, data: bytes, fetch: str) -> list[Row]:
    try:
        rows: list[Row] = list(read_parquet(data))
    except ImportError as error:
        raise DataError(f"{file}: pyarrow can't be imported ({error}); pip install pyarrow") from error
    except (OSError, ValueError) as error:  # pyarrow's own errors are among them
        if not data.startswith(b"PAR1"):
            _refuse_other_kinds(file, data, fetch)
            if data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] in (b"{", b"["):
                raise DataError(
                    f"{file}: is JSON, not Parquet: give it a name that ends in .jsonl (one object a line) or .json"
                ) from None
        raise DataError(f"{file}: not Parquet: {' '.join(str(error).split())[:160]}") from None
    if not rows:
        raise DataError(f"{file}: has no rows")
    return rows
