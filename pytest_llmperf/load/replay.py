"""A recorded load again: when each request came, and how long it and its answer were.

Read from a file of one of three forms, told apart by its first line:

* ours, JSON lines: ``{"time_s": 0.25, "input_tokens": 512, "output_tokens": 64}``
* Mooncake (Qin et al. 2025, FAST) and Qwen-Bailian (Wang et al. 2025, USENIX ATC), JSON lines: ``timestamp``,
  ``input_length``, ``output_length``. Mooncake's timestamps are milliseconds, Qwen-Bailian's are seconds: what a file
  has is told from its fields and from the rate that either unit would mean, or must be said. Equal ``hash_ids`` give
  equal blocks of words, so that the prompts share the prefixes that the recorded ones shared. A block has 512 tokens in
  Mooncake's files and 16 in Qwen-Bailian's; what a file has is told from its lengths, or must be said.
* Azure LLM inference traces of 2023 and 2024 (Patel et al. 2024, Splitwise; Stojkovic et al. 2025, DynamoLLM), CSV:
  ``TIMESTAMP,ContextTokens,GeneratedTokens`` with a date and time.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

from pytest_llmperf.errors import DataError
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.load.arrivals import Schedule
from pytest_llmperf.load.workload import Shape

_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_Row = tuple[float, int, int, tuple[int, ...]]
"""(time, prompt tokens, answer tokens, ids of blocks); the time in seconds, of Mooncake's form in the file's unit"""
_BLOCKS = (512, 16, 64, 128, 256, 32)
"""Sizes of blocks that recorded loads have, the public ones first."""
Unit = Literal["s", "ms"]
_IN_SECONDS: Mapping[Unit, float] = {"s": 1.0, "ms": 1e-3}
_NAMES: Mapping[Unit, str] = {"s": "seconds", "ms": "milliseconds"}
_BAILIAN = ("chat_id", "parent_chat_id")
"""Fields that only Qwen-Bailian's traces have."""
_PLAUSIBLE_PER_S = (0.02, 200.0)
"""Requests a second of a recorded service. The two units lie a factor of a thousand apart."""
_MOST_TOKENS = 10_000_000


@dataclass(frozen=True)
class Replay:
    """A recorded load for :func:`run_open_loop`: ``run_open_loop(server, workload, replay.schedule,
    shapes=replay.shapes)``."""

    schedule: Schedule
    """The first request is at 0."""
    shapes: tuple[Shape, ...] = field(repr=False)
    note: str = field(default="", compare=False)
    """Describes the recording: number of requests, span, and the unit in which its times were read."""

    @property
    def shares_prefixes(self) -> bool:
        """True if its prompts have blocks in common, so that hits in a prefix cache are wanted."""
        return any(shape.block_tokens for shape in self.shapes)

    def faster(self, factor: float) -> Replay:
        """The same requests at ``factor`` times the rate; below 1 is slower. Raises ``ValueError`` if it is not
        finite and above 0."""
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(f"factor is {factor}; need a finite number above 0")
        offsets = tuple(offset_s / factor for offset_s in self.schedule.offsets_s)
        return replace(self, schedule=Schedule(f"{self.schedule.name}, {factor:g} times as fast", offsets))

    def at_most(self, *, input_tokens: int, output_tokens: int) -> Replay:
        """Longer prompts and answers are cut to these lengths: what a model with a short context can do of a
        trace. It is a lighter load than the recorded one, and its name says so."""
        shapes = tuple(
            replace(
                one,
                input_tokens=min(one.input_tokens, input_tokens),
                output_tokens=min(one.output_tokens, output_tokens),
            )
            for one in self.shapes
        )
        cut = sum(one != other for one, other in zip(shapes, self.shapes, strict=True))
        if not cut:
            return self
        name = f"{self.schedule.name}, {cut} of {len(shapes)} requests shortened"
        return replace(self, schedule=replace(self.schedule, name=name), shapes=shapes)


