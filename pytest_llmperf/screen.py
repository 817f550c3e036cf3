"""What a run shows in the terminal: a live line while it measures, and the verdicts at its end."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from pytest_llmperf.report.encoding import fitting
from pytest_llmperf.report.live_line import LiveLine
from pytest_llmperf.report.terminal import MARKUP, counts, first_lines, verdict_table

if TYPE_CHECKING:
    import pytest
    from _pytest.terminal import TerminalReporter

    from pytest_llmperf.runs.ledger import Ledger


class Screen:
    """Says everything through pytest's own writer, which knows of colours, of their absence, and of the width."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._live: LiveLine | None = None
        # What pytest's writer writes to; its capture replaces `sys.stdout` while a test runs.
        self._encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"

    def fit(self, text: str) -> str:
        """``text`` with what the terminal cannot write written otherwise: pytest would escape all of it."""
        return fitting(text, self._encoding)

    def show(self, text: str) -> None:
        """What is going on, for whoever watches; a log file gets none of it."""
        if self._live is None:
            self._live = self._live_line()
        if self._live is not None:
            self._live.show(text)

    def clear(self) -> None:
        """Before pytest says something."""
        if self._live is not None:
            self._live.clear()

    def say(self, reporter: TerminalReporter, text: str, **markup: bool) -> None:
        reporter.write_line(self.fit(f"llmperf: {text}"), **markup)

    def tell(self, reporter: TerminalReporter, ledger: Ledger) -> None:
        """The table, the counts, and where to look first if the run is not green."""
        width = self._config.get_terminal_writer().fullwidth
        told = list(ledger.verdicts())
        verdicts, tests = [verdict for _, verdict in told], [entry.test for entry, _ in told]
        whole = ledger.verdict()
        reporter.section("llmperf verdicts")
        table = verdict_table(verdicts, width=width, verbosity=self._config.get_verbosity(), tests=tests)
        for line in table:
            reporter.write_line(self.fit(line.text), **(MARKUP[line.status] if line.status else {}))
        self.say(reporter, counts(verdicts) or "no gate was judged")
        if named := whole.culprit_names:
            self.say(reporter, f"out of bounds, not by chance (Holm's correction): {named}")
        again = [f"{entry.test} ({entry.tries} tries)" for entry in ledger.entries if entry.tries > 1]
        if again:
            self.say(reporter, f"tried more than once, the last try counts: {', '.join(again)}")
        for problem in ledger.problems:
            self.say(reporter, f"INVALID as a whole: {problem}", red=True, bold=True)
        if not whole.green and whole.look_first:
            self.say(reporter, "look first at", bold=True)
            for text in first_lines(whole.look_first, width):
                reporter.write_line(self.fit(text))

    def _live_line(self) -> LiveLine | None:
        """None where nobody watches, or where the cursor cannot be moved."""
        config = self._config
        reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        if not getattr(reporter, "isatty", False) or hasattr(config, "workerinput"):
            return None
        if os.environ.get("TERM") == "dumb" or config.get_verbosity() < -1:
            return None
        capture: Any = config.pluginmanager.getplugin("capturemanager")
        uncaptured = capture.global_and_fixture_disabled if capture else contextlib.nullcontext
        return LiveLine(config.get_terminal_writer(), uncaptured, self._encoding)
