"""The verdict table at the end of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.columns import aligned
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
    head, *lines = aligned([_HEADER, *map(_cells, verdicts)], right=range(1, len(_HEADER) - 1))
    return [Line(head), *(Line(text, one.status) for text, one in zip(lines, verdicts, strict=True))]


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