def read_trace(
    path: Path,
    *,
    skip: int = 0,
    requests: int | None = None,
    unit: Unit | None = None,
    block_tokens: int | None = None,
) -> Replay:
    """Requests ``skip`` to ``skip + requests`` (None: to the end) of a trace file, sorted by time.

    The first of them is at 0. An answer or prompt of no tokens, which the public traces have, becomes one of 1:
    no server can be asked for less. ``unit`` is that of ``timestamp``, ``"s"`` or ``"ms"``; None: told from the file.
    ``block_tokens`` is the size of the blocks that ``hash_ids`` name; None: told from the lengths, 0: they are left
    out, and no two prompts have a common beginning. Raises ``DataError`` with file, line and what was expected, and
    where unit or block size cannot be told.
    """
    if skip < 0 or (requests is not None and requests < 1):
        raise DataError(
            f"skip is {skip} and requests is {requests}; need skip from 0 on, and at least 1 request or None for all"
        )
    if unit is not None and unit not in _IN_SECONDS:
        raise DataError(f"the unit of the trace {path} is {unit!r}; need 's' or 'ms'")
    form = _Form()
    try:
        with Path(path).open(encoding="utf-8", newline="") as lines:
            rows = list(islice(_rows(lines, path, form), skip, None if requests is None else skip + requests))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the trace {path} cannot be read: {error}") from error
    if not rows:
        raise DataError(f"the trace {path} has no request after the first {skip}; need at least 1")
    rows.sort(key=lambda row: row[0])
    how = ""
    in_seconds = 1.0
    if form.has_unit:
        told = unit or _unit_of(path, rows, form)
        in_seconds = _IN_SECONDS[told]
        how = f"; its timestamps are read as {_NAMES[told]}" + (
            "" if unit else ' (unit="s" or "ms" says otherwise)'
        )
    offsets = tuple((row[0] - rows[0][0]) * in_seconds for row in rows)
    size = block_size(path, rows, block_tokens) if form.has_hashes else 0
    shapes = tuple(
        Shape(max(1, prompt), max(1, answer), blocks if size else (), size)
        for _, prompt, answer, blocks in rows
    )
    if size:
        how += f"; equal hash_ids are equal blocks of {size} tokens"
    elif form.has_hashes:
        how += "; its hash_ids are left out: no two prompts have a common beginning"
    note = f"trace {path.name}: {len(rows)} requests over {_span(offsets[-1])}{how}"
    return Replay(Schedule(f"trace {path.name}, {len(rows)} requests", offsets), shapes, note)


@dataclass
class _Form:
    """The format of a file, as far as it is known while the file is read."""

    has_unit: bool = False
    """True if its times are called ``timestamp``, whose unit differs from trace to trace."""
    is_bailian: bool = False
    has_hashes: bool = False
    kind: str = ""
    """Name of the field with the time in its first row."""
    sessions: set[str] = field(default_factory=set)
    """Every ``session_id`` so far."""


def _unit_of(path: Path, rows: Sequence[_Row], form: _Form) -> Unit:
    if form.is_bailian:
        return "s"
    span = rows[-1][0] - rows[0][0]
    if span == 0:
        return "ms"
    rates = {unit: (len(rows) - 1) / (span * each) for unit, each in _IN_SECONDS.items()}
    low, high = _PLAUSIBLE_PER_S
    fits = [unit for unit, rate in rates.items() if low <= rate <= high]
    if len(fits) == 1:
        return fits[0]
    raise DataError(
        f"the trace {path}: {len(rows)} requests between timestamp {rows[0][0]:g} and {rows[-1][0]:g} are "
        f"{rates['s']:.4g} a second if these are seconds, and {rates['ms']:.4g} if they are milliseconds; say which, "
        'with unit="s" or unit="ms"'
    )


