"""The verdict table at the end of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.numbers import show, show_interval

_HEADER = ("metric", "candidate", "baseline", "compared", "interval", "bound", "n", "verdict")

MARKUP: dict[Status, dict[str, bool]] = {
    Status.PASS: {"green": True},
    Status.FAIL: {"red": True, "bold": True},
    Status.INCONCLUSIVE: {"yellow": True},
    Status.INVALID: {"purple": True, "bold": True},
}


@dataclass(frozen=True)
class Line:
    """One line of the table; ``status`` colours it, None for head and rule."""

    text: str
    status: Status | None = None


def verdict_table(verdicts: Sequence[Verdict]) -> list[Line]:
    """A line per verdict in the order of the run, columns aligned.

    Empty if there are no verdicts.
    """
    if not verdicts:
        return []
    rows = [_cells(verdict) for verdict in verdicts]
    widths = [max(len(row[i]) for row in [_HEADER, *rows]) for i in range(len(_HEADER))]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        numbers = [cell.rjust(width) for cell, width in zip(cells[1:-1], widths[1:-1], strict=True)]
        return "  ".join([first, *numbers, cells[-1]]).rstrip()

    return [Line(line(_HEADER))] + [
        Line(line(row), verdict.status) for row, verdict in zip(rows, verdicts, strict=True)
    ]


def counts(verdicts: Sequence[Verdict]) -> str:
    """``19 PASS, 1 FAIL``: in the order of severity, zeros left out."""
    seen = Counter(verdict.status for verdict in verdicts)
    return ", ".join(f"{seen[status]} {status.value}" for status in Status if seen[status])


def _cells(verdict: Verdict) -> tuple[str, ...]:
    unit = verdict.unit
    compared = verdict.candidate is not None and verdict.baseline is not None
    return (
        verdict.metric,
        show(verdict.candidate if compared else verdict.observed, verdict.level_unit or unit),
        show(verdict.baseline, verdict.level_unit or unit),
        show(verdict.observed, unit) if compared else "",
        show_interval(verdict.interval, unit),
        show(verdict.bound, unit),
        str(verdict.n),
        verdict.status.value
        + (
            f" (n needed {verdict.n_needed})"
            if verdict.n_needed and verdict.status is not Status.PASS
            else ""
        ),
    )
