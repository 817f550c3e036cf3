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


TIMELINE = ("row", "load", "round", "line", "sent", "first", "end", "outcome")
"""Fields of a request in the data of a timeline, which are arrays; times are milliseconds."""


def timeline(
    values: Sequence[Sequence[Any]],
    rows: Sequence[str],
    *,
    loads: Sequence[str],
    rounds: int,
    first: tuple[str, int],
) -> Spec:
    """A line per request of the chosen ``load`` and ``round``; ``first`` is what is chosen at the beginning."""
    at = {name: str(place) for place, name in enumerate(TIMELINE)}
    colour = {**_by_row(rows)["color"], "field": at["row"]}
    y = {"field": at["line"], "type": "ordinal", "axis": None, "title": None}
    x = {
        "type": "quantitative",
        "title": "milliseconds since the side's first request",
        "axis": {"format": ",~f", "tickCount": 8},
    }
    tooltip = [{"field": field, "title": name} for name, field in at.items() if name not in {"line", "load"}]
    chosen = f"datum['{at['load']}'] === load && datum['{at['round']}'] === round"
    return _spec(
        values,
        height={"step": 9},
        autosize={"type": "fit-x", "contains": "padding"},
        params=[
            {
                "name": "load",
                "value": first[0],
                "bind": {"input": "select", "options": [*loads], "name": "load "},
            },
            {
                "name": "round",
                "value": first[1],
                "bind": {"input": "range", "min": 1, "max": max(rounds, 2), "step": 1, "name": "round "},
            },
        ],
        transform=[{"filter": chosen}],
        encoding={"y": y, "color": colour},
        layer=[
            {
                "mark": {"type": "bar", "height": 6, "opacity": 0.35},
                "encoding": {
                    "x": {**x, "field": at["sent"]},
                    "x2": {"field": at["first"]},
                    "tooltip": tooltip,
                },
            },
            {
                "mark": {"type": "bar", "height": 6},
                "encoding": {
                    "x": {**x, "field": at["first"]},
                    "x2": {"field": at["end"]},
                    "tooltip": tooltip,
                },
            },
            {
                "transform": [{"filter": f"datum['{at['outcome']}'] !== 'ok'"}],
                "mark": {"type": "point", "shape": "cross", "size": 60, "filled": True},
                "encoding": {
                    "x": {**x, "field": at["end"]},
                    "color": {"value": "var(--fail)"},
                    "tooltip": tooltip,
                },
            },
        ],
    )


def over_time(values: Sequence[Mapping[str, Any]], axis: str, rows: Sequence[str]) -> Spec:
    """``value`` against ``time`` (seconds), a line per ``row`` and ``part`` of the run."""
    shown = _by_row(rows)
    return _spec(
        values,
        height=200,
        mark={"type": "line", "interpolate": "step-after", "strokeWidth": 2},
        encoding={
            "x": {"field": "time", "type": "quantitative", "title": "seconds"},
            "y": {
                "field": "value",
                "type": "quantitative",
                "title": axis,
                "axis": {"format": ",~f"},
                "scale": {"zero": True, "nice": True},
            },
            "detail": {"field": "part", "type": "nominal"},
            **shown,
        },
    )


def history(values: Sequence[Mapping[str, Any]], metrics: Sequence[str], first: str) -> Spec:
    """One metric over the runs, the one that the reader chooses: interval, value, bound, and where the level changed.

    Each value has ``metric``, ``run`` (its number), ``name``, ``status``, ``observed``, ``low``, ``high``, ``bound``,
    ``reference`` (what the promoted reference had), ``promoted`` and ``changed`` (booleans) and ``shown``.
    """
    states = {"domain": list(STATES), "range": [f"var(--{state.lower()})" for state in STATES]}
    x = {
        "field": "run",
        "type": "ordinal",
        "title": "run, the latest at the right",
        "axis": {"labelAngle": 0, "labelOverlap": True},
    }
    y = {
        "type": "quantitative",
        "title": "value",
        "scale": {"zero": False, "padding": 12},
        "axis": {"format": "~g"},
    }
    colour = {"field": "status", "type": "nominal", "scale": states, "legend": {"title": "verdict"}}
    shape = {"field": "status", "type": "nominal", "scale": {"domain": list(STATES), "range": list(_SHAPES)}}
    return _spec(
        values,
        height=260,
        params=[
            {
                "name": "metric",
                "value": first,
                "bind": {"input": "select", "options": [*metrics], "name": "metric "},
            }
        ],
        transform=[{"filter": "datum.metric === metric"}],
        encoding={"x": x},
        layer=[
            {
                "transform": [{"filter": "datum.changed"}],
                "mark": {"type": "rule", "strokeDash": [4, 4], "color": "var(--ink)"},
            },
            {
                "transform": [{"filter": {"field": "bound", "valid": True}}],
                "mark": {"type": "line", "interpolate": "step", "strokeWidth": 2, "color": "var(--soft)"},
                "encoding": {"y": {**y, "field": "bound"}},
            },
            {
                "transform": [{"filter": {"field": "reference", "valid": True}}],
                "mark": {"type": "line", "strokeDash": [2, 4], "strokeWidth": 2, "color": "var(--link)"},
                "encoding": {"y": {**y, "field": "reference"}},
            },
            {
                "transform": [{"filter": {"field": "low", "valid": True}}],
                "mark": {"type": "rule", "strokeWidth": 3},
                "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
            },
            {
                "transform": [{"filter": "datum.promoted"}],
                "mark": {
                    "type": "point",
                    "size": 260,
                    "filled": False,
                    "strokeWidth": 2,
                    "color": "var(--ink)",
                },
                "encoding": {"y": {**y, "field": "observed"}},
            },
            {
                "mark": {"type": "point", "size": 70, "filled": True, "opacity": 1},
                "encoding": {
                    "y": {**y, "field": "observed"},
                    "color": colour,
                    "shape": shape,
                    "tooltip": [{"field": name} for name in ("name", "status", "shown")],
                },
            },
        ],
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


def _spec(values: Sequence[Mapping[str, Any]] | Sequence[Sequence[Any]], **rest: Any) -> Spec:
    return {"$schema": _SCHEMA, "width": "container", "data": {"values": list(values)}, **rest}
