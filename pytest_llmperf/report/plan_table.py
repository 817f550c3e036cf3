"""The plan of a run as people read it: a line a gate, then what to worry about, then how long it takes."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.gates.plan import OFTEN, WANTED, PlannedGate
from pytest_llmperf.gates.wording import plural, target
from pytest_llmperf.home import shown
from pytest_llmperf.record.prior import Duration, PlanningRecord
from pytest_llmperf.report.columns import aligned

_HEADER = (
    "gate",
    "bound",
    "data",
    f"caught {100 * OFTEN:.0f} %",
    f"caught {100 * WANTED:.0f} %",
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
    """A head and a line per gate in the order of the run, columns aligned; empty without gates."""
    if not gates:
        return []
    return aligned([_HEADER, *map(_cells, gates)], right=range(1, len(_HEADER) - 1))


def warnings(gates: Sequence[PlannedGate]) -> list[str]:
    """A sentence for each gate that will not decide what its bound asks; the same one once."""
    texts = [
        f"{gate.label} {_bound(gate)}: {gate.warning}" + (f" [{gate.origin}]" if gate.origin else "")
        for gate in gates
        if gate.warning
    ]
    return list(dict.fromkeys(texts))


def duration_lines(duration: Duration, earlier: PlanningRecord, device: str) -> list[str]:
    """How long it takes at most, where that is known from, and what is not known."""
    if earlier.device != device:
        theirs = earlier.device or "no device"
        return [
            f"minutes: unknown, {shown(earlier.path)} is of {theirs} and this is {device}: its times are not used"
        ]
    lines = []
    if duration.seconds:
        parts = ", ".join(f"{kind} {_minutes(seconds)}" for kind, seconds in duration.seconds.items())
        lines.append(f"minutes: at most {_minutes(duration.total_s)} ({parts}), by {shown(earlier.path)}")
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
        return f"{sign} baseline {'−' if gate.bound < 0 else '+'} {100 * abs(gate.bound):.6g} points"
    return (
        f"{sign} {100 * gate.bound:.6g} %"
        if gate.unit == "share"
        else f"{sign} {target(gate.bound, gate.unit)}"
    )


def _caught(gate: PlannedGate, damage: float | None) -> str:
    if damage is None:
        return "—"
    if gate.caught_unit == "points":
        return f"{'−' if gate.at_least else '+'}{100 * damage:.1f} points"
    return f"{100 * damage:.1f} % {gate.caught_unit}"


def _chance(chance: float) -> str:
    """Small ones as such, and none as an impossibility."""
    return "< 0.1 %" if chance < 0.001 else f"{100 * chance:.1f} %"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60.0:.1f}"
