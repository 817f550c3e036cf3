"""A comparison of two runs as lines for a terminal, or as Markdown."""

from __future__ import annotations

from pytest_llmperf.record.compare import Change, Comparison
from pytest_llmperf.report.table import Table
from pytest_llmperf.report.text import markdown_text
from pytest_llmperf.units import format_value

_NAMED = 3
"""Metrics named of those that could not be compared for one reason."""
WORST_FIRST = (Change.WORSE, Change.NOT_COMPARED, Change.BETTER, Change.SAME)


def comparison_lines(comparison: Comparison) -> list[str]:
    """Return the counts, then a line per metric that was compared, what is worse first, then other differences."""
    return [outcome_counts(comparison), *_table(comparison).to_text(), *_remarks(comparison)]


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
        if outcome is not Change.NOT_COMPARED
        for difference in comparison.of(outcome)
    ]
    return Table(("metric", "before", "now", "outcome", "compared"), rows, {1, 2})


def _remarks(comparison: Comparison) -> list[str]:
    return [
        *comparison.notes,
        *_not_compared(comparison),
        *(f"differs: {line}" for line in comparison.differs),
        *(f"missing from the second run: {test}" for test in comparison.vanished),
        *(f"new in the second run: {test}" for test in comparison.new),
    ]


def _not_compared(comparison: Comparison) -> list[str]:
    """A line for each reason, with the metrics that it holds for; of many, the first three and a count."""
    by_reason: dict[str, list[str]] = {}
    for difference in comparison.of(Change.NOT_COMPARED):
        by_reason.setdefault(difference.how, []).append(difference.what)
    lines = []
    for reason, metrics in by_reason.items():
        more = f" and {len(metrics) - _NAMED} more" if len(metrics) > _NAMED else ""
        lines.append(f"not compared, {reason}: {'; '.join(metrics[:_NAMED])}{more}")
    return lines
