"""The promoted reference beside a run: its value of every gate, and the changes since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

from pytest_llmperf.errors import UsageError
from pytest_llmperf.record.compare import compare
from pytest_llmperf.record.references import identity
from pytest_llmperf.record.tables import load_answers
from pytest_llmperf.report.comparison import WORST_FIRST, outcome_counts
from pytest_llmperf.report.gate_cells import gate_cells
from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.parts import Section
from pytest_llmperf.report.table import Table
from pytest_llmperf.units import format_value

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Record, VerdictEntry

_TITLE = "Against the promoted reference"


def reference_section(facts: Facts) -> Section | None:
    """Return every metric of both runs with the changes beyond chance; None where nothing was ever promoted."""
    if facts.no_reference:
        return Section("reference", _TITLE, [f"No reference is shown: {facts.no_reference}"])
    reference = facts.reference
    if reference is None:
        if not facts.promoted:
            return None
        others = f"None of the {len(facts.promoted)} promoted records is of this profile, device and rows."
        return Section("reference", _TITLE, [others])
    if is_this_run(facts):
        return Section("reference", _TITLE, [f"This run is itself the promoted reference {reference}."])
    notes = [f"Compared with {reference}; outcomes are beyond chance, intervals are of each run alone."]
    try:
        before = load_answers(reference.path, reference.record)
    except UsageError:
        before = []
        notes.append("The reference's answers are not beside it: accuracies are compared unpaired.")
    found = compare(reference.record, facts.record, before, facts.answers)
    notes.append(f"{outcome_counts(found).capitalize()}.")
    notes += [*found.notes, *(f"Another since: {line}." for line in found.differs)]
    notes += [f"Asked of the reference and not of this run: {test}." for test in found.vanished]
    rows = [
        (
            difference.outcome.value,
            difference.what,
            format_value(difference.before, difference.unit),
            format_value(difference.now, difference.unit),
            difference.how,
        )
        for outcome in WORST_FIRST
        for difference in found.of(outcome)
    ]
    columns = ("outcome", "metric", "reference", "this run", "compared")
    states = [row[0].partition(" ")[0] for row in rows]
    table = Table(columns, rows, {2, 3}, "This run and the reference", states)
    return Section("reference", _TITLE, notes, (), [table] if rows else [])


def reference_cells(facts: Facts) -> list[str] | None:
    """Return the reference's value of each gate, in the order of the verdicts; None without a reference."""
    if facts.reference is None or is_this_run(facts):
        return None
    then = dict(_by_gate(facts.reference.record))
    return [_cell(then.get(key)) for key, _ in _by_gate(facts.record)]


def is_this_run(facts: Facts) -> bool:
    """Return whether the reference is the run itself, promoted since."""
    return facts.reference is not None and identity(facts.record) == identity(facts.reference.record)


def _by_gate(record: Record) -> Iterator[tuple[Hashable, VerdictEntry]]:
    """Verdicts by test, metric and unit, numbered where a test has several gates of one metric."""
    seen: Counter[tuple[str, ...]] = Counter()
    for entry in record.verdicts:
        seen[entry.gate] += 1
        yield (*entry.gate, seen[entry.gate]), entry


def _cell(entry: VerdictEntry | None) -> str:
    """The candidate's value, and its comparison with the baseline."""
    if entry is None:
        return "—"
    cells = gate_cells(entry.verdict)
    return cells.candidate if cells.compared == "—" else f"{cells.candidate}, {cells.compared}"
