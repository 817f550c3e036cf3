"""A comparison of two runs as lines for a terminal, or as Markdown."""

from __future__ import annotations

from pytest_llmperf.record.compare import Change, Comparison
from pytest_llmperf.report.table import Table
from pytest_llmperf.report.text import markdown_text
from pytest_llmperf.units import format_value

WORST_FIRST = (Change.WORSE, Change.NOT_COMPARED, Change.BETTER, Change.SAME)


def comparison_lines(comparison: Comparison) -> list[str]:
    """Return a line per metric, what is worse first, then other differences, then the counts."""
    return [*_table(comparison).to_text(), *_remarks(comparison), outcome_counts(comparison)]


def comparison_markdown(comparison: Comparison) -> str:
    """Return the same as Markdown."""
    remarks = [f"* {markdown_text(line)}" for line in _remarks(comparison)]
    parts = [f"**{outcome_counts(comparison)}**", "", _table(comparison).to_markdown(), "", *remarks]
    return "\n".join(parts) + "\n"


def outcome_counts(comparison: Comparison) -> str:
    """Return ``1 worse, 2 better, 5 no difference shown``."""
    counts = [(len(comparison.of(outcome)), outcome.value) for outcome in WORST_FIRST]
    return ", ".join(f"{n} {name}" for n, name in counts if n) or "nothing in the two records can be compared"


def _table(comparison: Comparison) -> Table:
    rows = [
        (
            difference.what,
            format_value(difference.before, difference.unit),
            format_value(difference.now, difference.unit),
            outcome.value,
            difference.how,
        )
        for outcome in WORST_FIRST
        for difference in comparison.of(outcome)
    ]
    return Table(("metric", "before", "now", "outcome", "compared"), rows, {1, 2})


def _remarks(comparison: Comparison) -> list[str]:
    return [
        *comparison.notes,
        *(f"differs: {line}" for line in comparison.differs),
        *(f"vanished: {test}" for test in comparison.vanished),
        *(f"new: {test}" for test in comparison.new),
    ]
