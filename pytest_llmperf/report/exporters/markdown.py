"""A run as Markdown for GitHub and GitLab: the verdict, where to look first, and the gates as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_llmperf.gates.verdict import WORST_FIRST, Status, Verdict
from pytest_llmperf.gates.wording import plural, status_words
from pytest_llmperf.report.exporters.base import FileExporter, LocatedVerdict, RunResults, title_of
from pytest_llmperf.report.gate_cells import NUMBERS, flips_line, gate_cells
from pytest_llmperf.report.overview import CandidateGate, Overview, named, overview
from pytest_llmperf.report.table import Table
from pytest_llmperf.report.text import markdown_text

MOST_ROWS = 300
"""Maximum of rows of a table: GitHub takes 1 MiB of summary from a step, and people do not read more."""

_SIGNS = {Status.PASS: "✅", Status.FAIL: "❌", Status.INCONCLUSIVE: "❔", Status.INVALID: "⛔"}
_COLUMNS = ("verdict", "metric", *NUMBERS, "n")


class MarkdownExporter(FileExporter):
    """Writes the file of ``--llmperf-markdown``."""

    def unfinished(self, about: Mapping[str, str]) -> str:
        title = markdown_text(title_of(about))
        return f"## {_SIGNS[Status.INVALID]} UNFINISHED: {title}\n\nThe run has not come to its end.\n"

    def text(self, results: RunResults) -> str:
        return summary(results)


def summary(results: RunResults, most_rows: int = MOST_ROWS) -> str:
    """Return the whole text, each table with at most ``most_rows`` gates, the worst first; the last line says what was
    compared on what device, and where the files are."""
    whole = results.verdict
    parts = [
        f"## {_SIGNS[whole.status]} {whole.headline}: {markdown_text(results.title)}",
        markdown_text(whole.why),
    ]
    if not whole.green and whole.look_first:
        first = [f"{number}. {markdown_text(line)}" for number, line in enumerate(whole.look_first, 1)]
        parts.append("\n".join(["**Look at first**", "", *first]))
    if told := [*whole.let_through, *results.notes]:
        parts.append("\n".join(["**Let through**", "", *(f"* {markdown_text(line)}" for line in told)]))
    if (several := _overview(results)) is not None:
        parts.append(_overview_table(several))
    not_passed = sorted(
        (gate for gate in results.gates if gate.verdict.status is not Status.PASS),
        key=lambda gate: (gate.verdict.excused, WORST_FIRST.index(gate.verdict.status)),
    )
    passed = [gate for gate in results.gates if gate.verdict.status is Status.PASS]
    if not_passed:
        parts.append(_gate_table(not_passed, most_rows, of_several=several is not None))
    if passed:
        heading = f"<summary>{plural(len(passed), 'gate')} passed</summary>"
        table = _gate_table(passed, most_rows, of_several=several is not None)
        parts.append(f"<details>{heading}\n\n{table}\n\n</details>")
    parts.append(
        markdown_text(
            flips_line(named(gate.verdict, gate.candidate if several else "") for gate in results.gates)
        )
    )
    about = {**results.about, **results.files}
    parts.append(
        " · ".join(f"{markdown_text(name)}: {markdown_text(value)}" for name, value in about.items())
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _overview(results: RunResults) -> Overview | None:
    """What came of each candidate in each suite; None where there is one candidate."""
    gates = [CandidateGate(gate.candidate, gate.test, gate.verdict) for gate in results.gates]
    return overview(gates, results.candidates)


def _overview_table(several: Overview) -> str:
    """A row per candidate, a column per suite."""
    rows = [
        [candidate, *(f"{_SIGNS[cell.status]} {cell.text}" if cell.status else cell.text for cell in row)]
        for candidate, row in ((name, several.row(name)) for name in several.candidates)
    ]
    return Table(several.columns, rows).to_markdown()


def _gate_table(gates: Sequence[LocatedVerdict], most_rows: int, *, of_several: bool) -> str:
    """A row per gate up to ``most_rows``, the rest is counted below; ``of_several``: with the candidate's name."""
    shown = gates[:most_rows]
    columns = (*_COLUMNS[:2], *(("row",) if of_several else ()), *_COLUMNS[2:])
    rows = [
        (*cells[:2], *((gate.candidate or "—",) if of_several else ()), *cells[2:])
        for gate, cells in ((gate, _cells(gate.verdict)) for gate in shown)
    ]
    text = Table(columns, rows, range(3 if of_several else 2, len(columns))).to_markdown() if shown else ""
    if len(gates) > most_rows:
        text += f"\n\n… and {len(gates) - most_rows:,} more, in the record."
    return text


def _cells(verdict: Verdict) -> tuple[str, ...]:
    verdict_cell = f"{_SIGNS[verdict.status]} {status_words(verdict)}"
    return (verdict_cell, verdict.metric, *gate_cells(verdict), f"{verdict.n:,}")
