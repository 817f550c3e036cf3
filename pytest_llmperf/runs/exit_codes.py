"""The exit code of a red run: pytest's own, or :data:`UNDECIDED` where nothing is worse than INCONCLUSIVE."""

from __future__ import annotations

import pytest

from pytest_llmperf.runs.ledger import Ledger

UNDECIDED = 10
"""Exit code of ``--llmperf-inconclusive=exit`` where every gate that is not green is INCONCLUSIVE, and no test failed
otherwise. pytest uses 0 to 5."""


class ExitCodes:
    """Exit codes of a run, whose reports it is told of (in the controlling process of pytest-xdist)."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._failed: list[str] = []
        """Node ids of all failed reports."""

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            self._failed.append(report.nodeid)

    def red(self, status: int) -> int:
        """The exit code of a run that is not green and that pytest would end with ``status``."""
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, UNDECIDED):
            return int(status)
        # What fails in the tests of the ledger is in its verdict.
        elsewhere = [test for test in self._failed if self._ledger.entry(test) is None]
        undecided = self._ledger.verdict().undecided and not elsewhere
        return UNDECIDED if undecided else int(pytest.ExitCode.TESTS_FAILED)
