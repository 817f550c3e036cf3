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
        self._set = 0
        """The last exit code of a red run."""

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            self._failed.append(report.nodeid)

    def red(self, status: int, failures: int = 0) -> int:
        """The exit code of a run that is not green, that pytest would end with ``status``, and in which it counts so
        many ``failures``."""
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, UNDECIDED):
            return int(status)
        overruled = self._set == UNDECIDED and status == pytest.ExitCode.TESTS_FAILED
        undecided = self._ledger.verdict().undecided and not (self.failed_elsewhere(failures) or overruled)
        self._set = UNDECIDED if undecided else int(pytest.ExitCode.TESTS_FAILED)
        return self._set

    def failed_elsewhere(self, failures: int) -> bool:
        """Return whether some of the ``failures`` that the session counts are not those of the ledger's tests."""
        # What fails in the tests of the ledger is in its verdict.
        elsewhere = any(self._ledger.entry(test) is None for test in self._failed)
        # Coverage that is too low, say: another plugin counts a failure without a report, or sets the exit code last.
        return elsewhere or failures > len(self._failed)
