"""A run as Markdown, as GitHub and GitLab show it: the verdict, where to look, and the gates as tables."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence

from pytest_llmperf.gates.run_verdict import RunVerdict
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.elsewhere.told import Told
from pytest_llmperf.report.gate_cells import NUMBERS, gate_cells
from pytest_llmperf.report.html.text import visible

MOST_ROWS = 300
"""Of one table: GitHub takes 1 MiB of summary from a step, and nobody reads more."""

_LONGEST = 2_000
_SIGNS = {Status.PASS: "✅", Status.FAIL: "❌", Status.INCONCLUSIVE: "❔", Status.INVALID: "⛔"}
_MARKS = re.compile(r"([\\`*_{}\[\]#|~!@$])")
_COLUMNS = ("verdict", "metric", *NUMBERS, "n")


def unfinished(title: str) -> str:
    """What stands in the place of the text until the run has come to its end."""
    return f"## {_SIGNS[Status.INVALID]} UNFINISHED: {plain(title)}\n\nThe run has not come to its end.\n"


def summary(told: Sequence[Told], whole: RunVerdict, title: str, about: Mapping[str, str]) -> str:
    """The whole text. ``title`` says who was compared with whom; ``about`` is a line at the end, name and value."""
    parts = [f"## {_SIGNS[whole.status]} {whole.status.value}: {plain(title)}", plain(whole.why)]
    if not whole.green and whole.look_first:
        first = [f"{number}. {plain(line)}" for number, line in enumerate(whole.look_first, 1)]
        parts.append("\n".join(["**Look at first**", "", *first]))
    not_passed = [one for one in told if one.verdict.status is not Status.PASS]
    passed = [one for one in told if one.verdict.status is Status.PASS]
    if not_passed:
        parts.append(gate_table(not_passed))
    if passed:
        noun = "gate" if len(passed) == 1 else "gates"
        said = f"<summary>{len(passed)} {noun} passed</summary>"
        parts.append(f"<details>{said}\n\n{gate_table(passed)}\n\n</details>")
    parts.append(" · ".join(f"{plain(name)}: {plain(value)}" for name, value in about.items()))
    return "\n\n".join(part for part in parts if part) + "\n"


def gate_table(told: Sequence[Told]) -> str:
    """A row per gate, as many as are worth reading; the rest is counted below."""
    rows = [_cells(one.verdict) for one in told[:MOST_ROWS]]
    text = table(_COLUMNS, rows, right=range(2, len(_COLUMNS)))
    if len(told) > MOST_ROWS:
        text += f"\n\n… and {len(told) - MOST_ROWS:,} more, in the record."
    return text


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: range = range(0)) -> str:
    """A table; the columns whose numbers are in ``right`` end at the same place. Cells are shown as they are."""
    rule = ["---:" if i in right else "---" for i in range(len(columns))]
    return "\n".join(
        f"| {' | '.join(cells)} |" for cells in ([*columns], rule, *([*map(plain, r)] for r in rows))
    )


def plain(text: str) -> str:
    """``text`` so that it is shown as it is: no markup, no HTML, no mention of anybody, one line."""
    one_line = " ".join(visible(text, _LONGEST).split("\n"))
    return _MARKS.sub(r"\\\1", html.escape(one_line, quote=False)).replace("://", ":&#47;/")


def _cells(verdict: Verdict) -> tuple[str, ...]:
    verdict_cell = f"{_SIGNS[verdict.status]} {verdict.status.value}"
    return (verdict_cell, verdict.metric, *gate_cells(verdict), f"{verdict.n:,}")
