"""Data sets: from the hub through ``datasets`` at a pinned revision, or a file with a checksum."""

from __future__ import annotations

import dataclasses
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import DataError
from pytest_llmperf.tasks.rows import Row, read_rows
from pytest_llmperf.tasks.task import Item

_WORKER = Path(__file__).with_name("hub_worker.py")

ToItem = Callable[[Row, int], Item]
"""From a row and its number (from 0) to an item. Whatever it raises becomes a :class:`DataError` that names file and
row."""


@dataclass(frozen=True)
class HubSplit:
    """One split of a data set on the hub, at a revision that is a commit."""

    repository: str
    config: str | None
    split: str
    revision: str
    count: int | None = None
    """Rows that it must have; None: any number."""
    files: str | None = None
    """Only these files of the repository (one shard of a large corpus); None: all of the split."""

    def rows(self, fetch: str) -> list[Row]:
        """All rows. A :class:`DataError` ends in ``fetch``, the command for a machine without the hub."""
        request = {
            "path": self.repository,
            "name": self.config,
            "split": self.split,
            "revision": self.revision,
        } | ({} if self.files is None else {"data_files": {self.split: self.files}})
        kind, said = _from_worker(json.dumps(request))
        if kind == "missing":
            raise DataError(f"{self}: the package datasets can't be imported ({said}); pip install datasets")
        if kind == "failed":
            raise DataError(
                f"{self}: can't be loaded from the hub ({said}); without the hub: {fetch} and --llmperf-data DIR"
            )
        rows: list[Row] = said
        if self.count is not None and len(rows) != self.count:
            raise DataError(f"{self}: has {len(rows)} rows, needs {self.count}")
        return rows

    def __str__(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return f"{self.repository}{config} [{self.split}] at {self.revision[:12]}"


def _from_worker(request: str) -> tuple[str, Any]:
    """The reply of ``hub_worker.py``; a worker that died has failed."""
    command = [sys.executable, "-P", str(_WORKER), request]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        try:
            answer = worker.stdout.read()
        except BaseException:  # a time limit, Ctrl-C
            worker.kill()
            raise
    if worker.returncode != 0:
        return "failed", f"the process that loads it ended with exit code {worker.returncode}"
    kind, said = pickle.loads(answer)
    return kind, said


@dataclass(frozen=True)
class DataFile:
    """A data set in a file below ``--llmperf-data DIR``, or on the hub where no such directory is given.

    ``path`` is relative to DIR: JSON lines, a ``.json`` array, either of them as ``.gz``, or ``.parquet``. ``sha256``
    pins the file, None takes any; ``fetch`` is the command that brings it, with ``DIR`` standing for the directory.
    ``by_id``: the hub has the rows in another order than the file, and both are sorted by the items' ids.
    """

    path: str
    item: ToItem
    fetch: str
    sha256: str | None = None
    hub: HubSplit | None = None
    by_id: bool = False

    def items(self, data_dir: Path | None) -> Sequence[Item]:
        if data_dir is not None:
            file = data_dir / self.path
            rows = read_rows(file, sha256=self.sha256, fetch=self.fetch.replace("DIR", str(data_dir)))
            items = to_items(rows, self.item, str(file))
        elif self.hub is None:
            raise DataError(f"{self.path}: needs --llmperf-data DIR; fetch it with: {self.fetch}")
        else:
            items = to_items(self.hub.rows(self.fetch), self.item, str(self.hub))
        return sorted(items, key=lambda item: str(item.id)) if self.by_id else items

    def describe(self) -> str:
        return str(self.hub) if self.hub is not None else self.path


def to_items(rows: Iterable[Row], to_item: ToItem, where: str) -> list[Item]:
    """Rows → items, each with its place. Raises :class:`DataError` with the row that does not fit."""
    items: list[Item] = []
    for number, row in enumerate(rows):
        place = f"{where}: row {number + 1}"
        try:
            item = to_item(row, number)
        except KeyError as error:
            has = ", ".join(map(str, row)) or "no fields at all"
            raise DataError(f"{place}: no field {error}; the row has {has[:200]}") from None
        except Exception as error:  # written by whoever wrote the suite: it may raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{place}: {reason}") from None
        if not isinstance(item, Item):
            raise DataError(f"{place}: `item` gave {type(item).__name__}, needs an Item")
        items.append(item if item.place else dataclasses.replace(item, place=place))
    return items
