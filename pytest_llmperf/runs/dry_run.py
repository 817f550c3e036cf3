"""A session that starts no server: it examines the collected tests and reports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.runs.session import Run, produces_nothing

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def refuse_workers(config: pytest.Config, why: str) -> None:
    """Raise ``UsageError`` under xdist; ``why`` begins the line: the option, and that it runs nothing."""
    if config.getoption("dist", "no") != "no":
        raise UsageError(f"{why} and needs no workers: leave -n out, or give -n 0")


class DryRun(Run):
    """The common part of a plan and a mutation test."""

    judges = False

    def look_at(self, items: list[pytest.Item]) -> int:
        """Called instead of running the tests, in their order; returns the number of reasons for exit status 1."""
        raise NotImplementedError

    def begin(self) -> None:
        """No file is written."""

    def exit_code(self, status: int) -> int:
        return status or (0 if self.finished or produces_nothing(self.config) else 1)

    def report(self, reporter: TerminalReporter) -> None:
        """Write the results to the terminal."""
        raise NotImplementedError

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        option = session.config.option
        if option.collectonly or (session.testsfailed and not option.continue_on_collection_errors):
            return None  # pytest's own loop ends there, too
        # pytest derives its exit status from this.
        session.testsfailed += self.look_at(session.items)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        del session
        self.finished = True
        self.close()

    def summarise(self, reporter: TerminalReporter) -> None:
        if not self.config.option.collectonly:
            self.report(reporter)
