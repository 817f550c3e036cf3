"""What a task is: items from a source, how they are asked, and how answers are graded."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from pytest_llmperf import catalog
from pytest_llmperf.errors import DataError
from pytest_llmperf.tasks.grading import Grade, grade


@dataclass(frozen=True)
class Item:
    """One thing to ask.

    ``id`` is unique in its task and the same on every machine; ``prompt`` is the question alone, without
    instruction; ``answer`` is what the grader expects, in the grader's own notation.
    """

    id: str
    prompt: str
    answer: str
    meta: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Shot:
    """A worked example for the few-shot protocol: ``solution`` ends in ``The answer is N.``"""

    prompt: str
    solution: str


class Source(Protocol):
    """Where items come from. See ``source.py`` for data sets, ``embedded.py`` for generated ones."""

    @property
    def sha256(self) -> str | None:
        """Checksum that pins the data; None: nothing is pinned."""
        ...

    def items(self, data_dir: Path | None) -> Sequence[Item]:
        """All items in a fixed order, from ``data_dir`` if it is given. Raises :class:`DataError`."""
        ...

    def describe(self) -> str:
        """Name and pinned version, for the record."""
        ...


class Grader(Protocol):
    """From a reply to its outcome; see :func:`pytest_llmperf.tasks.grading.grade`, which is the default.

    Called from any thread, several at a time; may take seconds (:mod:`pytest_llmperf.tasks.symbolic`).
    """

    def __call__(
        self,
        text: str | None,
        gold: str,
        *,
        finish_reason: str | None,
        thinking: bool = False,
        protocol: catalog.Protocol = "chat",
    ) -> Grade: ...


@dataclass(frozen=True)
class Task:
    """A data set with its way of asking and grading. Users write their own, and register it by a hook::

        MINE = Task(
            name="mine",
            source=DataFile(
                path="mine/test.jsonl",
                fetch="cp /somewhere/mine.jsonl DIR/mine/test.jsonl",
                item=lambda row, i: Item(f"mine-{i}", row["question"], row["answer"]),
            ),
        )

    ``protocols`` are those that it can be asked by; ``few-shot`` needs ``shots``. ``max_tokens`` is the
    room that an answer needs; a row that allows less is found by the lint. ``check_gold`` raises
    :class:`ValueError` for an expected answer that the grader could never find right. ``classes`` are the
    answers of a multiple choice, for its macro-F1.
    """

    name: str
    source: Source
    protocols: tuple[catalog.Protocol, ...] = ("chat",)
    max_tokens: int = 1024
    grader: Grader = grade
    check_gold: Callable[[str], object] | None = None
    shots: Callable[[Path | None, int], Sequence[Shot]] | None = None
    classes: tuple[str, ...] = ()

    @property
    def checksum(self) -> str | None:
        """SHA-256 that pins the data; None: nothing is pinned."""
        return self.source.sha256


def load_items(
    task: Task, data_dir: Path | None = None, n: int | None = None, seed: int = 0
) -> tuple[Item, ...]:
    """``n`` items (None: all) in an order drawn from ``seed``.

    The order does not depend on ``n``: the first 100 of 200 are the 100 that ``n=100`` gives. Raises
    :class:`DataError`, one line, for data that is missing, empty, not the pinned one, malformed, or too
    little.
    """
    items = list(task.source.items(data_dir))
    _check(task, items)
    if n is not None and n < 1:
        raise DataError(f"task {task.name}: {n} items were asked for, needs at least 1")
    if n is not None and n > len(items):
        raise DataError(
            f"task {task.name}: {n} items were asked for, it has {len(items)}; ask for that many or fewer"
        )
    random.Random(f"{task.name}/{seed}").shuffle(items)
    return tuple(items[:n])


def load_shots(task: Task, data_dir: Path | None = None, n: int = 8) -> tuple[Shot, ...]:
    """``n`` worked examples in their fixed order, or all there are. Raises :class:`DataError` if the task has none."""
    if task.shots is None:
        raise DataError(
            f'task {task.name} has no worked examples; a row with protocol = "few-shot" can\'t be asked it'
        )
    return tuple(task.shots(data_dir, n))


def own_shots(*shots: Shot) -> Callable[[Path | None, int], Sequence[Shot]]:
    """For ``Task.shots``: worked examples that are written here and need no data."""
    return lambda _, n: shots[:n]


def items_sha256(items: Iterable[Item]) -> str:
    """Fingerprint of what was asked and expected, in its order, for the record."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps([item.id, item.prompt, item.answer], ensure_ascii=False).encode())
    return digest.hexdigest()


def _check(task: Task, items: Sequence[Item]) -> None:
    if not items:
        raise DataError(f"task {task.name}: no items in {task.source.describe()}")
    seen: set[str] = set()
    for position, item in enumerate(items, start=1):
        where = f"task {task.name}: item {position} ({item.id!r})"
        if item.id in seen:
            raise DataError(f"{where}: this id was given before; ids must be unique")
        seen.add(item.id)
        if not item.prompt.strip():
            raise DataError(f"{where}: the question is empty")
        if task.check_gold is not None:
            try:
                task.check_gold(item.answer)
            except ValueError as error:
                raise DataError(f"{where}: {error}") from None
