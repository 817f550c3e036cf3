"""Plots' data column by column, as the page holds them: names of fields and repeated texts are written once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Column = Sequence[Any] | dict[str, Any]
"""All values; ``{"of": [texts], "at": [places in them]}``; or ``{"only": value}`` of a column with a single value."""


def pack(specs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return ``specs`` with their data packed, which ``page.js`` unpacks.

    ``data`` becomes ``{"rows": count, "names": [fields] or null, "columns": [columns]}`` (null: a row is an array), or
    ``{"same": place}`` where an earlier plot has the same data. Data of another form stay as they are.
    """
    packed: list[Mapping[str, Any]] = []
    known: dict[str, int] = {}
    for place, spec in enumerate(specs):
        columns = _packed(spec["data"].get("values") or [])
        if columns is not None:
            first = known.setdefault(json.dumps(columns), place)
            spec = {**spec, "data": columns if first == place else {"same": first}}
        packed.append(spec)
    return packed


def _packed(rows: Sequence[Any]) -> dict[str, Any] | None:
    """Return the columns of ``rows``; None if there are no rows, or they have no common fields."""
    if not rows:
        return None
    first = rows[0]
    if isinstance(first, Mapping):
        names = list(first)
        if not all(isinstance(row, Mapping) and list(row) == names for row in rows):
            return None
        columns = [[row[name] for row in rows] for name in names]
        return {"rows": len(rows), "names": names, "columns": [_column(values) for values in columns]}
    if not isinstance(first, list) or not all(
        isinstance(row, list) and len(row) == len(first) for row in rows
    ):
        return None
    return {
        "rows": len(rows),
        "names": None,
        "columns": [_column(values) for values in zip(*rows, strict=True)],
    }


def _column(values: Sequence[Any]) -> Column:
    first = values[0]
    # True equals 1, and 1 equals 1.0.
    if all(value is first or (type(value) is type(first) and value == first) for value in values):
        return {"only": first}
    if not all(isinstance(value, str) for value in values):
        return values
    texts = {text: place for place, text in enumerate(dict.fromkeys(values))}
    if 2 * len(texts) > len(values):
        return values
    return {"of": [*texts], "at": [texts[value] for value in values]}
