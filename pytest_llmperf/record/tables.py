"""Every answer, timed request and scored token and the data of every gate of a run, in tables beside its record.

They are NAME.answers.parquet, NAME.traces.parquet, NAME.tokens.parquet and NAME.cases.parquet, compressed with zstd.
Where pyarrow (it comes with ``datasets``) cannot be imported, the same rows are in NAME.answers.jsonl.gz etc.; the
record names the files.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.errors import UsageError
from pytest_llmperf.load.metrics import request_metrics
from pytest_llmperf.parquet_reading import read_parquet
from pytest_llmperf.record.redaction import clean_parts, cleaner
from pytest_llmperf.record.sidecar import read_sidecar
from pytest_llmperf.record.store import write_file

if TYPE_CHECKING:
    import pyarrow

    from pytest_llmperf.record.model import Record, TableFile

_ROWS_AT_A_TIME = 1000
"""So many are in memory at once; a row may hold an answer of a megabyte."""


@dataclass(frozen=True)
class Table:
    """One kind of table: its name, the record's key for it, and its columns with their types (pyarrow's names)."""

    name: str
    key: str
    fixed: Mapping[str, str]
    metrics: bool = False
    """Also a column for every metric of requests."""
    content: str = ""
    """What the rows are, in messages; the name if empty."""
    pieces: tuple[str, str] | None = None
    """The column with the pieces of one text and the column with their ids. A secret may lie across several pieces:
    their texts are redacted together, and their ids become -1."""

    @property
    def columns(self) -> Mapping[str, str]:
        """All columns with their types."""
        if not self.metrics:
            return self.fixed
        kinds = {m.column: "list<double>" if m.many_per_request else "double" for m in request_metrics()}
        return {**self.fixed, **kinds}


ANSWERS = Table(
    "answers",
    "answers_file",
    {
        "row": "string",
        "task": "string",
        "variant": "string",
        "item": "string",
        "sample": "int32",
        "question": "string",
        "gold": "string",
        "reply": "string",
        "outcome": "string",
        "detail": "string",
        "answer": "string",
        "finish_reason": "string",
        "prompt_tokens": "int32",
        "completion_tokens": "int32",
        "seconds": "double",
        "seed": "int64",
    },
)
"""One row an answer. ``sample`` counts from 0 where an item was asked several times; ``reply`` has the thinking."""

TRACES = Table(
    "traces",
    "traces_file",
    {
        "row": "string",
        "kind": "string",
        "concurrency": "int32",
        "rate": "double",
        "start": "int32",
        "round": "int32",
        "index": "int32",
        "intended_s": "double",
        "sent_s": "double",
        "first_s": "double",
        "last_s": "double",
        "end_s": "double",
        "output_tokens": "int32",
        "outcome": "string",
        "error": "string",
    },
    metrics=True,
)
"""One row a timed request, with a column for every metric.

All times are seconds on one clock whose zero is the first request of the run."""

TOKENS = Table(
    "tokens",
    "tokens_file",
    {
        "row": "string",
        "baseline": "string",
        "task": "string",
        "sampling": "string",
        "look": "string",
        "item": "string",
        "prompt_tokens": "int32",
        "tokens": "list<int32>",
        "texts": "list<string>",
        "log_probabilities": "list<double>",
        "ranks": "list<int32>",
    },
    content="token scores",
    pieces=("texts", "tokens"),
)
"""One row an answer of the baseline and a model that scored it; the lists have a value for each token of the answer, or
are empty: ``tokens`` and ``texts`` where the server did not tell the texts, which could then not be redacted.

``look``: ``first`` (scored in batches), ``again`` (a second time, in other batches), ``alone`` (one answer at a time),
``decoded`` (as the server told it while it decoded), ``cold`` and ``warm`` (the same, without and with the prompt in
its prefix cache)."""

CASES = Table("cases", "cases", {"test": "string", "status": "string", "case": "string"}, content="gate data")
"""One row a gate that was asserted; ``case`` is the JSON of its data."""

_COMPRESSION_LEVEL = 9
"""Of zstd. Gate data of recorded runs are up to 13 % smaller than with the default of 3, and 4.4 to 5.3 times smaller
than their JSON where many items were asked."""


def store_table(record: Path, table: Table, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Write ``rows`` beside ``record``, whole; return their entry in the record. ``RecordNotWritten``.

    Without a row there is no file. ``ValueError`` for a row that has other columns than ``table``.
    """
    counted = _Counted(table, rows)
    batches = counted.batches()
    first = next(batches, None)
    suffixes = ("parquet", "jsonl.gz") if _pyarrow() else ("jsonl.gz", "parquet")
    path, other = (record.with_name(f"{record.stem}.{table.name}.{suffix}") for suffix in suffixes)
    # An earlier run's file must not be mistaken for one of this run.
    other.unlink(missing_ok=True)
    if first is None:
        path.unlink(missing_ok=True)
        return {"file": path.name, "sha256": hashlib.sha256().hexdigest(), "count": 0}

    def every() -> Iterator[list[dict[str, Any]]]:
        yield first
        yield from batches

    digest = hashlib.sha256()

    def write(temporary: Path) -> None:
        if path.suffix == ".parquet":
            _write_parquet(temporary, table, every())
        else:
            _write_lines(temporary, every())
        with temporary.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)

    write_file(path, write)
    return {"file": path.name, "sha256": digest.hexdigest(), "count": counted.count}


