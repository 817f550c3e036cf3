"""The page's plots: Vega-Lite specifications in ``*.vl.json`` files, filled with a run's data.

A file opens in any Vega-Lite editor once its placeholders, strings that begin with ``$``, are replaced. Colours are
variables of the page's style sheet, for dark, light and print. Strings that come from a run stand in the data, where
Vega takes them for text, and never in an expression.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from pytest_llmperf.visible_text import printable

Spec = dict[str, Any]

TIMELINE_FIELDS = ("row", "load", "round", "line", "sent", "first", "end", "outcome")
"""Fields of a request in the data of a timeline, which are arrays (objects would repeat every name); times in ms."""

_LONGEST_LABEL = 60
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])


def fill_plot(name: str, values: Sequence[Any], **fields: Any) -> Spec:
    """Return the specification ``NAME.vl.json`` with ``values`` as its data and ``fields`` for its placeholders.

    Raises ``KeyError`` for a placeholder without a field.
    """
    text = resources.files(__name__).joinpath(f"{name}.vl.json").read_text(encoding="utf-8")
    spec: Spec = _fill(json.loads(text), {**fields, "values": list(values)})
    return spec


def label(text: str) -> str:
    """Return ``text`` short enough for an axis."""
    return printable(text.replace("\n", " "), _LONGEST_LABEL)


def by_row(rows: Sequence[str], field: str = "row", legend: bool = False) -> dict[str, Spec]:
    """Return ``color`` and ``dash``, the encodings that distinguish models, the same in every plot.

    ``field`` of the data holds the label of a row. The page has a legend of its models; a plot of anything else needs
    its own (``legend``).
    """
    labels = [label(row) for row in rows]
    model: Spec = {"field": field, "type": "nominal", "title": None}
    if not legend:
        model["legend"] = None
    colours = [f"var(--c{i % 6})" for i in range(len(rows))]
    dashes = [list(_DASHES[i % len(_DASHES)]) for i in range(len(rows))]
    return {
        "color": {**model, "scale": {"domain": labels, "range": colours}},
        "dash": {**model, "scale": {"domain": labels, "range": dashes}},
    }


def _fill(node: Any, fields: Mapping[str, Any]) -> Any:
    if isinstance(node, dict):
        return {key: _fill(value, fields) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, fields) for value in node]
    return fields[node[1:]] if isinstance(node, str) and node.startswith("$") else node
