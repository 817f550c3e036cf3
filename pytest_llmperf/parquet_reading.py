"""Parquet without a thread: a process that has read a table must still be able to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.json_values import Json

if TYPE_CHECKING:
    import pyarrow


def read_parquet(data: bytes) -> list[dict[str, Json]]:
    """The rows of a Parquet file whose bytes are ``data``; raises as :func:`read_arrow` does."""
    rows: list[dict[str, Json]] = read_arrow(data).to_pylist()
    return rows


def read_arrow(data: bytes) -> pyarrow.Table:
    """The columns of a Parquet file whose bytes are ``data``.

    Raises ``ImportError`` without pyarrow, and pyarrow's own errors (``OSError``, ``ValueError``) for other bytes.

    ``pyarrow.parquet.read_table`` starts threads that outlive it. Now and then the interpreter's end meets one of
    them and the process aborts (exit code 134 in place of the verdict's) or hangs: apache/arrow#34314 and #50482.
    """
    import pyarrow
    from pyarrow import parquet

    with parquet.ParquetFile(pyarrow.BufferReader(data)) as file:
        return file.read(use_threads=False)
