"""Memory, power and clocks of the devices while something was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from pytest_llmperf.json_values import Json
from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.parts import Plot, Section
from pytest_llmperf.report.plots import by_row, fill_plot, label
from pytest_llmperf.report.table import Table
from pytest_llmperf.units import format_value

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Readings, TelemetryEntry

MOST_POINTS = 4_000
"""Maximum of points of a plot: a screen has no more columns."""

_QUANTITIES = (
    ("used_bytes", "Memory in use", "gigabytes", 1e-9),
    ("power_w", "Power", "watts", 1.0),
    ("sm_clock_mhz", "Clock of the processors", "megahertz", 1.0),
)


def telemetry_section(facts: Facts) -> Section | None:
    """Return the plots over the run, and the energy of its parts."""
    title = "Memory and power"
    entries = [(entry, entry.readings) for entry in facts.record.telemetry if entry.readings is not None]
    if not entries:
        return None
    labels = list(dict.fromkeys(_label(entry) for entry, _ in entries))
    begins = _begins(entries)
    plots = []
    for field, name, unit, times in _QUANTITIES:
        if values := _points(entries, begins, field, times):
            alt = f"{name} of the devices in {unit} over the time of the run, {len(entries)} measurements."
            plots.append(
                Plot(name, alt, fill_plot("over_time", values, axis=unit, **by_row(labels, legend=True)))
            )
    rows = [
        (
            (entry.what or "") + (f", shard {entry.shard}" if entry.shard else ""),
            _label(entry),
            entry.device or "",
            format_value(entry.energy_j, "J"),
            format_value(entry.mean_power_w, "W"),
            format_value(entry.peak_bytes, "bytes"),
            ", ".join(f"{why} {format_value(share, 'share')}" for why, share in entry.lowered.items()) or "—",
        )
        for entry, _ in entries
    ]
    columns = ("measured", "models", "device", "energy", "mean power", "peak memory", "clocks lowered")
    table = Table(columns, rows, {3, 4, 5}, "Devices", folded=len(rows) > 12)
    notes = ["Sampled only while measuring."]
    if len(begins) > 1:
        notes.append(
            "The shards ran on clocks of their own: their readings follow each other in the order of the shards, "
            "whenever they were made."
        )
    return Section("telemetry", title, notes, plots, [table])


def _begins(entries: Sequence[tuple[TelemetryEntry, Readings]]) -> dict[int | None, float]:
    """Return where the readings of each shard begin on the axis, seconds: where those of the one before end."""
    lengths: dict[int | None, float] = {}
    for entry, readings in entries:
        last = max((time_s for time_s in readings.time_s if time_s is not None), default=0.0)
        lengths[entry.shard] = max(last, lengths.get(entry.shard, 0.0))
    ends = accumulate(lengths.values())
    return {shard: end - length for (shard, length), end in zip(lengths.items(), ends, strict=True)}


def _points(
    entries: Sequence[tuple[TelemetryEntry, Readings]],
    begins: Mapping[int | None, float],
    field: str,
    times: float,
) -> list[dict[str, Json]]:
    total = sum(len(readings.time_s) for _, readings in entries)
    every = max(1, -(-total // MOST_POINTS))
    return [
        {
            "time": round(begins[entry.shard] + time_s, 4),
            "value": round(value * times, 4),
            "row": label(_label(entry)),
            "part": f"{part}",
        }
        for part, (entry, readings) in enumerate(entries)
        for time_s, value in list(zip(readings.time_s, getattr(readings, field), strict=False))[::every]
        if time_s is not None and value is not None
    ]


def _label(entry: TelemetryEntry) -> str:
    models = " and ".join(entry.rows) or entry.row
    return models if entry.concurrency is None else f"{models} at {entry.concurrency}"
