"""JSON values whose form nobody has checked yet: every reader must check what it reads.

A known structure has a type of its own: a dataclass, a ``TypedDict``, or a model of ``record/model.py``.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""Lists and dictionaries are read-only here, so that a list of strings is a list of JSON values too."""
JsonObject: TypeAlias = Mapping[str, Json]


def parse_json(body: bytes | str) -> Json:
    """Parse a body as JSON; return None if it isn't JSON, or is nested more deeply than Python can read."""
    # Not "utf-8-sig": its module could not be imported where no more files can be opened.
    text = body if isinstance(body, str) else body.removeprefix(codecs.BOM_UTF8).decode(errors="replace")
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value


def object_of(value: object) -> JsonObject:
    """Return ``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> Sequence[Json]:
    """Return ``value`` if it is a JSON array, else an empty one."""
    return value if isinstance(value, list | tuple) else ()


def finite(value: Json) -> float | None:
    """Return ``value`` as a float if it is a finite number, else None; a number in quotes is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return number if math.isfinite(number := float(value)) else None
    except OverflowError:
        return None
