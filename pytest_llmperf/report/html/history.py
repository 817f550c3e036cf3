"""The history of each gate over earlier runs of the same comparison, with changes of its level."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.json_values import Json
from pytest_llmperf.record import SCHEMA
from pytest_llmperf.record.references import identity
from pytest_llmperf.record.store import read_record
from pytest_llmperf.report.html.change_points import LEAST_RUNS, change_points
from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.parts import Plot, Section
from pytest_llmperf.report.plots import fill_plot, label
from pytest_llmperf.report.table import Table
from pytest_llmperf.units import format_bound, format_interval, format_value

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Record, VerdictEntry

MOST_RUNS = 60
"""The latest runs are shown; older ones are counted."""

MOST_POINTS = 4_000
"""Maximum of values drawn, some 350 bytes each; the gates that changed their level come first."""


@dataclass(frozen=True)
class Earlier:
    """A run of the history, with its verdicts by the name of the gate."""

    name: str
    identity: str
    """Identifies the run; a promoted copy has the same."""
    written: str
    promoted: bool
    """It was promoted to a reference."""
    current: bool
    """It is the reference that this run is compared with."""
    verdicts: Mapping[str, VerdictEntry] = field(repr=False)


def records_beside(record: Path, *directories: Path) -> list[Path]:
    """Return other records in the same directory and in ``directories``."""
    found = [
        path
        for place in dict.fromkeys((record.parent, *directories))
        for path in sorted(place.glob("*.json"))
    ]
    return [path for path in found if path.resolve() != record.resolve() and _is_record(path)]


def history_section(facts: Facts) -> Section | None:
    """Return a plot of the gate that the reader chooses, and a table of every change of level."""
    title = "History"
    runs, others = _runs(facts)
    notes = []
    if others:
        notes.append(
            f"{others} of the records found are about other models, another profile or device, and are left out."
        )
    if len(runs) < 2:
        notes.insert(0, "No earlier record of this comparison lies beside this one.")
        return Section("history", title, notes) if others else None
    gates = list(runs[-1].verdicts)
    changes = {gate: change_points([_observed(run, gate) for run in runs]) for gate in gates}
    then = next((run for run in runs[:-1] if run.current), None)
    dates = _dates(runs)
    known = [gate for gate in gates if any(_observed(run, gate) is not None for run in runs)]
    if not known:
        return Section("history", title, ["No gate of this run has a value."])
    moved = [gate for gate in gates if changes[gate]]
    first = [*dict.fromkeys([*moved, *known])][: max(1, MOST_POINTS // len(runs))]
    drawn = [gate for gate in known if gate in set(first)]
    if len(drawn) < len(known):
        notes.append(
            f"Drawn are {len(drawn):,} of {len(known):,} gates, those first whose level changed; the others' values "
            f"are in the {len(runs)} records."
        )
    values = [
        {**_value(gate, place, run, place in (changes[gate] or ()), then), "date": dates[place]}
        for gate in drawn
        for place, run in enumerate(runs)
        if _observed(run, gate) is not None
    ]
    plot = Plot(
        "A gate over the runs",
        f"Value, interval and bound of the chosen gate in {len(runs)} runs; {len(moved)} of {len(gates)} gates "
        "have changed their level. The values of this run are in the table of gates.",
        fill_plot(
            "history",
            values,
            metrics=[label(gate) for gate in drawn],
            metric=label(next(iter([*moved, *drawn]))),
            units={label(gate): _unit(runs[-1], gate) for gate in drawn},
        ),
        wide=True,
    )
    rows = [
        (
            gate,
            runs[at].name,
            *(format_value(level, _unit(runs[-1], gate)) for level in _levels(runs, gate, at)),
        )
        for gate in moved
        for at in changes[gate] or ()
    ]
    if any(found is None for found in changes.values()):
        notes.append("Changes of level are not looked for: pip install 'pytest-llmperf[history]' does that.")
    elif len(runs) < LEAST_RUNS:
        notes.append(f"Changes of level are looked for from {LEAST_RUNS} runs on; there are {len(runs)}.")
    elif not rows:
        notes.append(f"No gate has changed its level over these {len(runs)} runs.")
    notes.append("A ring marks a promoted reference, a dashed upright line the first run at another level.")
    if then is not None:
        notes.append(
            f"The dotted line is what the reference had that this run is compared with, {facts.reference}."
        )
    columns = ("gate", "first run at the new level", "before", "since")
    return Section(
        "history",
        title,
        notes,
        [plot],
        [Table(columns, rows, {2, 3}, "Changes of level")] if rows else [],
    )


def _runs(facts: Facts) -> tuple[list[Earlier], int]:
    """In the order of time, this one last; and how many records are about something else."""
    found: list[Earlier] = []
    others = 0
    promoted = {identity(reference.record): reference for reference in facts.promoted}
    current = identity(facts.reference.record) if facts.reference else None

    def run(path: Path, record: Record) -> Earlier:
        this = identity(record)
        made = bool(record.promoted) or this in promoted
        return Earlier(path.stem, this, record.written, made, this == current, _gates(record))

    own = {shard.file: shard.sha256 for shard in facts.record.shards}
    for path in facts.earlier:
        if path.name in own and _sha256(path) == own[path.name]:
            continue  # A part of this run, and no earlier one.
        try:
            record = read_record(path)
        except LlmperfError:
            continue
        if _subject(record) != _subject(facts.record):
            others += 1
            continue
        found.append(run(path, record))
    this = run(facts.path, facts.record)
    # A reference is a copy: where the run that it is of lies here as well, it is there once.
    known = {this.identity, *(run.identity for run in found)}
    found += [
        run(reference.path.parent, reference.record)
        for of, reference in promoted.items()
        if of not in known and _subject(reference.record) == _subject(facts.record)
    ]
    before = sorted((run for run in found if run.written <= this.written), key=lambda run: run.written)
    kept = before[-(MOST_RUNS - 1) :]
    # The reference stays however many runs have been since.
    return [
        *(run for run in before[: -len(kept) or None] if run.current and run not in kept),
        *kept,
        this,
    ], others


def _subject(record: Record) -> tuple[object, ...]:
    """Return what two records must share for their values to belong to one history."""
    shard = None if record.shard is None else (record.shard.number, record.shard.of)
    return record.profile, record.device, record.candidates, record.baseline, shard


def _gates(record: Record) -> dict[str, VerdictEntry]:
    """Verdicts by the name of the gate."""
    verdicts: dict[str, VerdictEntry] = {}
    for entry in record.verdicts:
        # Distinguishes two gates of one metric.
        kind = " against the baseline" if entry.unit == "points" else ""
        name = gate = f"{entry.metric}{kind}"
        nth = 1
        while name in verdicts:
            nth += 1
            name = f"{gate} ({nth})"
        verdicts[name] = entry
    return verdicts


def _observed(run: Earlier, gate: str) -> float | None:
    return run.verdicts[gate].observed if gate in run.verdicts else None


def _dates(runs: Sequence[Earlier]) -> list[str]:
    """The day of each run, with its time where two are of one day; numbered where they still are the same."""
    days = [run.written[:10] or run.name for run in runs]
    dates: list[str] = []
    for run, day in zip(runs, days, strict=True):
        date = day if days.count(day) == 1 else run.written[:16].replace("T", " ") or day
        nth = 1 + sum(known.partition(" (")[0] == date for known in dates)
        dates.append(date if nth == 1 else f"{date} ({nth})")
    return dates


def _unit(run: Earlier, gate: str) -> str:
    return run.verdicts[gate].unit


def _levels(runs: Sequence[Earlier], gate: str, at: int) -> tuple[float, float]:
    """Return the mean levels before ``at`` and from it on, up to the next changes."""
    values = [_observed(run, gate) for run in runs]
    ends = [0, *(change_points(values) or ()), len(runs)]
    low = max(end for end in ends if end < at)
    high = min(end for end in ends if end > at)
    before, since = ([v for v in values[a:b] if v is not None] for a, b in ((low, at), (at, high)))
    return tuple(math.fsum(part) / len(part) if part else math.nan for part in (before, since))  # type: ignore[return-value]


def _value(gate: str, place: int, run: Earlier, changed: bool, reference: Earlier | None) -> dict[str, Json]:
    verdict = run.verdicts[gate]
    unit = verdict.unit
    low, high = verdict.interval or (None, None)
    whole = low is not None and high is not None
    observed = _observed(run, gate)
    said = format_interval((low, high), unit) if low is not None and high is not None else "—"
    return {
        "metric": label(gate),
        "run": place + 1,
        "name": label(f"{run.name}, {run.written[:16].replace('T', ' ')}".rstrip(", ")),
        "status": verdict.status.value,
        "observed": observed,
        "low": low if whole else None,
        "high": high if whole else None,
        "bound": verdict.bound,
        "promoted": run.promoted,
        "reference": None if reference is None else _observed(reference, gate),
        "changed": changed,
        "shown": f"{format_value(observed, unit)} ({said}), bound {format_bound(verdict.bound, unit)}",
    }


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _is_record(path: Path) -> bool:
    """Return whether the first bytes are a record's: a directory may hold large files of other kinds."""
    try:
        with path.open("rb") as file:
            head = file.read(200)
    except OSError:
        return False
    return json.dumps(SCHEMA).encode() in head
