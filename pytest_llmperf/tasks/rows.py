"""Reads the rows of a file: JSON lines, a JSON array or Parquet, with or without gzip. Errors fit on one line.

Downloads fail in a few typical ways that a JSON parser cannot explain: a Git LFS pointer instead of the file, an HTML
page about the file, a CSV export, an archive. These are recognised by their first bytes.
"""

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


_LOOKED_AT = 1 << 16
"""Bytes at the beginning of a file that are looked at."""
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "Parquet: give it a name that ends in .parquet"),
    (b"ARROW1", "an Arrow file: convert it to Parquet or JSON lines"),
    (b"\xff\xff\xff\xff", "an Arrow stream: convert it to Parquet or JSON lines"),
    (b"\x1f\x8b", "gzip: give it a name that ends in .gz (.jsonl.gz, .json.gz)"),
    (b"PK\x03\x04", "a zip archive (so are .xlsx and .npz): unpack it, or export it as JSON lines"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it with zstd -d"),
    (b"BZh", "compressed with bzip2: unpack it with bunzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz: unpack it with unxz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"SQLite format 3\x00", "an SQLite database: export the table as JSON lines"),
    (b"\x89HDF\r\n", "an HDF5 file: export it as JSON lines"),
    (b"\x93NUMPY", "a NumPy array: export it as JSON lines"),
    (b"%PDF", "a PDF document"),
    (b"Obj\x01", "an Avro file: export it as JSON lines"),
)
_ENCODINGS: tuple[tuple[bytes, str], ...] = (
    # UTF-32 first: its mark for little-endian text begins as that of UTF-16 does.
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_LFS_POINTER = re.compile(rb"\s*version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/")
_ANNEX_POINTER = re.compile(rb"\s*(?:\.\./)*(?:/annex/objects/|\.git/annex/objects/)")
_MARKUP = re.compile(rb"\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_ARRAY_OF_OBJECTS = re.compile(rb"\[\s*\{")
_PYTHON_DICT = re.compile(rb"\s*\{\s*'[^'\n]*'\s*:")
_CONFLICT = re.compile(rb"<{7} .*\n")
_YAML = re.compile(rb"\s*(?:---\s*\n|- [A-Za-z_]+:\s)")


def kind_of(data: bytes) -> str | None:
    """The kind of ``data`` and how to fix it, to follow "is …" in a message; None if it may be JSON or is unknown."""
    head = data[:_LOOKED_AT]
    for mark, name in _ENCODINGS:
        if head.startswith(mark):
            return f"{name} text: save it as UTF-8"
    for mark, name in _SIGNATURES:
        if head.startswith(mark):
            return name
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and len(head) > 1:
        return "a Python pickle: export it as JSON lines"
    if b"\0" in head:
        if not head.rstrip(b"\0"):
            return "nothing but NUL bytes, as an interrupted download or copy leaves them"
        # Letters of UTF-16 text have a NUL byte in one half of each pair only.
        halves = head[: len(head) // 2 * 2]
        even, odd = halves[::2].count(0), halves[1::2].count(0)
        if max(even, odd) > len(halves) // 4 and 4 * min(even, odd) <= max(even, odd):
            return "UTF-16 text: save it as UTF-8"
        if b"\0" not in head.rstrip(b"\0"):
            return "filled up with NUL bytes, as an interrupted download or copy leaves them"
        return "a binary file, not text: export it as JSON lines"
    text = head.removeprefix(codecs.BOM_UTF8)
    if _LFS_POINTER.match(text):
        return "a Git LFS pointer, not the file itself: run git lfs pull there, or download the file"
    if _ANNEX_POINTER.match(text):
        return "a git-annex pointer, not the file itself: run git annex get"
    if _MARKUP.match(text):
        return "an HTML page, not data (often one about the file, or a login): download the raw file"
    if text.lstrip().startswith(b"<?xml"):
        return "XML: export it as JSON lines"
    return None


def shape_of(data: bytes) -> str | None:
    """The form of text that is not JSON lines and how to fix it, to follow "is …"; None if it looks like JSON lines."""
    text = data.removeprefix(codecs.BOM_UTF8).lstrip()
    first = text[:1]
    if _ARRAY_OF_OBJECTS.match(text):
        return "a JSON array, not one object a line: give it a name that ends in .json, or write one object a line"
    if first == b"[":
        return _arrays(text)
    if first == b"{":
        if _PYTHON_DICT.match(text[:_LOOKED_AT]):
            return "in Python's notation (single quotes), not JSON: write each row with json.dumps"
        return _one_object(text)
    if _YAML.match(text[:_LOOKED_AT]):
        return "YAML: write one JSON object a line"
    if first == b"\x1e":
        return "a JSON text sequence (RFC 7464): remove the separators U+001E, one object a line"
    if _CONFLICT.match(text):
        return "in the middle of a git merge: resolve the conflict"
    if b'{"' in text.split(b"\n", 1)[0]:
        return None
    return _table(text[:_LOOKED_AT])


def _arrays(text: bytes) -> str | None:
    """For text that begins with ``[``: rows without field names, as some tools write a table."""
    try:
        row = json.loads(text.split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        return None
    return "lines of JSON arrays without names: write one object a line, {…}" if row else None


def _one_object(text: bytes) -> str | None:
    """For text that begins with ``{``: one object or several that are not on lines of their own."""
    first_line = text.split(b"\n", 1)[0]
    try:
        json.loads(first_line)
        return None
    except (ValueError, RecursionError):
        pass
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return _several_objects(text)
    lists = [name for name, value in whole.items() if isinstance(value, list)]
    rows = f" (its rows may be in {lists[0]!r})" if lists else ""
    return f"one JSON object over several lines{rows}: write one object a line"


def _several_objects(text: bytes) -> str | None:
    try:
        decoded = text.decode("utf-8")
        _, end = json.JSONDecoder().raw_decode(decoded)
    except (ValueError, RecursionError):
        return None
    rest = decoded[end:].lstrip()
    if rest[:1] not in ("{", ","):
        return None
    if "\n" in decoded[:end]:
        return "JSON objects over several lines each: write one object a line"
    if rest[:1] == ",":
        return "JSON objects with commas between them: remove the commas, one object a line"
    return "several JSON objects on one line: write one object a line"


def _table(text: bytes) -> str | None:
    """A table as text, if each of the first lines has the same separator."""
    lines = [line for line in text.split(b"\n")[:3] if line.strip()]
    if len(lines) < 2:  # a sentence, such as a server's error message in place of the file
        return None
    for separator, name in (
        (b"\t", "TSV (tab-separated)"),
        (b",", "CSV (comma-separated)"),
        (b";", "CSV (with ;)"),
        (b"|", "CSV (with |)"),
    ):
        if all(separator in line for line in lines):
            return f"{name}: write one JSON object a line, or Parquet (pandas: read_csv and to_parquet)"
    return None
