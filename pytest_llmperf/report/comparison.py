"""A comparison of two runs as lines for a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.record.compare import Comparison, Difference, Outcome
from pytest_llmperf.report.columns import aligned
from pytest_llmperf.report.numbers import show

_HEADER = ("metric", "before", "now", "outcome", "compared")
_ORDER = (Outcome.WORSE, Outcome.NOT_COMPARED, Outcome.BETTER, Outcome.SAME)


def comparison_lines(comparison: Comparison) -> list[str]:
    """What is worse first, then what could not be compared."""
    rows = [_HEADER, *(_cells(one) for one in _sorted(comparison))]
    return [*(aligned(rows, right=(1, 2)) if len(rows) > 1 else []), *_told(comparison), sentence(comparison)]


def comparison_markdown(comparison: Comparison) -> str:
    """The same as a table of GitHub's Markdown."""
    rows = [_HEADER, ("---",) * len(_HEADER), *(_cells(one) for one in _sorted(comparison))]
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    told = [f"* {line}" for line in _told(comparison)]
    return "\n".join([f"**{sentence(comparison)}**", "", *table, "", *told]) + "\n"


def sentence(comparison: Comparison) -> str:
    """``1 worse, 2 better, 5 no difference shown``"""
    counts = [(len(comparison.of(outcome)), outcome.value) for outcome in _ORDER]
    return ", ".join(f"{n} {name}" for n, name in counts if n) or "nothing in the two records can be compared"


def _sorted(comparison: Comparison) -> list[Difference]:
    return sorted(comparison.differences, key=lambda one: _ORDER.index(one.outcome))


def _cells(one: Difference) -> Sequence[str]:
    return one.what, show(one.before, one.unit), show(one.now, one.unit), one.outcome.value, one.how


def _told(comparison: Comparison) -> list[str]:
    lines = [f"differs: {line}" for line in comparison.differs]
    lines += [f"vanished: {test}" for test in comparison.vanished]
    lines += [f"new: {test}" for test in comparison.new]
    return [*comparison.notes, *lines]
