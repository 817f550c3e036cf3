"""Tasks: items from a source, how they are asked, and how answers are graded."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import numbers
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from pytest_llmperf.client.continuations import ContinuationScore
from pytest_llmperf.config import models
from pytest_llmperf.config.toml_errors import nearest
from pytest_llmperf.errors import DataError, UsageError
from pytest_llmperf.json_values import Json, JsonObject
from pytest_llmperf.tasks.continuations import Continuation
from pytest_llmperf.tasks.grading import Grade
from pytest_llmperf.tasks.grading.choice import check_choice, grade_choice
from pytest_llmperf.tasks.grading.number import gold_number, grade
from pytest_llmperf.tasks.grading.structured import check_structured, grade_structured
from pytest_llmperf.tasks.grading.symbolic import check_symbolic, grade_symbolic, is_readable
from pytest_llmperf.tasks.grading.tool_calls import check_tool_calls, grade_tool_calls
from pytest_llmperf.tasks.request import Generation, ReplyMessage, check_request


@dataclass(frozen=True)
class Item:
    """One thing to ask.

    ``id`` is unique in its task and the same on every machine; ``prompt`` is the question alone, without
    instruction; ``answer`` is what the grader expects, in the grader's own notation. For the graders of this package
    a finite number will do as ``answer``, as JSON and Parquet have them: loading turns it into text.

    ``messages``, ``tools``, ``tool_choice`` and ``response_format`` are those of a chat request in OpenAI's form. An
    item with any of them says itself how it is to be answered: the row's instruction is not added to it.
    """

    id: str
    prompt: str
    answer: str
    meta: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    group: str = ""
    """Name that the item shares with items that resemble it (a document, a template): then the groups are the sample,
    each with equal weight, and not the items. Empty: the item is independent of all others."""
    place: str = field(default="", compare=False, repr=False)
    """File and row that it was read from, for messages; empty where there is none."""
    messages: Sequence[JsonObject] = ()
    """A whole conversation in place of one user turn of ``prompt``; the last message is the user's, or a tool's result.
    The row's system message is added unless it begins with one."""
    tools: Sequence[JsonObject] = ()
    """Functions that the model may call."""
    tool_choice: Json = None
    """``"auto"``, ``"required"``, ``"none"``, or one function by name; None: the server's default, ``auto``."""
    response_format: JsonObject | None = None
    """The form of the reply: ``{"type": "json_schema", "json_schema": {"name": …, "schema": {…}}}`` or
    ``{"type": "json_object"}``."""

    generation: Generation | None = None
    """How the reply ends, where that is not the row's affair."""
    continuations: Sequence[Continuation] = ()
    """Texts whose log probabilities answer the item: no reply is asked for. The task needs a
    ``continuation_grader``."""
    guess: float | None = None
    """The chance that guessing gets the item right, where items of the task differ in it; None: the task's."""

    @property
    def says_how(self) -> bool:
        """True if the item has more than a question."""
        return bool(self.messages or self.tools or self.response_format)


@dataclass(frozen=True)
class Shot:
    """A worked example for the few-shot protocol: ``solution`` ends in ``The answer is N.``"""

    prompt: str
    solution: str


class Source(Protocol):
    """A source of items. See ``source.py`` for data sets, ``embedded.py`` for generated ones."""

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
    """From a reply to its outcome; see :func:`pytest_llmperf.tasks.grading.number.grade`, which is the default.

    Called from any thread, several at a time; may take seconds (:mod:`pytest_llmperf.tasks.grading.symbolic`).
    """

    def __call__(
        self,
        text: str | None,
        gold: str,
        *,
        finish_reason: str | None,
        thinking: bool = False,
        protocol: models.Protocol = "chat",
    ) -> Grade: ...


class MessageGrader(Protocol):
    """From a whole reply (text, reasoning, tool calls, finish reason) to its outcome.

    Called as a :class:`Grader` is. See :mod:`pytest_llmperf.tasks.grading.tool_calls`.
    """

    def __call__(self, message: ReplyMessage, item: Item, *, thinking: bool = False) -> Grade: ...


