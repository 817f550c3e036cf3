"""Vega-Lite specifications of the plots. Colours are variables of the page's style sheet: dark, light and print.

Whatever comes from a run stands in the data, where Vega takes it for text, and never in an expression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.report.html.text import visible

Spec = dict[str, Any]
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_LONGEST_LABEL = 60
STATES = ("PASS", "FAIL", "INCONCLUSIVE", "INVALID")
_SHAPES = ("circle", "cross", "triangle-up", "square")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])


def label(text: str) -> str:
    """``text`` short enough for an axis."""
    return visible(text.replace("\n", " "), _LONGEST_LABEL)


def intervals(
    values: Sequence[Mapping[str, Any]],
    axis: str,
    format_: str,
    *,
    domain: tuple[float, float] | None = None,
    log: bool = False,
) -> Spec:
    """A line per gate: the interval, what was observed (shape and colour say the verdict), the bound as a bar.

    ``domain`` is the span of the axis where it does not follow from the values. Each value has ``gate``,
    ``status``, ``observed``, ``shown`` (all of it as text), and ``low``, ``high``, ``bound`` or None.
    """
    scale: Spec = {"type": "linear", "zero": False, "padding": 10}
    if domain is not None:
        scale = {"type": "linear", "domain": list(domain)}
    x = {
        "type": "quantitative",
        "title": axis,
        "axis": {"format": format_, "tickCount": 6},
        "scale": {"type": "log"} if log else scale,
    }
    states = {"domain": list(STATES), "range": [f"var(--{state.lower()})" for state in STATES]}
    y = {"field": "gate", "type": "nominal", "sort": None, "title": None}
    colour = {"field": "status", "type": "nominal", "scale": states, "legend": {"title": "verdict"}}
    shape = {"field": "status", "type": "nominal", "scale": {"domain": list(STATES), "range": list(_SHAPES)}}
    return _spec(
        values,
        height=22 * len(values),
        encoding={"y": y},
        layer=[
            {
                "transform": [{"filter": {"field": "low", "valid": True}}],
                "mark": {"type": "rule", "strokeWidth": 3},
                "encoding": {
                    "x": {**x, "field": "low"},
                    "x2": {"field": "high"},
                    "color": colour,
                },
            },
            {
                "mark": {"type": "point", "size": 70, "filled": True, "opacity": 1},
                "encoding": {
                    "x": {**x, "field": "observed"},
                    "color": colour,
                    "shape": shape,
                    "tooltip": [{"field": name} for name in ("gate", "status", "shown")],
                },
            },
            {
                "transform": [{"filter": {"field": "bound", "valid": True}}],
                "mark": {"type": "tick", "thickness": 3, "size": 20, "color": "var(--ink)"},
                "encoding": {"x": {**x, "field": "bound"}},
            },
        ],
    )


def shares_below(values: Sequence[Mapping[str, Any]], axis: str, rows: Sequence[str]) -> Spec:
    """Empirical distribution functions: ``value`` against ``share``, a line per ``row``."""
    return _spec(
        values,
        height=200,
        mark={"type": "line", "interpolate": "step-after", "strokeWidth": 2},
        encoding={
            "x": {
                "field": "value",
                "type": "quantitative",
                "title": axis,
                "scale": {"type": "log", "nice": False},
                "axis": {"format": "~g", "tickCount": 6},
            },
            "y": {
                "field": "share",
                "type": "quantitative",
                "title": "share of samples at or below",
                "axis": {"format": ".0%"},
            },
            **_by_row(rows),
        },
    )


def against_concurrency(
    values: Sequence[Mapping[str, Any]], axis: str, rows: Sequence[str], *, log: bool = False
) -> Spec:
    """``value`` with ``low`` and ``high`` (or None) against ``concurrency``, a line per ``row``."""
    y = {
        "type": "quantitative",
        "title": axis,
        "scale": {"type": "log"} if log else {"type": "linear", "zero": True},
        "axis": {"format": "~g" if log else ",~f"},
    }
    x = {
        "field": "concurrency",
        "type": "ordinal",
        "title": "concurrent requests",
        "axis": {"labelAngle": 0},
    }
    shown = _by_row(rows)
    return _spec(
        values,
        height=240,
        encoding={"x": x, "color": shown["color"]},
        layer=[
            {
                "mark": {"type": "line", "point": {"size": 50}},
                "encoding": {
                    "y": {**y, "field": "value"},
                    "strokeDash": shown["strokeDash"],
                    "tooltip": [{"field": name} for name in ("row", "concurrency", "shown")],
                },
            },
            {
                "transform": [{"filter": {"field": "low", "valid": True}}],
                "mark": {"type": "rule", "strokeWidth": 4, "opacity": 0.5},
                "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}},
            },
        ],
    )


def bars(values: Sequence[Mapping[str, Any]], axis: str) -> Spec:
    """A bar per ``name``, as long as ``value``."""
    return _spec(
        values,
        height=24 * len(values),
        mark={"type": "bar", "color": "var(--c0)"},
        encoding={
            "y": {"field": "name", "type": "nominal", "sort": None, "title": None},
            "x": {"field": "value", "type": "quantitative", "title": axis},
        },
    )


def _by_row(rows: Sequence[str]) -> Spec:
    """Colour and dashes of each row, the same in every plot."""
    labels = [label(row) for row in rows]
    colours = [f"var(--c{i % 6})" for i in range(len(rows))]
    dashes = [list(_DASHES[i % len(_DASHES)]) for i in range(len(rows))]
    model = {"field": "row", "type": "nominal", "title": "model"}
    return {
        "color": {**model, "scale": {"domain": labels, "range": colours}},
        "strokeDash": {**model, "scale": {"domain": labels, "range": dashes}},
    }


def _spec(values: Sequence[Mapping[str, Any]], **rest: Any) -> Spec:
    return {"$schema": _SCHEMA, "width": "container", "data": {"values": list(values)}, **rest}
