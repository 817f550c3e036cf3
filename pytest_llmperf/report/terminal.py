"""The terminal output of a run: a line of progress while it measures, and the verdicts at its end.

Verdicts are a table where the terminal is wide enough, else a block per gate.
"""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import excuse, plural, status_words
from pytest_llmperf.report.encoding import fitting
from pytest_llmperf.report.gate_cells import NUMBERS, flips_line, gate_cells
from pytest_llmperf.report.overview import CandidateGate, Overview, named, overview
from pytest_llmperf.report.progress import ProgressLine
from pytest_llmperf.report.table import Table
from pytest_llmperf.visible_text import printable

if TYPE_CHECKING:
    import pytest
    from _pytest.terminal import TerminalReporter

    from pytest_llmperf.runs.ledger import Ledger

_HEADER = ("metric", *NUMBERS, "n", "verdict")
_BLOCK = "    "
_KEPT = "\N{NO-BREAK SPACE}"
"""Keeps a number, its unit and its name on one line."""

_MARKUP: dict[Status, dict[str, bool]] = {
    Status.PASS: {"green": True},
    Status.FAIL: {"red": True, "bold": True},
    Status.INCONCLUSIVE: {"yellow": True},
    Status.INVALID: {"purple": True, "bold": True},
}


@dataclass(frozen=True)
class TableLine:
    """A line of a table; ``status`` colours it, None for a line that belongs to no verdict."""

    text: str
    status: Status | None = None

    @property
    def markup(self) -> dict[str, bool]:
        """Return what pytest's writer is to be given with the text."""
        return {} if self.status is None else _MARKUP[self.status]


def verdict_table(
    verdicts: Sequence[Verdict],
    *,
    width: int = 200,
    verbosity: int = 0,
    tests: Sequence[str] = (),
    candidates: Sequence[str] = (),
) -> list[TableLine]:
    """Return the verdicts in the order of the run, in lines of ``width`` characters at most.

    ``verbosity`` is pytest's: with ``-q`` passed gates are left out, with ``-v`` each gate is followed by its test (of
    ``tests``, one per verdict, where they are known), its method and the place of its bound. ``candidates``: the row of
    each verdict, where a run has several; empty for one that is about none of them.
    """
    names = [*tests] if tests else [""] * len(verdicts)
    sides = [*candidates] if candidates else [""] * len(verdicts)
    shown = [
        (verdict, test, side)
        for verdict, test, side in zip(verdicts, names, sides, strict=True)
        if verbosity >= 0 or verdict.status is not Status.PASS
    ]
    if not shown:
        return []
    rows = [
        (
            *((side or "—",) if candidates else ()),
            *(verdict.metric, *gate_cells(verdict), f"{verdict.n:,}", _outcome(verdict)),
        )
        for verdict, _, side in shown
    ]
    header = ("row", *_HEADER) if candidates else _HEADER
    head, *drawn = Table(header, rows, range(len(header) - len(_HEADER) + 1, len(header) - 1)).to_text()
    fits = max(map(len, drawn)) <= width
    blocks = (
        [[line] for line in drawn] if fits else [_block(verdict, width, side) for verdict, _, side in shown]
    )
    lines = [TableLine(head)] if fits else []
    for (verdict, test, _), block in zip(shown, blocks, strict=True):
        lines += [TableLine(text, verdict.status) for text in block]
        if verbosity > 0:
            lines += [TableLine(text) for more in _more(verdict, test) for text in _wrapped(more, width)]
    if flips := flips_line(named(verdict, side) for verdict, _, side in shown):
        wrapped = textwrap.wrap(flips, max(width, 20), subsequent_indent=_BLOCK)
        lines += [TableLine(text) for text in wrapped]
    return lines


def first_lines(lines: Sequence[str], width: int) -> Iterator[str]:
    """Yield ``lines`` numbered, and wrapped below their number."""
    for number, line in enumerate(lines, 1):
        yield from textwrap.wrap(
            line, max(width, 20), initial_indent=f"  {number}. ", subsequent_indent="     "
        )


def counts(verdicts: Sequence[Verdict]) -> str:
    """Return ``19 PASS, 1 FAIL``: in the order of severity, zeros left out."""
    seen = Counter(verdict.status for verdict in verdicts)
    return ", ".join(f"{seen[status]} {status.value}" for status in Status if seen[status])


def _outcome(verdict: Verdict) -> str:
    needed = _n_needed(verdict)
    return f"{status_words(verdict)} (n needed {needed})" if needed else status_words(verdict)


def _n_needed(verdict: Verdict) -> str:
    return f"{verdict.n_needed:,}" if verdict.n_needed and verdict.status is not Status.PASS else ""


def candidate_lines(found: Overview) -> Iterator[TableLine]:
    """Yield a line for each candidate: ``second: 1 FAIL, 3 PASS; FAIL: accuracy is …``, the first gate of the worst."""
    for candidate in found.candidates:
        cell = found.row(candidate)[0]
        red = cell.status not in (None, Status.PASS)
        why = f"; {cell.status.value}: {cell.why}" if red and cell.status else ""
        yield TableLine(
            f"{candidate}: {'no gate was judged' if cell.text == '—' else cell.text}{why}", cell.status
        )