class ContinuationGrader(Protocol):
    """From the scores of an item's continuations, in their order, to its outcome; the text is shown as the reply.

    Called as a :class:`Grader` is.
    """

    def __call__(self, scores: Sequence[ContinuationScore], item: Item) -> tuple[Grade, str]: ...


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
    :class:`ValueError` for an expected answer that the grader could never find right; the graders of this package
    bring their own. ``classes`` are the answers of a multiple choice, for its macro-F1. ``guess`` is the share of items
    that guessing gets right, where it is another than one in as many as there are classes (answers of yes or no: 0.5).
    ``message_grader`` takes the place of ``grader`` where more than the text counts: tool calls, the form of the reply.
    ``continuation_grader`` grades items with ``continuations``.
    """

    name: str
    source: Source
    protocols: tuple[models.Protocol, ...] = ("chat",)
    max_tokens: int = 1024
    grader: Grader = grade
    message_grader: MessageGrader | None = None
    continuation_grader: ContinuationGrader | None = None
    check_gold: Callable[[str], object] | None = None
    shots: Callable[[Path | None, int], Sequence[Shot]] | None = None
    classes: tuple[str, ...] = ()
    guess: float | None = None

    @property
    def guessing(self) -> float:
        """The share of items that a model gets right which knows nothing: 0 for open answers, 1/k for k classes."""
        if self.guess is not None:
            return self.guess
        return 1.0 / len(self.classes) if self.classes else 0.0


def is_scored(items: Sequence[Item]) -> bool:
    """True for items that are answered by log probabilities of given texts, and not by replies."""
    return bool(items and items[0].continuations)


def guessing(task: Task, items: Sequence[Item]) -> float:
    """The share of these items that guessing gets right: the mean of what they say themselves, else the task's."""
    own = [task.guessing if item.guess is None else item.guess for item in items]
    return math.fsum(own) / len(own) if own else task.guessing


def load_items(
    task: Task, data_dir: Path | None = None, n: int | None = None, seed: int = 0
) -> tuple[Item, ...]:
    """``n`` items (None: all) in an order drawn from ``seed``.

    The order does not depend on ``n``: the first 100 of 200 are the 100 that ``n=100`` gives. Items of one group stay
    together. Raises
    :class:`DataError`, one line, for data that is missing, empty, not the pinned one, malformed, or too
    little.
    """
    items = _checked(task, task.source.items(data_dir))
    if n is not None and n < 1:
        raise DataError(f"task {task.name}: {n} items were asked for, needs at least 1")
    if n is not None and n > len(items):
        raise DataError(
            f"task {task.name}: {n} items were asked for, it has {len(items)}; ask for that many or fewer"
        )
    chance = random.Random(f"{task.name}/{seed}")
    if not any(item.group for item in items):
        chance.shuffle(items)
        return tuple(items[:n])
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(sample_of(item), []).append(item)
    order = list(groups.values())
    chance.shuffle(order)
    # Whole groups one after the other: half a group tells little less than a whole one.
    return tuple(item for group in order for item in group)[:n]


def sample_of(item: Item) -> str:
    """The unit of sampling: the item's group, or the item itself."""
    return f"group {item.group}" if item.group else item.id


def remarks(task: Task, items: Sequence[Item]) -> list[str]:
    """Warnings about the data, a line each."""
    lines = []
    questions = Counter(_asked(item) for item in items)
    if repeated := len(items) - len(questions):
        most, times = questions.most_common(1)[0]
        lines.append(
            f"task {task.name}: {len(items):,} items ask {len(questions):,} different questions ({repeated:,} repeat "
            f"one; {_shown(most)} is asked {times:,} times): each counts as an item of its own, so that intervals are "
            "narrower than the questions deserve; remove the repetitions"
        )
    if task.message_grader is None and _plain_grader(task.grader) is grade_symbolic:
        unread = [item for item in items if not is_readable(item.answer)]
        if unread:
            some = ", ".join(f"{item.id} {item.answer[:40]!r}" for item in unread[:3])
            more = f" and {len(unread) - 3:,} more" if len(unread) > 3 else ""
            lines.append(
                f"task {task.name}: the expected answers of {len(unread):,} of {len(items):,} items cannot be read as "
                f"formulas and are compared by their text: {some}{more}"
            )
    return lines


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
        text = json.dumps([item.id, _asked(item), item.answer], ensure_ascii=False, default=repr)
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _checked(task: Task, items: Iterable[Item]) -> list[Item]:
    """The items with texts for ids and expected answers. Raises :class:`DataError` for one that cannot be asked."""
    checked: list[Item] = []
    seen: set[str] = set()
    reads_text = task.message_grader is None and task.continuation_grader is None
    own_check = gold_check_of(task.grader) if reads_text else None
    check_gold = task.check_gold or own_check
    check_item = item_check_of(task.message_grader)
    if not isinstance(items, Iterable):
        raise DataError(
            f"task {task.name}: its source gave {type(items).__name__}, needs a sequence of Items"
        )
    for position, item in enumerate(items, start=1):
        if not isinstance(item, Item):
            raise DataError(
                f"task {task.name}: item {position}: its source gave {type(item).__name__}, needs an Item"
            )
        place = f"{item.place}: " if item.place else ""
        where = f"task {task.name}: {place}item {position} ({item.id!r})"
        try:
            identity = _text_of(item.id, "id")
            if identity in seen:
                raise ValueError("this id was given before; ids must be unique")
            seen.add(identity)
            _check_question(item.prompt)
            if not isinstance(item.group, str):
                raise ValueError(f"the group is {_shown(item.group)}, needs a text")
            check_request(item.messages, item.tools, item.tool_choice, item.response_format)
            if item.continuations and task.continuation_grader is None:
                raise ValueError("it has continuations, which need a task with a continuation_grader")
            answer: Any = item.answer
            if own_check is not None:
                answer = _text_of(answer, "expected answer")
            if check_gold is not None:
                check_gold(answer)
            if check_item is not None:
                check_item(item)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
        # A number is what it says; everything else of an item stays as its suite made it.
        same = identity is item.id and answer is item.answer
        checked.append(item if same else dataclasses.replace(item, id=identity, answer=answer))
    if not checked:
        raise DataError(f"task {task.name}: no items in {task.source.describe()}")
    if other := next((item for item in checked if bool(item.continuations) != is_scored(checked)), None):
        raise DataError(
            f"task {task.name}: item {other.id!r} and item {checked[0].id!r} are not asked alike: either all items "
            "have continuations, or none has"
        )
    return checked


