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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    TypedDict,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pytest_llmperf.errors import UsageError
from pytest_llmperf.json_values import Json
from pytest_llmperf.load.metrics import request_metrics
from pytest_llmperf.parquet_reading import read_parquet
from pytest_llmperf.record.redaction import Redactor, clean_all, clean_parts, cleaner, redactor
from pytest_llmperf.record.sidecar import read_sidecar
from pytest_llmperf.record.store import write_file

if TYPE_CHECKING:
    import pyarrow

    from pytest_llmperf.record.model import Record, TableFile

_ROWS_AT_A_TIME = 1000
"""So many are in memory at once; a row may hold an answer of a megabyte."""


class AnswerRow(TypedDict):
    """One answer. ``sample`` counts from 0 where an item was asked several times; ``reply`` has the thinking."""

    row: str
    task: str
    variant: str
    item: str
    sample: int
    question: str
    gold: str
    reply: str
    outcome: str
    detail: str
    answer: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    seed: Annotated[int | None, "int64"]


class TraceRow(TypedDict):
    """One timed request; the table also has a column for every metric of requests.

    All times are seconds on one clock whose zero is the first request of the run.
    """

    row: str
    kind: str
    concurrency: int | None
    rate: float | None
    start: int
    round: int
    index: int
    intended_s: float
    sent_s: float
    first_s: float | None
    last_s: float | None
    end_s: float
    output_tokens: int | None
    outcome: str
    error: str


class TokenRow(TypedDict):
    """One answer of the baseline and a model that scored it; the lists have a value for each token of the answer.

    ``tokens`` and ``texts`` are empty where the server did not tell the texts, which could then not be redacted.

    ``look``: ``first`` (scored in batches), ``again`` (a second time, in other batches), ``alone`` (one answer at a
    time), ``decoded`` (as the server told it while it decoded), ``cold`` and ``warm`` (the same, without and with the
    prompt in its prefix cache).
    """

    row: str
    baseline: str
    task: str
    sampling: str
    look: str
    item: str
    prompt_tokens: int
    tokens: list[int]
    texts: list[str]
    log_probabilities: list[float]
    ranks: list[int]


class CaseRow(TypedDict):
    """One gate that was asserted; ``case`` is the JSON of its data."""

    test: str
    status: str
    case: str


_Values = Mapping[str, object]
"""A row of any table, by column."""
Columns = Mapping[str, Sequence[Any]]
"""Some rows of a table, by column: a text that many rows have is searched for secrets once."""
R = TypeVar("R", bound=Mapping[str, object])

_COLUMN_TYPES = {
    str: "string", int: "int32", float: "double",
    list[int]: "list<int32>", list[str]: "list<string>", list[float]: "list<double>",
}  # fmt: skip
"""By type of a value in a row: type of the column, in pyarrow's names. Every column may hold null."""


@dataclass(frozen=True)
class TableSchema(Generic[R]):
    """One kind of table: its name, the record's key for it, and the type of its rows."""

    name: str
    key: str
    row: type[R]
    metrics: bool = False
    """Also a column for every metric of requests."""
    content: str = ""
    """Name of the rows in messages; ``name`` if empty."""
    pieces: tuple[str, str] | None = None
    """The column with the pieces of one text and the column with their ids. A secret may lie across several pieces:
    their texts are redacted together, and their ids become -1."""

    @property
    def columns(self) -> Mapping[str, str]:
        """All columns with their types, in pyarrow's names."""
        hints = get_type_hints(self.row, include_extras=True)
        columns = {name: _column_type(hint) for name, hint in hints.items()}
        if self.metrics:
            columns |= {
                m.column: "list<double>" if m.many_per_request else "double" for m in request_metrics()
            }
        return columns


def _column_type(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        return str(hint.__metadata__[0])
    inner = (
        [part for part in get_args(hint) if part is not type(None)] if isinstance(hint, UnionType) else [hint]
    )
    return _COLUMN_TYPES[inner[0]]


ANSWERS = TableSchema("answers", "answers_file", AnswerRow)
TRACES = TableSchema("traces", "traces_file", TraceRow, metrics=True)
TOKENS = TableSchema("tokens", "tokens_file", TokenRow, content="token scores", pieces=("texts", "tokens"))
CASES = TableSchema("cases", "cases", CaseRow, content="gate data")

_COMPRESSION_LEVEL = 9
"""Level of zstd. Gate data of recorded runs are up to 13 % smaller than with the default of 3, and 4.4 to 5.3 times
smaller than their JSON where many items were asked."""


def store_table(record: Path, table: TableSchema[Any], rows: Iterable[_Values]) -> dict[str, Json]:
    """Write ``rows`` beside ``record``, whole; return their entry in the record. ``RecordNotWritten``.

    Without a row there is no file. ``ValueError`` for a row that has other columns than ``table``.
    """
    return store_batches(record, table, clean_batches(table, rows))


def store_batches(
    record: Path, table: TableSchema[Any], batches: Iterator[Columns | pyarrow.Table]
) -> dict[str, Json]:
    """Write ``batches`` of clean rows as :func:`store_table` does; tables of pyarrow only where it is installed."""
    first = next(batches, None)
    suffixes = ("parquet", "jsonl.gz") if _pyarrow() else ("jsonl.gz", "parquet")
    path, other = (record.with_name(f"{record.stem}.{table.name}.{suffix}") for suffix in suffixes)
    # An earlier run's file must not be mistaken for one of this run.
    other.unlink(missing_ok=True)
    if first is None:
        path.unlink(missing_ok=True)
        return {"file": path.name, "sha256": hashlib.sha256().hexdigest(), "count": 0}

    count = 0

    def every() -> Iterator[Columns | pyarrow.Table]:
        nonlocal count
        for batch in chain([first], batches):
            count += len(next(iter(batch.values()))) if isinstance(batch, Mapping) else batch.num_rows
            yield batch

    digest = hashlib.sha256()

    def write(temporary: Path) -> None:
        if path.suffix == ".parquet":
            _write_parquet(temporary, table.columns, every())
        else:
            _write_lines(temporary, cast("Iterator[Columns]", every()))
        with temporary.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)

    write_file(path, write)
    return {"file": path.name, "sha256": digest.hexdigest(), "count": count}


