"""What published claims came to in this run: the table at its end and a list in its record, also under xdist."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from pytest_llmperf.claims.claim import Decision

PROPERTY = "llmperf_claim"
"""Key of a decided claim (JSON) among a report's ``user_properties``: crosses from a worker to the controller."""


def note(item: pytest.Item, decision: Decision) -> None:
    """Put what came of a claim among the properties of the test that it is."""
    from pytest_llmperf.claims.table import decision_to_json

    item.user_properties.append((PROPERTY, json.dumps(decision_to_json(decision), ensure_ascii=False)))


class Claimed:
    """Gathers the claims of a session, in the order in which their tests ended."""

    def __init__(self) -> None:
        self.decided: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # Every phase's report carries all properties so far: the last phase has them all, once.
        if report.when == "teardown":
            self.decided += [
                json.loads(str(value)) for key, value in report.user_properties if key == PROPERTY
            ]

    def pytest_llmperf_update_record(self, config: pytest.Config, record: dict[str, Any]) -> None:
        del config
        if self.decided:
            record["claims"] = self.decided

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter, config: pytest.Config) -> None:
        if not self.decided or hasattr(config, "workerinput"):
            return
        from pytest_llmperf.claims.table import claim_lines
        from pytest_llmperf.report.encoding import write_all

        write_all(sys.__stdout__)
        terminalreporter.section("llmperf claims")
        width = config.get_terminal_writer().fullwidth
        for line in claim_lines(self.decided, reasons=config.get_verbosity() > 0, width=width):
            terminalreporter.write_line(line)