def gold_check_of(grader: Grader) -> Callable[[str], object] | None:
    """The check of expected answers of one of this package's graders; None for any other grader."""
    checks: dict[object, Callable[[str], object]] = {
        grade: gold_number,
        grade_symbolic: check_symbolic,
        grade_choice: check_choice,
    }
    return checks.get(_plain_grader(grader))


def item_check_of(grader: MessageGrader | None) -> Callable[[Item], object] | None:
    """The check of items of one of this package's message graders; None for any other."""
    checks: dict[object, Callable[[Item], object]] = {
        grade_structured: check_structured,
        grade_tool_calls: check_tool_calls,
    }
    return None if grader is None else checks.get(_plain_grader(grader))


def is_graded_by(task: Task, grader: MessageGrader) -> bool:
    """True if the task's message grader is ``grader``, maybe with arguments filled in."""
    return task.message_grader is not None and _plain_grader(task.message_grader) is grader


def _plain_grader(grader: Any) -> Any:
    while isinstance(grader, functools.partial):
        grader = grader.func
    return grader


def _check_question(prompt: Any) -> None:
    if not isinstance(prompt, str):
        raise ValueError(f"the question is {_shown(prompt)}, needs a text")
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"the question holds half of a surrogate pair at character {error.start}") from None
    if _is_blank(prompt):
        raise ValueError("the question is empty")


def _is_blank(text: str) -> bool:
    """True if nothing in the text can be seen: white space, zero-width characters, control characters."""
    return not any(character.isprintable() and not character.isspace() for character in text)


def _asked(item: Item) -> str:
    """Equal for items that ask the same."""
    if item.continuations:
        return json.dumps([item.prompt, *([each.context, each.text] for each in item.continuations)])
    if not item.says_how:
        return item.prompt
    more = [item.messages, item.tools, item.tool_choice, item.response_format]
    return f"{item.prompt}\n{json.dumps(more, default=repr)}"


def _text_of(value: Any, what: str) -> str:
    """A text as it is, a number as the text that says exactly it. Raises :class:`ValueError` for everything else."""
    if isinstance(value, str):
        if _is_blank(value):
            raise ValueError(f"the {what} is empty")
        return value
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, Decimal)):
        raise ValueError(f"the {what} is {_shown(value)}, needs a text or a number")
    if isinstance(value, numbers.Rational):  # integers are among them
        return str(value)
    if not math.isfinite(value):
        raise ValueError(f"the {what} is {_shown(value)}, which is no number")
    if isinstance(value, Decimal):
        return f"{value:f}"
    number = float(value)
    if abs(number) >= _EXACT_BELOW:
        raise ValueError(
            f"the {what} is {number!r}, a floating-point number too large to be exact; write it as text"
        )
    if number.is_integer():
        return str(int(number))
    if _is_single(number) and len(repr(number).strip("-0.")) > _SINGLE_DIGITS:
        raise ValueError(
            f"the {what} is {number!r}, which looks like a number of single precision; write it as text or as float64"
        )
    return repr(number)


def _is_single(number: float) -> bool:
    try:
        return bool(struct.unpack("f", struct.pack("f", number))[0] == number)
    except OverflowError:
        return False


def _shown(value: Any) -> str:
    """A value that is of no use, as JSON names it where it can."""
    if value is None:
        return "missing (null)"
    if isinstance(value, bool):
        return f"{value} (bool)".lower()
    if isinstance(value, float):
        return repr(value)
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:59] + '…'} ({type(value).__name__})"


_EXACT_BELOW = 2.0**53
_SINGLE_DIGITS = 9
"""A decimal number of so few significant digits survives single precision; the digits behind them are noise."""


class Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


def find_named(what: str, name: str, known_things: Iterable[T]) -> T:
    """The thing of that ``name``, the last one if several have it. Raises :class:`UsageError` with the nearest name."""
    known = {thing.name: thing for thing in known_things}
    if name not in known:
        raise UsageError(f"no {what} {name!r}{nearest(name, known)}")
    return known[name]