def block_size(path: Path, rows: Sequence[_Row], said: int | None) -> int:
    """The tokens of a block: as many as give every prompt the number of blocks that it has; ``said``, if it is given.

    Raises :class:`DataError` where no usual size does."""
    if said == 0:
        return 0
    if said is not None and (isinstance(said, bool) or not isinstance(said, int) or said < 1):
        raise DataError(
            f"block_tokens is {said!r}; need a whole number from 1 on, 0 to leave hash_ids out, or None"
        )
    listed = [(prompt, len(blocks)) for _, prompt, _, blocks in rows if blocks]
    sizes = (said,) if said else _BLOCKS
    for size in sizes:
        if all(-(-prompt // size) == count for prompt, count in listed):
            return size
    prompt, count = next(row for row in listed if -(-row[0] // sizes[0]) != row[1])
    least, most = -(-prompt // count), -(-prompt // (count - 1)) - 1 if count > 1 else _MOST_TOKENS
    tried = f"of {said} tokens" if said else f"of a usual size ({', '.join(map(str, sorted(_BLOCKS)))})"
    raise DataError(
        f"the trace {path}: the blocks are not {tried}: a prompt of {prompt} tokens has {count} hash_ids, "
        f"{f'as with blocks of {least} to {most} tokens' if least <= most else 'as with no size of blocks'}; need the "
        "size of its blocks as block_tokens, or block_tokens=0 for prompts that share nothing"
    )


def _span(span_s: float) -> str:
    if span_s >= 7200:
        return f"{span_s / 3600:.4g} h"
    return f"{span_s / 60:.4g} min" if span_s >= 120 else f"{span_s:.4g} s"


def _rows(lines: Iterable[str], path: Path, form: _Form) -> Iterator[_Row]:
    take: Callable[[str], _Row] | None = None
    for number, raw in enumerate(lines, start=1):
        line = raw.strip().removeprefix("\ufeff")
        if not line:
            continue
        if take is None:
            if tuple(name.strip() for name in _cells(line)) == _AZURE:
                take = _azure
                continue
            take = partial(_json, form=form)
        try:
            row = take(line)
            if not (math.isfinite(row[0]) and min(row[1:3]) >= 0 and max(row[1:3]) <= _MOST_TOKENS):
                raise ValueError(
                    f"a time that is not finite, a length below 0, or one above {_MOST_TOKENS:,} tokens"
                )
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError, csv.Error) as error:
            raise DataError(
                f"the trace {path}, line {number}: {line[:120]!r} ({type(error).__name__}: {error}); need one of "
                "time_s, input_tokens, output_tokens (JSON lines) · timestamp, input_length, output_length (JSON "
                f"lines, Mooncake, Qwen-Bailian) · a CSV file that begins with {','.join(_AZURE)} (Azure); "
                "sessions, messages and texts are read by load.conversations(model, prompts=FILE)"
            ) from error
        yield row


def _json(line: str, form: _Form) -> _Row:
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise TypeError("not an object")
    _note_session(fields, form)
    kind = "timestamp" if "timestamp" in fields else "time_s"
    form.kind = form.kind or kind
    if kind != form.kind or {"timestamp", "time_s"} <= fields.keys():
        raise ValueError("both time_s and timestamp in one file, whose units differ")
    form.has_hashes = form.has_hashes or bool(fields.get("hash_ids"))
    if kind == "timestamp":
        form.has_unit = True
        form.is_bailian = form.is_bailian or any(name in fields for name in _BAILIAN)
        return (
            _number(fields, "timestamp"),
            _count(fields, "input_length"),
            _count(fields, "output_length"),
            _blocks(fields),
        )
    return (
        _number(fields, "time_s"),
        _count(fields, "input_tokens"),
        _count(fields, "output_tokens"),
        _blocks(fields),
    )


def _note_session(fields: JsonObject, form: _Form) -> None:
    """Raise ``ValueError`` for a line that follows another, or brings its own text: neither is a length by itself."""
    name = fields.get("session_id")
    if isinstance(name, str):
        if name in form.sessions:
            raise ValueError(f"another turn of session {name!r}, whose prompt holds the answer before")
        form.sessions.add(name)
    if own := next((each for each in ("messages", "text_input") if fields.get(each) is not None), None):
        raise ValueError(f"{own} is not a length")


def _blocks(fields: JsonObject) -> tuple[int, ...]:
    listed = fields.get("hash_ids") or []
    if not isinstance(listed, list) or any(
        isinstance(one, bool) or not isinstance(one, int) for one in listed
    ):
        raise TypeError(f"hash_ids is {str(listed)[:40]}, not a list of whole numbers")
    return tuple(one for one in listed if isinstance(one, int))


def _number(fields: JsonObject, name: str) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, not a number")
    return float(value)


def _count(fields: JsonObject, name: str) -> int:
    value = fields[name]
    # pandas writes 512.0 for a column that has gaps.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}, not a whole number")
    return value


def _azure(line: str) -> _Row:
    when, prompt, answer = _cells(line)
    time = datetime.fromisoformat(when)
    # Those of 2023 name no zone, those of 2024 name UTC; only differences matter.
    at_s = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    return at_s, _whole(prompt), _whole(answer), ()


def _cells(line: str) -> list[str]:
    """The cells of a line of CSV; no cells for one that isn't CSV."""
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _whole(cell: str) -> int:
    """A whole number, also as 512.0. Raises ``ValueError``."""
    return int(cell.strip().removesuffix(".0"))
