"""What the devices did while they were measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmperf.report.html import specs
from pytest_llmperf.report.html.facts import Facts, number
from pytest_llmperf.report.html.parts import Plot, Section, Table
from pytest_llmperf.report.numbers import show

MOST_POINTS = 4_000
"""Of one plot: a screen has no more columns."""

_QUANTITIES = (
    ("used_bytes", "Memory in use", "gigabytes", 1e-9),
    ("power_w", "Power", "watts", 1.0),
    ("sm_clock_mhz", "Clock of the processors", "megahertz", 1.0),
)


def telemetry_section(facts: Facts) -> Section:
    """Memory, power and clocks over the run, and the energy of its parts."""
    title = "Memory and power over time"
    entries = [one for one in facts.dicts("telemetry") if isinstance(one.get("readings"), Mapping)]
    if not entries:
        why = (
            "This record holds no readings of a device: they are taken of GPUs, while something is measured."
        )
        return Section("telemetry", title, [why])
    labels = list(dict.fromkeys(_label(one) for one in entries))
    plots = []
    for field, name, unit, times in _QUANTITIES:
        if values := _points(entries, field, times):
            alt = f"{name} of the devices in {unit} over the time of the run, {len(entries)} measurements."
            plots.append(Plot(name, alt, specs.over_time(values, unit, labels)))
    rows = [
        (
            str(one.get("what") or ""),
            _label(one),
            str(one.get("device") or ""),
            show(number(one.get("energy_j")), "J"),
            show(number(one.get("mean_power_w")), "W"),
            show(number(one.get("peak_bytes")), "bytes"),
            _lowered(one.get("lowered")),
        )
        for one in entries
    ]
    columns = ("measured", "models", "device", "energy", "mean power", "peak memory", "clocks lowered")
    table = Table("Devices", columns, rows, frozenset({3, 4, 5}), folded=len(rows) > 12)
    return Section("telemetry", title, ["Between measurements nothing is read."], plots, [table])


def _points(entries: list[Mapping[str, Any]], field: str, times: float) -> list[dict[str, Any]]:
    total = sum(len(_column(one, "time_s")) for one in entries)
    every = max(1, -(-total // MOST_POINTS))
    return [
        {
            "time": time_s,
            "value": round(value * times, 4),
            "row": specs.label(_label(one)),
            "part": f"{part}",
        }
        for part, one in enumerate(entries)
        for at, value in list(zip(_column(one, "time_s"), _column(one, field), strict=False))[::every]
        if (time_s := number(at)) is not None and number(value) is not None
    ]


def _column(entry: Mapping[str, Any], name: str) -> list[Any]:
    found = entry["readings"].get(name)
    return found if isinstance(found, list) else []


def _label(entry: Mapping[str, Any]) -> str:
    rows = entry.get("rows")
    models = " and ".join(map(str, rows)) if isinstance(rows, list) and rows else str(entry.get("row") or "—")
    concurrency = number(entry.get("concurrency"))
    return models if concurrency is None else f"{models} at {concurrency:.0f}"


def _lowered(shares: object) -> str:
    if not isinstance(shares, Mapping) or not shares:
        return "—"
    known = ((str(why), number(share)) for why, share in shares.items())
    return ", ".join(f"{why} {show(share, 'share')}" for why, share in known if share is not None) or "—"
