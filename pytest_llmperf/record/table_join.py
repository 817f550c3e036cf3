"""The tables of several records as one, column by column: rows as Python objects would take most of a merge's time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.json_values import Json
from pytest_llmperf.parquet_reading import read_arrow
from pytest_llmperf.record.redaction import Redactor, redactor
from pytest_llmperf.record.sidecar import read_sidecar
from pytest_llmperf.record.tables import (
    Columns,
    TableSchema,
    arrow_array,
    arrow_schema,
    clean_batches,
    clean_column,
    load_table,
    store_batches,
)

if TYPE_CHECKING:
    import pyarrow

    from pytest_llmperf.record.model import TableFile

_ROWS = 20_000
_BYTES = 1 << 25
"""Rows and bytes that are written together at most, but for one part: small groups compress badly and read slowly."""


@dataclass(frozen=True)
class Selection:
    """Which rows of a part are kept (None: all), and columns of whole numbers that have other values."""

    kept: Sequence[bool] | None = None
    changed: Mapping[str, Sequence[int]] | None = None


@dataclass(frozen=True)
class TablePart:
    """The table of one record: its path, its entry for the table, and what becomes of the rows.

    ``select`` gets the values of ``columns``, a tuple for each row.
    """

    path: Path
    about: TableFile | None
    columns: Sequence[str] = ()
    select: Callable[[Sequence[tuple[Any, ...]]], Selection] = lambda _: Selection()


def join_tables(out: Path, table: TableSchema[Any], parts: Sequence[TablePart]) -> dict[str, Json]:
    """Write the rows of ``parts`` in their order beside the record ``out``, redacted; return their entry in it.

    Raises as :func:`load_table` and :func:`store_table` do.
    """
    return store_batches(out, table, _together(batch for part in parts for batch in _batches(table, part)))


def _batches(table: TableSchema[Any], part: TablePart) -> Iterator[Columns | pyarrow.Table]:
    found = _arrow_table(table, part)
    if found is not None:
        yield found
        return
    rows = load_table(part.path, part.about, table)
    selection = part.select([tuple(row[name] for name in part.columns) for row in rows])
    for name, values in (selection.changed or {}).items():
        rows = [row | {name: value} for row, value in zip(rows, values, strict=True)]
    kept = selection.kept or [True] * len(rows)
    yield from clean_batches(table, (row for row, keeps in zip(rows, kept, strict=True) if keeps))


def _arrow_table(table: TableSchema[Any], part: TablePart) -> pyarrow.Table | None:
    """Return the rows that are kept; None where they must be read one by one.

    That is so for the format without pyarrow, for other columns than the table's, and for lists of texts.
    """
    if part.about is None or not part.about.count or table.pieces is not None:
        return None
    path, data = read_sidecar(part.path, part.about, table.content or table.name)
    if path.suffix != ".parquet":
        return None
    try:
        import pyarrow
    except ImportError:
        return None
    found = read_arrow(data)
    schema = arrow_schema(table.columns)
    if not found.schema.equals(schema):
        return None
    remove = redactor()
    for at, kind in enumerate(table.columns.values()):
        if kind == "string":
            found = found.set_column(at, schema.field(at), _clean(found.column(at), remove))
    columns = [found.column(name).to_pylist() for name in part.columns]
    selection = part.select([*zip(*columns, strict=True)])
    for name, values in (selection.changed or {}).items():
        at = schema.get_field_index(name)
        array = arrow_array(table.columns[name], values)
        found = found.set_column(at, schema.field(at), array)
    if selection.kept is not None:
        runs, at = [], 0
        for keeps, several in groupby(selection.kept):
            length = len([*several])
            if keeps:
                runs.append(found.slice(at, length))
            at += length
        found = pyarrow.concat_tables(runs) if runs else found.slice(0, 0)
    return found


def _clean(column: pyarrow.ChunkedArray, remove: Redactor) -> pyarrow.ChunkedArray:
    """Return a column of texts without secrets: the same one if all its texts together show none."""
    import pyarrow

    if not any(_may_change(chunk, remove) for chunk in column.chunks):
        return column
    return pyarrow.chunked_array([arrow_array("string", clean_column(column.to_pylist(), remove))])


def _may_change(chunk: pyarrow.Array, remove: Redactor) -> bool:
    """Return False only if redaction leaves every text as it is."""
    data = chunk.buffers()[2]
    try:
        # The texts lie one after the other: what seems to be found across two of them is looked for again.
        return data is not None and remove.may_change(bytes(data).decode())
    except UnicodeDecodeError:
        return True


def _together(batches: Iterator[Columns | pyarrow.Table]) -> Iterator[Columns | pyarrow.Table]:
    """Yield tables in larger ones, in the same order."""
    waiting: list[pyarrow.Table] = []
    rows = size = 0

    def joined() -> Iterator[pyarrow.Table]:
        import pyarrow

        if waiting:
            yield pyarrow.concat_tables(waiting)
            waiting.clear()

    for batch in batches:
        if isinstance(batch, Mapping):
            yield from joined()
            yield batch
        elif batch.num_rows:
            waiting.append(batch)
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows >= _ROWS or size >= _BYTES:
                yield from joined()
                rows = size = 0
    yield from joined()
