"""A recorded load again: when each request came, and how long it and its answer were.

Read from a file of one of three forms, told apart by its first line:

* ours, JSON lines: ``{"time_s": 0.25, "input_tokens": 512, "output_tokens": 64}``
* Mooncake (Qin et al. 2025, FAST), JSON lines: ``timestamp`` in milliseconds, ``input_length``, ``output_length``.
  Its ``hash_ids``, which say what prompts have in common, are not replayed: prompts are unique.
* Azure LLM inference traces of 2023 and 2024 (Patel et al. 2024, Splitwise; Stojkovic et al. 2025, DynamoLLM), CSV:
  ``TIMESTAMP,ContextTokens,GeneratedTokens`` with a date and time.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import DataError
from pytest_llmperf.load.arrivals import Schedule
from pytest_llmperf.load.workload import Shape

_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_Row = tuple[float, int, int]
"""(time in seconds, prompt tokens, answer tokens)"""


@dataclass(frozen=True)
class Replay:
    """What :func:`run_open_loop` needs to play a trace: ``run_open_loop(server, workload, replay.schedule,
    shapes=replay.shapes)``."""

    schedule: Schedule
    """The first request is at 0."""
    shapes: tuple[Shape, ...] = field(repr=False)

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
            Shape(min(one.input_tokens, input_tokens), min(one.output_tokens, output_tokens))
            for one in self.shapes
        )
        cut = sum(one != other for one, other in zip(shapes, self.shapes, strict=True))
        if not cut:
            return self
        name = f"{self.schedule.name}, {cut} of {len(shapes)} requests shortened"
        return Replay(replace(self.schedule, name=name), shapes)


def read_trace(path: Path, *, skip: int = 0, requests: int | None = None) -> Replay:
    """Requests ``skip`` to ``skip + requests`` (None: to the end) of a trace file, sorted by time.

    The first of them is at 0. An answer or prompt of no tokens, which the public traces have, becomes one of 1:
    no server can be asked for less. Raises ``DataError`` with file, line and what was expected.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = list(islice(_rows(lines, path), skip, None if requests is None else skip + requests))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the trace {path} cannot be read: {error}") from error
    if not rows:
        raise DataError(f"the trace {path} has no request after the first {skip}; need at least 1")
    rows.sort(key=lambda row: row[0])
    offsets = tuple(row[0] - rows[0][0] for row in rows)
    shapes = tuple(Shape(max(1, prompt), max(1, answer)) for _, prompt, answer in rows)
    return Replay(Schedule(f"trace {path.name}, {len(rows)} requests", offsets), shapes)


def _rows(lines: Iterable[str], path: Path) -> Iterator[_Row]:
    take: Callable[[str], _Row] | None = None
    for number, raw in enumerate(lines, start=1):
        line = raw.strip().removeprefix("\ufeff")
        if not line:
            continue
        if take is None:
            if tuple(next(csv.reader([line]))) == _AZURE:
                take = _azure
                continue
            take = _json
        try:
            row = take(line)
            if not (math.isfinite(row[0]) and min(row[1:]) >= 0):
                raise ValueError("a time that is not finite, or a length below 0")
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"the trace {path}, line {number}: {line[:120]!r} ({type(error).__name__}: {error}); need one of "
                "time_s, input_tokens, output_tokens (JSON lines) · timestamp, input_length, output_length (JSON "
                f"lines, Mooncake) · a CSV file that begins with {','.join(_AZURE)} (Azure)"
            ) from error
        yield row


def _json(line: str) -> _Row:
    fields = json.loads(line)
    if not isinstance(fields, dict):
        raise TypeError("not an object")
    if "timestamp" in fields:
        return (
            _number(fields, "timestamp") / 1000,
            _count(fields, "input_length"),
            _count(fields, "output_length"),
        )
    return _number(fields, "time_s"), _count(fields, "input_tokens"), _count(fields, "output_tokens")


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, not a number")
    return float(value)


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}, not a whole number")
    return value


def _azure(line: str) -> _Row:
    when, prompt, answer = next(csv.reader([line]))
    time = datetime.fromisoformat(when)
    # Those of 2023 name no zone, those of 2024 name UTC; only differences matter.
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp(), int(prompt), int(answer)