def load_answers(path: Path, record: Record) -> list[dict[str, Any]]:
    """The answers of the run whose ``record`` was read from ``path``; [] if it has none.

    Raises :class:`UsageError`, one line, if their file is missing or has another checksum than the record states.
    """
    return load_table(path, record.answers_file, ANSWERS)


def load_traces(path: Path, record: Record) -> list[dict[str, Any]]:
    """The timed requests, as :func:`load_answers` reads the answers."""
    return load_table(path, record.traces_file, TRACES)


def load_tokens(path: Path, record: Record) -> list[dict[str, Any]]:
    """The scores of the baseline's answers, as :func:`load_answers` reads the answers."""
    return load_table(path, record.tokens_file, TOKENS)


def load_table(path: Path, about: TableFile | None, table: Table) -> list[dict[str, Any]]:
    """The rows of the file ``about`` beside the record at ``path``; raises as :func:`load_answers` does."""
    if about is None or not about.count:
        return []
    beside, data = read_sidecar(path, about, table.content or table.name)
    if beside.suffix == ".gz":
        return [json.loads(line) for line in gzip.decompress(data).decode().split("\n") if line]
    try:
        return read_parquet(data)
    except ImportError:
        raise UsageError(f"{beside}: reading it needs pyarrow: pip install pyarrow") from None


@dataclass
class _Counted:
    """Rows as plain values that both formats can hold, some at a time."""

    table: Table
    rows: Iterable[Mapping[str, Any]]
    count: int = 0

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        rows = iter(self.rows)
        while several := list(islice(rows, _ROWS_AT_A_TIME)):
            clean = cleaner()
            self.count += len(several)
            yield [self._row(row, clean) for row in several]

    def _row(self, row: Mapping[str, Any], clean: Callable[[str], str]) -> dict[str, Any]:
        if row.keys() != self.table.columns.keys():
            differ = sorted(row.keys() ^ self.table.columns.keys())
            raise ValueError(f"a row of {self.table.name} has other columns than the table: {differ}")
        cleaned = {
            name: clean(row[name]) if isinstance(row[name], str) else row[name] for name in self.table.columns
        }
        if self.table.pieces is not None:
            texts, ids = self.table.pieces
            cleaned[texts] = clean_parts(row[texts], clean)
            places = zip(row[ids], row[texts], cleaned[texts], strict=True)
            cleaned[ids] = [known if now == was else -1 for known, was, now in places]
        return cleaned


def _write_lines(path: Path, batches: Iterable[list[dict[str, Any]]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=6) as lines:
        for batch in batches:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch)


def _write_parquet(path: Path, table: Table, batches: Iterable[list[dict[str, Any]]]) -> None:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(name, _arrow_type(kind)) for name, kind in table.columns.items()])
    with parquet.ParquetWriter(
        path, schema, compression="zstd", compression_level=_COMPRESSION_LEVEL
    ) as writer:
        for batch in batches:
            columns = [
                _arrow_array(kind, [row[name] for row in batch]) for name, kind in table.columns.items()
            ]
            writer.write_batch(pyarrow.RecordBatch.from_arrays(columns, schema=schema))


_ITEM = re.compile(r"list<(\w+)>")
_TYPE_CODES = {"int32": "i", "int64": "q", "double": "d"}
"""Of numbers, as the module ``array`` calls them."""


def _arrow_type(kind: str) -> pyarrow.DataType:
    import pyarrow

    if item := _ITEM.fullmatch(kind):
        return pyarrow.list_(_arrow_type(item[1]))
    return pyarrow.type_for_alias(kind)


def _arrow_array(kind: str, values: Sequence[Any]) -> pyarrow.Array:
    """The values of a column in Arrow's memory layout; None is null.

    ``pyarrow.array(values)`` would import pandas where it is installed, which takes half a second of processor time.
    Raises ``TypeError`` or ``OverflowError`` for a number that does not fit ``kind``.
    """
    from pyarrow import Array, py_buffer

    buffers, children = [None], []
    if None in values:
        bits = "".join(["0" if value is None else "1" for value in reversed(values)])
        buffers = [py_buffer(int(bits, 2).to_bytes(-(-len(bits) // 8), "little"))]
    if code := _TYPE_CODES.get(kind):
        buffers.append(py_buffer(array(code, [0 if value is None else value for value in values])))
    else:
        item = _ITEM.fullmatch(kind)
        parts = [b"" if value is None else value if item else value.encode() for value in values]
        buffers.append(py_buffer(array("i", accumulate(map(len, parts), initial=0))))
        if item:
            children.append(_arrow_array(item[1], [*chain.from_iterable(parts)]))
        else:
            buffers.append(py_buffer(b"".join(parts)))
    return Array.from_buffers(_arrow_type(kind), len(values), buffers, children=children)


def _pyarrow() -> bool:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True
