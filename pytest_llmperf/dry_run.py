"""A session that starts nothing: the collected tests are looked at, and get no report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.run import Run, produces_nothing

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


def refuse_workers(config: pytest.Config, why: str) -> None:
    """``UsageError`` under xdist; ``why`` is what the line begins with: the option, and that it runs nothing."""
    if config.getoption("dist", "no") != "no":
        raise UsageError(f"{why} and needs no workers: leave -n out, or give -n 0")


class DryRun(Run):
    """What a plan and a proof have in common."""

    judges = False

    def look_at(self, items: list[pytest.Item]) -> int:
        """Called instead of running them, in their order; how many reasons there are for exit status 1."""
        raise NotImplementedError

    def begin(self) -> None:
        """No file is written."""

    def exit_code(self, status: int) -> int:
        return status or (0 if self.finished or produces_nothing(self.config) else 1)

    def report(self, reporter: TerminalReporter) -> None:
        """Say what was found."""
        raise NotImplementedError

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        option = session.config.option
        if option.collectonly or (session.testsfailed and not option.continue_on_collection_errors):
            return None  # pytest's own loop ends there, too
        # What pytest makes its exit status of.
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
