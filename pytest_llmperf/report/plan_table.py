"""The plan of a run for the terminal: a line a gate, then warnings, then how long it takes."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.gates.plan import OFTEN, WANTED, PlannedGate
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.home import shown
from pytest_llmperf.record.prior import Duration, PlanningRecord
from pytest_llmperf.report.table import Table
from pytest_llmperf.units import format_bound, format_size, format_value, percent

_HEADER = (
    "gate",
    "bound",
    "data",
    f"caught {percent(OFTEN)}",
    f"caught {percent(WANTED)}",
    "FAIL",
    "not PASS",
    "nothing wrong means",
)
LEGEND = (
    "caught: damage that is called FAIL with that chance, as points off what is assumed (off the baseline where there "
    "is one), as time, or as the share of samples beyond the bound; FAIL, not PASS: the chance with nothing wrong"
)
WITHOUT_RECORD = "minutes: give --llmperf-plan=RECORD, the record of an earlier run on this device"


def plan_table(gates: Sequence[PlannedGate]) -> list[str]:
    """Return a head and a line per gate in the order of the run; empty without gates."""
    return Table(_HEADER, [*map(_cells, gates)], range(1, len(_HEADER) - 1)).to_text()


def warnings(gates: Sequence[PlannedGate]) -> list[str]:
    """Return a sentence for each gate that will not decide what its bound asks, each sentence once."""
    texts = [
        f"{gate.label} {_bound(gate)}: {gate.warning}" + (f" [{gate.origin}]" if gate.origin else "")
        for gate in gates
        if gate.warning
    ]
    return list(dict.fromkeys(texts))


def duration_lines(duration: Duration, earlier: PlanningRecord, device: str) -> list[str]:
    """Return how long the run takes at most, by which record, and which parts are unknown."""
    if earlier.device != device:
        theirs = earlier.device or "no device"
        return [
            f"minutes: unknown, {shown(earlier.path)} is of {theirs} and this is {device}: its times are not used"
        ]
    lines = []
    if duration.seconds:
        parts = ", ".join(f"{kind} {_minutes(seconds)}" for kind, seconds in duration.seconds.items())
        lines.append(f"minutes: at most {_minutes(duration.total_s)} ({parts}), by {shown(earlier.path)}")
    for phase, rate in duration.estimated:
        lines.append(
            f"minutes: {phase} is estimated from {rate:,.0f} prompt tokens a second of other lengths in that record"
        )
    if duration.unknown:
        lines.append(f"minutes: not in that record: {', '.join(map(str, duration.unknown))}")
    return lines


def _cells(gate: PlannedGate) -> tuple[str, ...]:
    said = gate.chances
    data = plural(gate.n, gate.noun)
    notes = [note for note in (gate.assumed, gate.remark) if note]
    return (
        gate.label,
        _bound(gate),
        f"≤ {data}" if gate.at_most else data,
        _caught(gate, gate.caught_often),
        _caught(gate, gate.caught),
        "—" if said is None else _chance(said.fails),
        "—" if said is None else _chance(1.0 - said.passes),
        "; ".join(notes) or "—",
    )


def _bound(gate: PlannedGate) -> str:
    if gate.bound is None:
        return "—"
    sign = "≥" if gate.at_least else "≤"
    if gate.unit == "points":
        return f"{sign} baseline {'−' if gate.bound < 0 else '+'} {format_size(abs(gate.bound), 'points')}"
    return f"{sign} {format_bound(gate.bound, gate.unit)}"


def _caught(gate: PlannedGate, damage: float | None) -> str:
    if damage is None:
        return "—"
    if gate.caught_unit == "points":
        return format_value(-damage if gate.at_least else damage, "points")
    return f"{format_value(damage, 'share')} {gate.caught_unit}"


def _chance(chance: float) -> str:
    return "< 0.1 %" if chance < 0.001 else format_value(chance, "share")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60.0:.1f}"
