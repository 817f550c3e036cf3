"""One pytest session that judges models: its measurements, verdicts, files and exit code."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from pytest_llmperf.config.run_config import Settings
from pytest_llmperf.config.shard import RunShard
from pytest_llmperf.errors import LlmperfError, NotMeasured, UsageError, first_line
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.item_slice import slice_of
from pytest_llmperf.gates.judgement import GateError, Judgement
from pytest_llmperf.gates.policy import COUNTS
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.json_values import Json
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.record import gate_files
from pytest_llmperf.record.redaction import redact, redact_log
from pytest_llmperf.report.terminal import Screen
from pytest_llmperf.runs import status_letters
from pytest_llmperf.runs.answer_keeping import AnswerKeeping, cache_fails
from pytest_llmperf.runs.asked_budgets import check_budgets
from pytest_llmperf.runs.candidate_turns import CandidateTurns
from pytest_llmperf.runs.ending import Closing, shows_only
from pytest_llmperf.runs.exit_codes import ExitCodes
from pytest_llmperf.runs.ledger import Ledger
from pytest_llmperf.runs.night_seed import night_seed
from pytest_llmperf.runs.outputs import Outputs
from pytest_llmperf.runs.recording import Recording
from pytest_llmperf.runs.server_logs import ServerLogs
from pytest_llmperf.runs.sharding import Sharding
from pytest_llmperf.runs.unread_budgets import unread_budgets
from pytest_llmperf.runs.watching import Watching
from pytest_llmperf.serving.state_root import StateRoot, sweep
from pytest_llmperf.units import percent

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from pytest_llmperf.measure.questions import Questions


def concurrencies_of(items: list[pytest.Item]) -> tuple[int, ...]:
    """The values of a parameter ``concurrency`` of these tests, in their order."""
    params = [getattr(getattr(item, "callspec", None), "params", {}) for item in items]
    named = [values.get("concurrency") for values in params]
    return tuple(dict.fromkeys(value for value in named if type(value) is int))


class Run:
    """State of the session, and the hooks that need it (it is registered as a plugin of its own)."""

    judges: ClassVar[bool] = True
    """True if tests are run, and their judgements count."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        worker = getattr(config, "workerinput", None)
        self._is_worker = worker is not None
        self._owned: StateRoot | None = None
        """None in a process of pytest-xdist: the directory is the controller's."""
        if worker:
            self.state_root = Path(worker["llmperf_state_root"])
        else:
            sweep()
            self._owned = StateRoot()
            self.state_root = self._owned.path
        self._logs = ServerLogs(config, self.state_root)
        process = worker["workerid"] if worker else "main"
        self._ledgers = self.state_root / "ledgers"
        self.ledger = Ledger(
            settings.inconclusive,
            self._ledgers / f"{process}.jsonl" if self._is_worker else None,
            settings.budget.budgets.waivers,
            datetime.now(UTC).date(),
        )
        self._exit_code = ExitCodes(self.ledger)
        self.sharding: Sharding | None = None
        if settings.shard is not None:
            catalogues = (settings.models_path, settings.budgets_path)
            self.sharding = Sharding(
                settings.shard, config.rootpath, catalogues, by_items=settings.shard_items
            )
            config.pluginmanager.register(self.sharding, "llmperf_sharding")
        self._watching = Watching(self.ledger, self._test_ended, self.sharding)
        self.answers = AnswerKeeping.of(config, settings, self.state_root, process)
        log = self.answers.log if self.answers else None
        seed = night_seed(settings, self.state_root, log)
        self.measurements = Measurements(
            settings, self.state_root, self._progress, book=self.ledger, seed=seed
        )
        self.measurements.items_of_shard = self._items_of_shard
        for doubt in settings.budget.doubts():
            self.measurements.tell(doubt)
        if settings.add is not None:
            self.measurements.add_to(settings.add)
        self.settings = self.measurements.settings
        if log is not None:
            log.seed = seed
            self.measurements.keep_answers(log)
        self.recording = Recording(
            settings.record,
            self.state_root,
            process,
            config.rootpath,
            self.measurements,
            self.ledger,
            self._add_to_record,
        )
        self.finished = False
        """True if the session came to its end, so that the ledger has the last word on the exit code."""
        self.complaints: list[str] = []
        """Processes and files that were left behind: they make the run red."""
        self._interrupted = ""
        """Why the run was interrupted, if it was, whatever exit code the interruption asked for."""
        self._outputs = Outputs(config, self.settings, self.ledger, self.recording)
        self.screen = Screen(config)
        self._gates: dict[tuple[str, int], gate_files.RecordedGate] = {}
        """Gates and data of the running test's verdicts, by test and number."""
        config.pluginmanager.register(self, "llmperf_run")
        if self.judges and not produces_nothing(config):
            config.pluginmanager.register(self._watching, "llmperf_watching")
            if len(self.settings.candidates) > 1:
                # After the watching, so that a test's data are kept before its server ends.
                turns = CandidateTurns(self.measurements, self.complaints.extend, ends=not self._is_worker)
                config.pluginmanager.register(turns, "llmperf_candidate_turns")
        self._closing = Closing(self._close_books)
        if self.judges and not self._is_worker and not produces_nothing(config):
            self._closing.register(config.pluginmanager)

    # Life

    def begin(self) -> None:
        """Write every file that was asked for as unfinished. Raises :class:`UsageError` if one cannot be written."""
        if not self._is_worker and not produces_nothing(self.config):
            self._outputs.begin()

    def close(self) -> None:
        """Give back every lease; the machine is clean when this returns."""
        self._end_servers(at_once=True)  # of an ordinary run, none is left
        if self._owned is not None and (left := self._owned.close()):
            # The report has been written: this is the last chance to say it.
            print(f"llmperf: NOT CLEAN: {left}", file=sys.__stderr__)

    def _end_servers(self, *, at_once: bool) -> None:
        self.complaints += self.measurements.close(at_once=at_once)
        if self._owned is not None:
            self._logs.keep()

    def expect(self, items: list[pytest.Item]) -> list[pytest.Item]:
        """Called once with the collected tests, when every conftest.py has been read; those that ask about a model."""
        for tasks in self.config.hook.pytest_llmperf_tasks(config=self.config):
            self.measurements.tasks |= {task.name: task for task in tasks}
        if self.config.pluginmanager.is_registered(self._closing):
            self._closing.register(self.config.pluginmanager)
        asking = self._watching.expect(items, self.settings)
        if asking and self.answers is None and cache_fails(self.config):
            self.measurements.tell(
                "pytest's cache cannot be written: answers and server logs are not kept, and an interrupted run "
                "begins anew (--llmperf-answers DIR keeps the answers elsewhere)"
            )
        check_budgets(asking, self.settings.budget, self.ledger)
        catalogues = (self.settings.models_path, self.settings.budgets_path)
        shard = self.sharding.facts() if self.sharding else None
        self.recording.expect({item.nodeid: item.path for item in asking}, catalogues, shard)
        speeds = [item for item in asking if "load" in item.fixturenames]  # type: ignore[attr-defined]
        self.measurements.concurrencies = concurrencies_of(speeds)
        self.measurements.will_need_baseline = any("baseline" in item.fixturenames for item in asking)  # type: ignore[attr-defined]
        return asking

    def _progress(self, text: str) -> None:
        """One line that overwrites itself, and the news for other plugins."""
        self.screen.show(f"llmperf: {text}")
        self.config.hook.pytest_llmperf_progress(config=self.config, text=text)

    def header(self) -> str:
        """Profile, device and models of this run, in one line that fits the terminal."""
        return self.screen.fit(self.settings.header())

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Add the exporters of plugins and of conftest.py files, which have all been configured by now."""
        if self.judges and not produces_nothing(self.config):
            try:
                self._outputs.exporters.add_foreign(begin=not self._is_worker)
            except UsageError as error:
                raise pytest.UsageError(str(error)) from error

    # Verdicts

    def questions(self) -> Questions:
        """The questions of a test; a verdict belongs to the test that runs when the comparison is made."""
        from pytest_llmperf.measure.questions import Questions

        return Questions(self.measurements, self.judge, self.refuse_speed, self.ledger)

    def judge(self, gate: Gate) -> Judgement:
        """Settle and judge a comparison for the test that runs."""
        with self.ledger.asking(gate.label):
            test = self.ledger.running
            asserted = self.ledger.entry(test)
            nth = sum(
                made.asserted and made.verdict.metric == gate.label
                for made in (asserted.judged if asserted else ())
            )
            gate = self.measurements.looks.at(test, gate, nth, self.measurements.engines)
            if (part := self._items_of_shard()) is not None:
                tolerance = asking.policy if (asking := self.ledger.entry(test)) else COUNTS
                budget_policy = self.settings.budget.budgets.inconclusive_of(gate.origin) or ""
                gate = slice_of(gate, part.number, part.of, tolerance, budget_policy)
            else:
                gate = gate.settled()
            verdict = gate.judge()
        if part is None and (policy := self.settings.budget.budgets.inconclusive_of(verdict.origin)):
            verdict = replace(verdict, inconclusive=policy)
        test, number, on_assert = self.ledger.judged(verdict)
        self._gates[test, number] = gate_files.RecordedGate(test, verdict.status, gate)
        asking = self.ledger.entry(test)
        counted = asking.policy.applied_to(verdict) if asking else verdict
        return Judgement(counted, self.settings.inconclusive, on_assert)

    def _items_of_shard(self) -> RunShard | None:
        """Return the shard whose part of the items the running test asks; None if it asks all."""
        return self.sharding.part_of(self.ledger.running) if self.sharding else None

    def _test_ended(self, item: pytest.Item) -> None:
        """After the last try of a test: its data are put away, and the record is brought up to date."""
        entry = self.ledger.entry(item.nodeid)
        if entry is None:
            return
        asserted = [
            kept
            for (test, number), kept in self._gates.items()
            if test == entry.test and number < len(entry.judged) and entry.judged[number].asserted
        ]
        self._keep(entry.test, asserted)
        self._gates.clear()
        if not self._is_worker:
            self.recording.update()

    def _keep(self, test: str, asserted: list[gate_files.RecordedGate]) -> None:
        """Put away what the record is to hold of this test; as properties it would swell every report."""
        if complaint := self.recording.keep(test, asserted):
            self.ledger.problem(complaint)

    def explain(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        """Put a failed gate or a broken server into its own words, and what JUnit shows beside the last report."""
        error = call.excinfo.value if call.excinfo is not None else None
        if error is not None and not report.passed:
            if isinstance(error, GateError | LlmperfError):
                status_letters.mark(report, error)
                brief = isinstance(error, GateError) and self.config.get_verbosity() <= 0
                text = error.summary if brief else str(error)  # type: ignore[union-attr]
                report.longrepr = redact_log(self._logs.with_kept_paths(text))
            # A gate that the data decided says it all with its numbers; the log would only hide them.
            judged = isinstance(error, GateError) and error.verdict.status is not Status.INVALID
            if report.failed and not judged and (log := self.measurements.log_since_mark()):
                report.sections.append(("llmperf server log", redact_log(log)))
        entry = self.ledger.entry(item.nodeid)
        if report.when == "teardown" and entry is not None:
            self._outputs.exporters.test_ended(report, entry.verdicts)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        del item
        self.measurements.mark_logs()

    def refuse_speed(self) -> None:
        """Several workers on one machine measure each other."""
        worker = getattr(self.config, "workerinput", None)
        if worker is not None and worker["workercount"] > 1:
            raise NotMeasured(
                f"times are not measured beside {worker['workercount'] - 1} other xdist workers: "
                "run the speed suites without -n"
            )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.screen.clear()
        if self._is_worker:
            return
        self._exit_code.note(report)
        if isinstance(report.longrepr, str):
            report.longrepr = self.screen.fit(report.longrepr)
        if report.when == "teardown" and hasattr(report, "node"):
            # A test of a worker of pytest-xdist has ended; what came of it stands in the worker's own file.
            self.ledger.read(self._ledgers)
            self.recording.update()

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, str] | None:
        return status_letters.shown(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._exit_code.note(report)

    # End

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.screen.clear()
        self._interrupted = "the run was interrupted"
        if isinstance(excinfo.value, pytest.exit.Exception):
            self._interrupted += f" by pytest.exit: {redact_log(str(excinfo.value.msg))}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.screen.clear()
        self.finished = True
        at_once = session.exitstatus == pytest.ExitCode.INTERRUPTED
        if produces_nothing(self.config):
            self._end_servers(at_once=at_once)
            return
        self._keep("the last test", [])
        self._end_servers(at_once=at_once)
        if self.answers is not None:
            self.answers.log.close()
        if self._is_worker:
            return
        self.ledger.read(self._ledgers)
        if self.answers is not None:
            status = pytest.ExitCode.INTERRUPTED if self._interrupted else session.exitstatus
            self.answers.end(int(status))
        self._settle(session)
        self._write(session)

    def _interruption(self, session: pytest.Session) -> str:
        """Why the session ended before its tests did; empty if it did not, or only because enough of them failed."""
        if self._interrupted:
            return self._interrupted
        match session.exitstatus:
            case pytest.ExitCode.INTERRUPTED:
                return "the run was interrupted"
            case pytest.ExitCode.INTERNAL_ERROR:
                return "pytest itself failed"
        return ""

    def _close_books(self, session: pytest.Session, error: BaseException | None) -> None:
        """After every hook of the session's end: what came of them is what the files and the exit code must say."""
        if not self.finished:
            self.pytest_sessionfinish(session)
        if not self._asked:
            return
        status = session.exitstatus
        good = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        why = ""
        if error is not None:
            why = f"a hook failed at the end of the session: {redact_log(first_line(error))}"
        elif status not in good and self.ledger.verdict().green:
            why = f"pytest ends with exit code {int(status)}: a hook at the end of the session set it"
        if why:
            self.ledger.problem(why)
            self._outputs.write_again(self._interruption(session))
            with contextlib.suppress(OSError):  # Standard error may be closed or full.
                print(f"llmperf: INVALID as a whole: {why}", file=sys.__stderr__)
        if not self.ledger.verdict().green:
            session.exitstatus = self._exit_code.red(status, session.testsfailed)

    def _settle(self, session: pytest.Session) -> None:
        """Let the exit status and the ledger say the same: whichever is red makes the other red."""
        status = session.exitstatus
        for complaint in self.complaints:
            self.ledger.problem(complaint)
        if why := self._interruption(session):
            self.ledger.problem(why)
        elif (
            status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
            and self.ledger.verdict().green
        ):
            self.ledger.problem(f"pytest ends with exit code {int(status)}: see what failed above")
        elif self.sharding is not None and self._exit_code.failed_elsewhere(session.testsfailed):
            # What merges the shards knows of pytest only what the record says.
            self.ledger.problem("pytest counts failures in this shard that are of no gate: see its output")
        if self._asked and not self.ledger.verdict().green:
            session.exitstatus = self._exit_code.red(status, session.testsfailed)
        if self.ledger.bad_data:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _write(self, session: pytest.Session) -> None:
        """Write every file that was asked for; one that cannot be written makes the run red."""
        if unread := unread_budgets(self.config, self.settings, self.ledger):
            self.measurements.tell(
                f"no test of this run asserts these budgets of {self.settings.budgets_path.name}: {', '.join(unread)}"
            )
        self._outputs.write(self._interruption(session))
        if self.ledger.problems or self.ledger.compared:
            session.exitstatus = self._exit_code.red(session.exitstatus, session.testsfailed)

    @property
    def _asked(self) -> bool:
        """True if a test asked about a model, or the user for a file that says what came of the run."""
        return bool(self.ledger.entries) or self._outputs.asked

    def exit_code(self, status: int) -> int:
        """The exit code of the process, where pytest would end with ``status``: 0 only for a run that is green."""
        if status or self._is_worker or produces_nothing(self.config):
            return status
        if not self.finished:
            return int(pytest.ExitCode.TESTS_FAILED)
        if self._asked and not self.ledger.verdict().green:
            return self._exit_code.red(status)
        return status

    def _add_to_record(self, record: dict[str, Json]) -> None:
        """Add the facts that the recording does not know."""
        record.update(self.answers.facts() if self.answers else {})
        self.config.hook.pytest_llmperf_update_record(config=self.config, record=record)

    def summarise(self, reporter: TerminalReporter) -> None:
        """The verdict table; nothing if no model was asked about and no file asked for."""
        if produces_nothing(self.config) or not self._asked:
            return
        self.screen.tell(reporter, self.ledger)
        seed = self.measurements.seed
        self.screen.say(
            reporter, f"--llmperf-order {seed} repeats this run's draws of items, rounds and samples"
        )
        if note := self.measurements.looks.note:
            self.screen.say(reporter, note)
        asked, planned = self.measurements.saving()
        if asked < planned:
            self.screen.say(
                reporter,
                f"{asked:,} of {planned:,} answers were enough to decide "
                f"({percent(round(1 - asked / planned, 2))} saved; --llmperf-full asks for all)",
            )
        measured, planned = self.measurements.speed.saving()
        if measured < planned:
            self.screen.say(
                reporter,
                f"{measured:,} of {planned:,} rounds of both servers in turn were enough to decide "
                "(--llmperf-full measures all)",
            )
        for note in self.measurements.speed.devices.notes():
            self.screen.say(reporter, note)
        for event in self.measurements.events():
            self.screen.say(reporter, redact(event["text"]))
        for complaint in self.complaints:
            self.screen.say(reporter, redact(f"NOT CLEAN: {complaint}"), red=True, bold=True)
        kept = self.answers.notes() if self.answers else []
        for note in (*kept, *self._outputs.notes):
            self.screen.say(reporter, redact(note))
        for command in self._outputs.exporters.log_lines:
            self.screen.line(reporter, command)


def produces_nothing(config: pytest.Config) -> bool:
    """True if pytest was only asked to show something, and runs no test."""
    return shows_only(config.option)
