"""The tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.characteristics.table import FAIL, INCONCLUSIVE, OURS, PASS, Row, Setting, Table

WRITTEN_BY = """\
Written by `benchmarks/operating_characteristics.py`; do not edit. What the methods are and why:
[statistics.md](statistics.md)."""
READING = """\
PASS, FAIL and INCONCLUSIVE (INC.) are per cent of the simulated runs. Of the other tools only
`nel gate` knows INCONCLUSIVE: what the others do not fail passes. Where an error of 5 % is promised exactly at a bound,
the worst of many cells is compared with 5 % plus three Monte-Carlo errors."""


def page(tables: Sequence[Table], facts: dict[str, str]) -> str:
    """The whole page: how it was made, what was to be reached, every table."""
    made = "\n".join(f"* {name}: {value}" for name, value in facts.items())
    parts = [
        "# Error rates of the gates, measured",
        WRITTEN_BY,
        made,
        READING,
        "## What was to be reached",
        targets(tables),
    ]
    for table in tables:
        parts += [f"## {table.title}", table.says]
        parts += [f"Made by {table.made}."] if table.made else []
        parts.append(rows(table.rows))
    return "\n\n".join(parts) + "\n"


def targets(tables: Sequence[Table]) -> str:
    """Every figure that was asked for, and the worst that was measured."""
    lines = ["| question | asked | worst measured | |", "|---|---|---|---|"]
    for table in tables:
        for one in table.targets:
            mark = "reached" if one.reached else "**missed**"
            lines.append(f"| {one.question} | {one.asked} | {one.measured} | {mark} |")
    return "\n".join(lines)


def rows(given: Sequence[Row]) -> str:
    """One line a row; columns that a row has not are empty."""
    settings = _names([one.settings.keys() for one in given])
    more = _names([one.more.keys() for one in given])
    head = [*settings, "rule", "PASS", "FAIL", "INC.", *more, "runs"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for one in given:
        cells = [_text(one.settings.get(name, "")) for name in settings]
        cells.append(f"**{one.rule}**" if one.rule.startswith(OURS) else one.rule)
        cells += [f"{100 * one.share(status):.2f}" for status in (PASS, FAIL, INCONCLUSIVE)]
        cells += [_text(one.more.get(name, "")) for name in more]
        lines.append(f"| {' | '.join([*cells, str(one.runs)])} |")
    return "\n".join(lines)


def _names(groups: Sequence[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _text(value: Setting) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