def load_answers(path: Path, record: Record) -> list[AnswerRow]:
    """The answers of the run whose ``record`` was read from ``path``; [] if it has none.

    Raises :class:`UsageError`, one line, if their file is missing or has another checksum than the record states.
    """
    return load_table(path, record.answers_file, ANSWERS)


def load_traces(path: Path, record: Record) -> list[TraceRow]:
    """The timed requests, as :func:`load_answers` reads the answers."""
    return load_table(path, record.traces_file, TRACES)


def load_tokens(path: Path, record: Record) -> list[TokenRow]:
    """The scores of the baseline's answers, as :func:`load_answers` reads the answers."""
    return load_table(path, record.tokens_file, TOKENS)


def metric_values(trace: TraceRow, column: str) -> list[float]:
    """The values in the column of a metric, such as ``ttft_s``; none where they are not known."""
    value: Any = cast(_Values, trace).get(column)
    return value if isinstance(value, list) else [] if value is None else [value]


def load_table(path: Path, about: TableFile | None, table: TableSchema[R]) -> list[R]:
    """The rows of the file ``about`` beside the record at ``path``; raises as :func:`load_answers` does."""
    if about is None or not about.count:
        return []
    beside, data = read_sidecar(path, about, table.content or table.name)
    if beside.suffix == ".gz":
        lines = gzip.decompress(data).decode().split("\n")
        return [cast(R, json.loads(line)) for line in lines if line]
    try:
        return [cast(R, row) for row in read_parquet(data)]
    except ImportError:
        raise UsageError(f"{beside}: reading it needs pyarrow: pip install pyarrow") from None


def clean_batches(table: TableSchema[Any], rows: Iterable[_Values]) -> Iterator[Columns]:
    """Yield ``rows`` without secrets, some at a time, as plain values that both formats can hold."""
    rows, columns = iter(rows), table.columns
    while several := list(islice(rows, _ROWS_AT_A_TIME)):
        yield _clean_batch(table, columns, several)


def _clean_batch(table: TableSchema[Any], columns: Mapping[str, str], rows: Sequence[_Values]) -> Columns:
    for row in rows:
        if row.keys() != columns.keys():
            differ = sorted(row.keys() ^ columns.keys())
            raise ValueError(f"a row of {table.name} has other columns than the table: {differ}")
    remove = redactor()
    cleaned: dict[str, Sequence[Any]] = {name: [row[name] for row in rows] for name in columns}
    for name, kind in columns.items():
        if kind == "string":
            cleaned[name] = clean_column(cleaned[name], remove)
    if table.pieces is not None:
        of_texts, of_ids = table.pieces
        clean = cleaner()
        now = [clean_parts(texts, clean) for texts in cleaned[of_texts]]
        cleaned[of_ids] = [
            [known if after == before else -1 for known, before, after in zip(*row, strict=True)]
            for row in zip(cleaned[of_ids], cleaned[of_texts], now, strict=True)
        ]
        cleaned[of_texts] = now
    return cleaned


def clean_column(values: Sequence[object], remove: Redactor) -> Sequence[object]:
    """Return the values of a column, texts without secrets."""
    texts = [value for value in values if isinstance(value, str)]
    if not texts or (cleaned := clean_all(texts, remove)) is texts:
        return values
    now = iter(cleaned)
    return [next(now) if isinstance(value, str) else value for value in values]


def _write_lines(path: Path, batches: Iterable[Columns]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=6) as lines:
        for batch in batches:
            rows = (dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True))
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def arrow_schema(columns: Mapping[str, str]) -> pyarrow.Schema:
    """Return the types of ``columns`` in a Parquet file."""
    import pyarrow

    return pyarrow.schema([(name, _arrow_type(kind)) for name, kind in columns.items()])


def _write_parquet(
    path: Path, columns: Mapping[str, str], batches: Iterable[Columns | pyarrow.Table]
) -> None:
    import pyarrow
    from pyarrow import parquet

    schema = arrow_schema(columns)
    with parquet.ParquetWriter(
        path, schema, compression="zstd", compression_level=_COMPRESSION_LEVEL
    ) as writer:
        for batch in batches:
            if not isinstance(batch, Mapping):
                writer.write_table(batch)
                continue
            arrays = [arrow_array(kind, batch[name]) for name, kind in columns.items()]
            writer.write_batch(pyarrow.RecordBatch.from_arrays(arrays, schema=schema))


_ITEM = re.compile(r"list<(\w+)>")
_TYPE_CODES = {"int32": "i", "int64": "q", "double": "d"}
"""Type codes of numbers in the module ``array``."""


def _arrow_type(kind: str) -> pyarrow.DataType:
    import pyarrow

    if item := _ITEM.fullmatch(kind):
        return pyarrow.list_(_arrow_type(item[1]))
    return pyarrow.type_for_alias(kind)


def arrow_array(kind: str, values: Sequence[Any]) -> pyarrow.Array:
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
            children.append(arrow_array(item[1], [*chain.from_iterable(parts)]))
        else:
            buffers.append(py_buffer(b"".join(parts)))
    return Array.from_buffers(_arrow_type(kind), len(values), buffers, children=children)


def _pyarrow() -> bool:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True
