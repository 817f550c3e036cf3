"""The section that opens the page of a run with several candidates: candidates × suites, linked to their gates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.gates import candidate_of, gate_anchor
from pytest_llmperf.report.html.parts import Section
from pytest_llmperf.report.overview import CandidateGate, Overview, OverviewCell, overview
from pytest_llmperf.report.table import Table
from pytest_llmperf.report.text import html_text


@dataclass(frozen=True)
class OverviewTable(Table):
    """A table whose cells are counts of gates: each count leads to the first of its gates."""

    cells: Sequence[Sequence[OverviewCell]] = ()
    """The cells of each row but its first."""

    def cell_html(self, row: int, column: int) -> str:
        if column == 0:
            return super().cell_html(row, column)
        return ", ".join(_links(self.cells[row][column - 1])) or "—"


def overview_section(facts: Facts) -> Section | None:
    """Return the table; None for a page of one candidate."""
    gates = [
        CandidateGate(candidate_of(facts, entry.test), entry.test, entry.verdict)
        for entry in facts.record.verdicts
    ]
    if (found := overview(gates, facts.candidates)) is None:
        return None
    note = "A cell counts the gates of one candidate in one file of the suite; each count leads to the first of them."
    return Section("overview", "Overview", [note], tables=[_table(found)])


def _table(found: Overview) -> OverviewTable:
    cells = [found.row(candidate) for candidate in found.candidates]
    return OverviewTable(
        found.columns,
        [
            [candidate, *(cell.text for cell in row)]
            for candidate, row in zip(found.candidates, cells, strict=True)
        ],
        caption="Candidates by suite",
        states=[row[0].status.value if row[0].status else "" for row in cells],
        cells=cells,
    )


def _links(cell: OverviewCell) -> Iterator[str]:
    for count in cell.counts:
        kind = count.status.value.lower()
        yield f'<a class="{kind}" href="#{gate_anchor(count.first)}">{html_text(count.text)}</a>'
    if cell.more:
        yield html_text(cell.more)
