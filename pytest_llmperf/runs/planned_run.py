"""A planned run: the bodies of the tests say what they would ask, and nothing is started or reported.

Gates are declared in the suite alone, so the plan comes from running it over data of known size and no content
(``measure.planned``). No test gets a report: nothing that was not measured may be green.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.config.run_config import Settings
from pytest_llmperf.errors import NeedsServer, UsageError
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.early_stopping import spending
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.plan import PlannedGate, PlannedJudgement
from pytest_llmperf.measure.planned import PlannedMeasurements
from pytest_llmperf.record.prior import PlanningRecord, read_planning_record
from pytest_llmperf.report.plan_table import LEGEND, WITHOUT_RECORD, duration_lines, plan_table, warnings
from pytest_llmperf.runs.advisory import advisory_reason
from pytest_llmperf.runs.dry_run import DryRun, refuse_workers

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from pytest_llmperf.measure.questions import Questions


class PlannedRun(DryRun):
    """Runs every test that could make a gate, up to its last comparison, and prints the power of the gates."""

    def __init__(self, config: pytest.Config, settings: Settings, record: str) -> None:
        refuse_workers(config, "--llmperf-plan measures nothing")
        self.earlier: PlanningRecord | None = None
        if record:
            self.earlier = read_planning_record(Path(record), settings.profile.name)
        super().__init__(config, settings)
        self.measurements = self._data = PlannedMeasurements(settings, self.state_root, self._progress)
        self.gates: list[PlannedGate] = []
        self._compared: list[tuple[PlannedGate, Judgement]] = []
        """Comparisons made by the running test."""
        self._without = 0
        self._tolerated: list[str] = []
        """A line for each test whose gates do not count in a run: it is advisory, or waived."""
        self._reasons: list[str] = []

    def questions(self) -> Questions:
        from pytest_llmperf.measure.questions import Questions

        return Questions(self._data, self.judge)

    def judge(self, gate: Gate) -> Judgement:
        earlier = self.earlier.verdict(gate, self.settings.device_name) if self.earlier else None
        planned = dataclasses.replace(gate, spent=spending(1, self.settings.looks)).forecast(earlier)
        judgement = PlannedJudgement(planned)
        self._compared.append((planned, judgement))
        return judgement

    def look_at(self, items: list[pytest.Item]) -> int:
        asking = [item for item in items if _may_ask(item)]
        self._without += len(items) - len(asking)
        for number, item in enumerate(asking, start=1):
            if reason := advisory_reason(item):
                self._tolerated.append(f"{item.nodeid} never makes a run red, advisory: {reason}")
            elif waiver := self.ledger.waivers.get(item.nodeid):
                how = "was" if waiver.days_left(datetime.now(UTC).date()) < 0 else "is"
                self._tolerated.append(f"{item.nodeid} {how} waived until {waiver.until}: {waiver.reason}")
            self._ask(item, asking[number] if number < len(asking) else None)
        return 0

    def _ask(self, item: pytest.Item, following: pytest.Item | None) -> None:
        """Run one test until it needs data, and collect its gates."""
        self._compared.clear()
        error = _error_of(item, following)
        gates = [gate for gate, judgement in self._compared if judgement.asked]
        self.gates += gates
        if error is not None and not isinstance(error, NeedsServer):
            self._reasons.append(f"{item.nodeid}: {_reason(error)}")
        elif error is None and (
            unasserted := [gate for gate, judgement in self._compared if not judgement.asked]
        ):
            why = f"a comparison was made and not asserted: {unasserted[0].label}; write assert before it"
            self._reasons.append(f"{item.nodeid}: {why}")
        elif not gates:
            self._without += 1

    def report(self, reporter: TerminalReporter) -> None:
        reporter.section("llmperf plan")
        for line in plan_table(self.gates):
            self.screen.line(reporter, line)
        if self.gates:
            self.screen.say(reporter, LEGEND)
        for text in warnings(self.gates):
            self.screen.say(reporter, f"WARNING: {text}", yellow=True)
        for reason in self._reasons:
            self.screen.say(reporter, f"not planned: {reason}", yellow=True)
        for line in self._tolerated:
            self.screen.say(reporter, line)
        self.screen.say(
            reporter, f"{len(self.gates)} gates; {self._without} tests without a statistical gate"
        )
        if places := self._data.places_line():
            self.screen.say(reporter, places)
        for memory in self._data.memory_lines(self.earlier):
            self.screen.say(reporter, memory.text, yellow=memory.fits is False)
        if self.earlier is None:
            self.screen.say(reporter, WITHOUT_RECORD)
        else:
            took = self.earlier.duration(self._data.phases)
            for line in duration_lines(took, self.earlier, self.settings.device_name):
                self.screen.say(reporter, line)
        if self.settings.record is not None:
            self.screen.say(reporter, "no record is written, nothing was measured")
        for complaint in self.complaints:
            self.screen.say(reporter, f"NOT CLEAN: {complaint}", red=True, bold=True)


def _may_ask(item: pytest.Item) -> bool:
    """True if a test can make a comparison; a test that can't is not run: it may do anything."""
    if "_llmperf_questions" in getattr(item, "fixturenames", ()):
        return True
    return isinstance(item, pytest.Function) and "request" in inspect.signature(item.function).parameters


def _error_of(item: pytest.Item, following: pytest.Item | None) -> BaseException | None:
    """Run setup, call and teardown without a report; returns the first error, None if there was none."""

    def step(when: str, run: Callable[[], None]) -> BaseException | None:
        ends = (pytest.exit.Exception, KeyboardInterrupt)
        call = pytest.CallInfo.from_call(run, when, reraise=ends)  # type: ignore[arg-type]
        return None if call.excinfo is None else call.excinfo.value

    error = step("setup", lambda: item.ihook.pytest_runtest_setup(item=item))
    if error is None:
        error = step("call", lambda: item.ihook.pytest_runtest_call(item=item))
    ended = step("teardown", lambda: item.ihook.pytest_runtest_teardown(item=item, nextitem=following))
    return error or ended


def _reason(error: BaseException) -> str:
    if isinstance(error, pytest.skip.Exception):
        return f"skipped, which is INVALID in a run: {error.msg}"
    first = next(iter(str(error).splitlines()), "")
    return first if isinstance(error, UsageError) else f"{type(error).__name__}: {first}"
