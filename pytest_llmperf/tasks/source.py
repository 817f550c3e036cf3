"""Data sets: from the hub through ``datasets`` at a pinned revision, or a JSON-lines file with a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import DataError
from pytest_llmperf.tasks.task import Item

Row = Mapping[str, Any]
ToItem = Callable[[Row, int], Item]
"""From a row and its number (from 0) to an item. A :class:`KeyError`, :class:`TypeError` or
:class:`ValueError` becomes a :class:`DataError` that names file and row."""


@dataclass(frozen=True)
class HubSplit:
    """One split of a data set on the hub, at a revision that is a commit."""

    repository: str
    config: str | None
    split: str
    revision: str
    count: int | None = None
    """Rows that it must have; None: any number."""

    def rows(self, fetch: str) -> list[Row]:
        """All rows. A :class:`DataError` ends in ``fetch``, the command for a machine without the hub."""
        try:
            import datasets
        except ImportError as error:
            raise DataError(
                f"{self}: the package datasets can't be imported ({error}); pip install datasets"
            ) from error
        try:
            rows = datasets.load_dataset(
                self.repository, self.config, split=self.split, revision=self.revision
            )
        except Exception as error:  # its errors have no common base: offline, gated, unknown, disk full, …
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{self}: can't be loaded from the hub ({type(error).__name__}: {reason}); "
                f"without the hub: {fetch} and --llmperf-data DIR"
            ) from error
        if self.count is not None and len(rows) != self.count:
            raise DataError(f"{self}: has {len(rows)} rows, needs {self.count}")
        return list(rows)

    def __str__(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return f"{self.repository}{config} [{self.split}] at {self.revision[:12]}"


@dataclass(frozen=True)
class DataFile:
    """A data set in a file below ``--llmperf-data DIR``, or on the hub where no such directory is given.

    ``path`` is relative to DIR; ``sha256`` pins the file, None takes any; ``fetch`` is the command that
    brings it, with ``DIR`` standing for the directory.
    """

    path: str
    item: ToItem
    fetch: str
    sha256: str | None = None
    hub: HubSplit | None = None

    def items(self, data_dir: Path | None) -> Sequence[Item]:
        if data_dir is not None:
            file = data_dir / self.path
            rows = read_jsonl(file, sha256=self.sha256, fetch=self.fetch.replace("DIR", str(data_dir)))
            return to_items(rows, self.item, str(file))
        if self.hub is None:
            raise DataError(f"{self.path}: needs --llmperf-data DIR; fetch it with: {self.fetch}")
        return to_items(self.hub.rows(self.fetch), self.item, str(self.hub))

    def describe(self) -> str:
        return str(self.hub) if self.hub is not None else self.path


def read_jsonl(file: Path, *, sha256: str | None, fetch: str) -> list[Row]:
    """Rows of a JSON-lines file. Raises :class:`DataError`: file, row, reason, ``fetch`` where that helps."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; fetch it with: {fetch}") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from None
    if not data.strip():
        raise DataError(f"{file}: is empty; fetch it with: {fetch}")
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256:
        raise DataError(
            f"{file}: is not the pinned file: sha256 {found}, needs {sha256}; fetch it with: {fetch}"
        )
    rows: list[Row] = []
    # Not splitlines(), which also splits at U+2028 inside a JSON string.
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: row {number}: not UTF-8 at byte {error.start} of the row") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}: row {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{file}: row {number}: needs a JSON object, not {type(row).__name__}")
        rows.append(row)
    return rows


def to_items(rows: Iterable[Row], to_item: ToItem, where: str) -> list[Item]:
    """Rows → items, a row that does not fit named."""
    items: list[Item] = []
    for number, row in enumerate(rows):
        try:
            items.append(to_item(row, number))
        except KeyError as error:
            raise DataError(f"{where}: row {number + 1}: no field {error}") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where}: row {number + 1}: {error}") from None
    return items