def _block(verdict: Verdict, width: int, side: str = "") -> list[str]:
    """Return the verdict with the metric (and the row it is about), and below it the numbers as a sentence."""
    cells = zip(NUMBERS, gate_cells(verdict), strict=True)
    numbers = [f"{name} {cell}" for name, cell in cells if cell != "—"]
    needed = _n_needed(verdict)
    numbers.append(f"n {verdict.n:,}" + (f" of {needed} needed" if needed else ""))
    what = f"{verdict.metric} ({side})" if side else verdict.metric
    return [
        *textwrap.wrap(f"{status_words(verdict)}  {what}", max(width, 20), subsequent_indent=_BLOCK),
        *_wrapped(", ".join(number.replace(" ", _KEPT) for number in numbers), width),
    ]


def _more(verdict: Verdict, test: str) -> Iterator[str]:
    origin = f"bound from {verdict.origin}" if verdict.origin else ""
    if text := "; ".join(part for part in (verdict.method, origin) if part):
        yield text
    if test:
        yield test
    if verdict.excused:
        yield excuse(verdict)


def _wrapped(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text, max(width, 20), initial_indent=_BLOCK, subsequent_indent=_BLOCK)
    return [line.replace(_KEPT, " ") for line in lines]


class Screen:
    """Writes through pytest's own terminal writer, which knows the width and whether there are colours."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._line: ProgressLine | None = None
        # What pytest's writer writes to; its capture replaces `sys.stdout` while a test runs.
        self._encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"

    def fit(self, text: str) -> str:
        """Return ``text`` with replacements for what the terminal cannot encode, and control characters made visible.

        pytest would escape the whole text for the first, and obey the second.
        """
        return fitting(printable(text, len(text)), self._encoding)

    def show(self, text: str) -> None:
        """Show ``text`` as the progress of the run; a log file gets none of it."""
        if self._line is None:
            self._line = self._new_line()
        if self._line is not None:
            self._line.show(text)

    def clear(self) -> None:
        """Take the progress away before pytest writes something."""
        if self._line is not None:
            self._line.clear()

    def line(self, reporter: TerminalReporter, text: str, **markup: bool) -> None:
        """Write one line."""
        reporter.write_line(self.fit(text), **markup)

    def say(self, reporter: TerminalReporter, text: str, **markup: bool) -> None:
        """Write one line that tells where it comes from."""
        self.line(reporter, f"llmperf: {text}", **markup)

    def tell(self, reporter: TerminalReporter, ledger: Ledger) -> None:
        """Write the table, the counts, and where to look first if the run is not green."""
        width = self._config.get_terminal_writer().fullwidth
        judged = list(ledger.verdicts())
        verdicts, tests = [verdict for _, verdict in judged], [entry.test for entry, _ in judged]
        whole = ledger.verdict()
        reporter.section("llmperf verdicts")
        candidates = [entry.candidate for entry, _ in judged]
        several = overview(
            [CandidateGate(entry.candidate, entry.test, verdict) for entry, verdict in judged],
            [*dict.fromkeys(entry.candidate for entry in ledger.entries if entry.candidate)],
        )
        table = verdict_table(
            verdicts,
            width=width,
            verbosity=self._config.get_verbosity(),
            tests=tests,
            candidates=candidates if several else (),
        )
        for line in table:
            self.line(reporter, line.text, **line.markup)
        for line in candidate_lines(several) if several else ():
            self.say(reporter, line.text, **line.markup)
        self.say(reporter, counts(verdicts) or "no gate was judged")
        if whole.waived or whole.advisory_failed:
            self.say(reporter, f"the run: {whole.headline}", bold=True)
        for told in (*whole.let_through, *ledger.notes):
            self.say(reporter, told, yellow=True)
        if named := whole.culprit_names:
            self.say(
                reporter,
                f"still significant after correcting for {plural(len(verdicts), 'gate')} (Holm): {named}",
            )
        again = [f"{entry.test} ({entry.tries} tries)" for entry in ledger.entries if entry.tries > 1]
        if again:
            self.say(reporter, f"tried more than once, the last try counts: {', '.join(again)}")
        for problem in ledger.problems:
            self.say(reporter, f"INVALID as a whole: {problem}", red=True, bold=True)
        if not whole.green and whole.look_first:
            self.say(reporter, "start here", bold=True)
            for text in first_lines(whole.look_first, width):
                self.line(reporter, text)

    def _new_line(self) -> ProgressLine | None:
        """Return None where the output is no terminal, or one whose cursor cannot be moved."""
        config = self._config
        reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        if not getattr(reporter, "isatty", False) or hasattr(config, "workerinput"):
            return None
        if os.environ.get("TERM") == "dumb" or config.get_verbosity() < -1:
            return None
        capture: Any = config.pluginmanager.getplugin("capturemanager")
        uncaptured = capture.global_and_fixture_disabled if capture else contextlib.nullcontext
        return ProgressLine(config.get_terminal_writer(), uncaptured, self._encoding)
