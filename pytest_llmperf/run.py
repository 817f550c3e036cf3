"""One pytest session that judges models: what was chosen, what was measured, what the verdicts were.

The only module beside ``plugin`` and ``fixtures`` that knows pytest.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.answer_keeping import AnswerKeeping, cache_directory, cache_fails
from pytest_llmperf.answer_options import AnswerOptions
from pytest_llmperf.errors import DataError, GpuUnreadable, LlmperfError, NotMeasured, UsageError
from pytest_llmperf.gates.case import Case
from pytest_llmperf.gates.estimand import GateError, Judge, Judgement
from pytest_llmperf.gates.run_verdict import run_verdict
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.measure import Measurements
from pytest_llmperf.measure.impossible import refuse_impossible_budgets
from pytest_llmperf.option_paths import anchor, anchored, interpreter
from pytest_llmperf.outlets import Outlets, note_line, put_place, put_properties
from pytest_llmperf.record import case_files
from pytest_llmperf.record.redaction import redact, redact_log, redact_values
from pytest_llmperf.record.wire import verdict_from_json, verdict_to_json
from pytest_llmperf.recording import Recording
from pytest_llmperf.referenced import Referenced, references_of
from pytest_llmperf.report.encoding import write_all
from pytest_llmperf.screen import Screen
from pytest_llmperf.serving.gpu import first_device
from pytest_llmperf.serving.state_root import StateRoot, sweep
from pytest_llmperf.settings import Options, Settings, resolve

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from pytest_llmperf.measure.questions import Asker

PROPERTY = "llmperf_verdict"
"""Key of a verdict (JSON) among a report's ``user_properties``: survives xdist, lands in JUnit XML."""
BAD_DATA = "bad data"
"""Method of the verdict of a test whose data set cannot be asked: the run ends with exit code 4."""


def configure(config: pytest.Config) -> Run:
    """Resolve the command line; ``pytest.UsageError`` (exit code 4, one line) if it does not fit."""
    # What pytest's writer writes to; its capture replaces `sys.stdout` only while tests run.
    write_all(sys.__stdout__)
    try:
        anchor(config)
        options = _options(config)
        if config.getoption("llmperf_prove") is not None:
            from pytest_llmperf import proved_run

            return proved_run.configure(config, options)
        settings = resolve(options, *_device_here())
        refuse_impossible_budgets(settings)
        if (record := config.getoption("llmperf_plan")) is not None:
            from pytest_llmperf.planned_run import PlannedRun

            return PlannedRun(config, settings, record)
        return Run(config, settings)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    except OSError as error:
        # A directory that may not be read or written, a name that is too long, no room, no temporary directory.
        where = f"{error.filename}: " if error.filename else ""
        raise pytest.UsageError(f"llmperf: {where}{error.strerror or error}") from error


def _device_here() -> tuple[str | None, str, GpuUnreadable | None]:
    """Class and name of the first GPU, None and "CPU" without one, and why it is not known whether there is one."""
    try:
        return *first_device(), None
    except GpuUnreadable as error:
        return None, "CPU", error


def _options(config: pytest.Config) -> Options:
    models = config.getoption("llmperf_models") or config.getini("llmperf_models")
    profile = config.getoption("llmperf_profile")
    if profile and profile.endswith(".toml"):
        models, profile = profile, None
    if not models:
        raise UsageError(
            "no catalogue of models: give --llmperf-models PATH, or set llmperf_models in pytest's configuration"
        )
    models_path = Path(anchored("llmperf_models", models, config.rootpath))
    budgets = config.getoption("llmperf_budgets")
    return Options(
        models_path=models_path,
        budgets_path=Path(budgets) if budgets else models_path.with_name("budgets.toml"),
        models=tuple(config.getoption("llmperf_model") or ()),
        baseline=config.getoption("llmperf_baseline"),
        profile=profile,
        base_urls=tuple(config.getoption("llmperf_base_url") or ()),
        engine_python=config.getoption("llmperf_engine_python") or _python_of_environment(config),
        data_dir=config.getoption("llmperf_data"),
        inconclusive=config.getoption("llmperf_inconclusive"),
        record=config.getoption("llmperf_record"),
        full=config.getoption("llmperf_full"),
        starts=config.getoption("llmperf_starts"),
        answers=AnswerOptions(
            samples=config.getoption("llmperf_samples"),
            order=config.getoption("llmperf_order"),
            in_flight=config.getoption("llmperf_in_flight"),
            log=config.getoption("llmperf_answers"),
            fresh=config.getoption("llmperf_fresh"),
            reuse=config.getoption("llmperf_reuse"),
        ),
        add=config.getoption("llmperf_add"),
        looks=config.getoption("llmperf_looks"),
        workers=config.getoption("llmperf_workers"),
    )


def _python_of_environment(config: pytest.Config) -> str | None:
    value = os.environ.get("LLMPERF_ENGINE_PYTHON")
    return interpreter("LLMPERF_ENGINE_PYTHON", value, config.invocation_params.dir) if value else None


def concurrencies_of(items: list[pytest.Item]) -> tuple[int, ...]:
    """The values of a parameter ``concurrency`` of these tests, in their order."""
    params = [getattr(getattr(item, "callspec", None), "params", {}) for item in items]
    named = [one.get("concurrency") for one in params]
    return tuple(dict.fromkeys(value for value in named if type(value) is int))


class Run:
    """State of the session, and the hooks that need it (it is registered as a plugin of its own)."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config = config
        self.settings = settings
        self.verdicts: list[Verdict] = []
        worker = getattr(config, "workerinput", None)
        self._owned: StateRoot | None = None
        """None in a process of pytest-xdist: the directory is the controller's."""
        if worker:
            self.state_root = Path(worker["llmperf_state_root"])
        else:
            sweep()
            self._owned = StateRoot()
            self.state_root = self._owned.path
        self.measurements = Measurements(settings, self.state_root, self._progress)
        for doubt in settings.budget.doubts():
            self.measurements.tell(doubt)
        if settings.add is not None:
            self.settings = self.measurements.add_to(settings.add)
        process = worker["workerid"] if worker else "main"
        self.answers = AnswerKeeping.of(config, settings.collecting, self.state_root, process)
        if self.answers is not None:
            self.measurements.keep_answers(self.answers.log)
        self.recording = Recording(
            settings.record, self.state_root, process, config.rootpath, self.measurements, self._add_to_record
        )
        self.referenced = Referenced.of(config)
        self._expected = 0
        self.complaints: list[str] = []
        """What was left behind, if anything: makes the run red."""
        self.outlets = Outlets(config, settings)
        self._failed_at = 0
        """Line of the suite at which the test that runs has failed; 0 if it has not."""
        self.screen = Screen(config)
        self._made: list[tuple[tuple[str, object], Judgement, case_files.KeptCase]] = []
        """Verdicts of the test that runs, as they stand among its properties, and what they were made of."""
        config.pluginmanager.register(self, "llmperf_run")

    # Life

    def close(self) -> None:
        """Give back every lease; the machine is clean when this returns."""
        self._end_servers(at_once=True)  # of an ordinary run, none is left
        if self._owned is not None and (left := self._owned.close()):
            # The report has been written: this is the last chance to say it.
            print(f"llmperf: NOT CLEAN: {left}", file=sys.__stderr__)

    def _end_servers(self, *, at_once: bool) -> None:
        self.complaints += self.measurements.close(at_once=at_once)
        if self._owned is not None:
            self._keep_logs()

    def _kept_log(self, log: Path) -> Path:
        """Where a server's log can be read after the run: in pytest's cache, until the next run."""
        directory = cache_directory(self.config, "llmperf-logs")
        return log if directory is None else directory / f"{log.parent.name}.log"

    def _keep_logs(self) -> None:
        logs = sorted(self.state_root.glob("*/server.log"))
        for old in {self._kept_log(log).parent for log in logs if self._kept_log(log) != log}:
            for file in old.glob("*.log"):
                file.unlink()
        for log in logs:
            if (kept := self._kept_log(log)) != log:
                text = log.read_text(encoding="utf-8", errors="replace")
                kept.write_text(redact_log(text), encoding="utf-8")

    def _as_kept(self, text: str) -> str:
        """``text`` with the logs' places as they will be after the run."""
        for log in self.state_root.glob("*/server.log"):
            text = text.replace(str(log), str(self._kept_log(log)))
        return text

    def expect(self, items: list[pytest.Item]) -> None:
        """Called once with the collected tests that use a model, when every conftest.py has been read."""
        for tasks in self.config.hook.pytest_llmperf_tasks(config=self.config):
            self.measurements.tasks |= {task.name: task for task in tasks}
        self._expected = len(items)
        if items and self.answers is None and cache_fails(self.config):
            self.measurements.tell(
                "pytest's cache cannot be written: answers and server logs are not kept, and an interrupted run "
                "begins anew (--llmperf-answers DIR keeps the answers elsewhere)"
            )
        catalogues = (self.settings.models_path, self.settings.budgets_path)
        self.recording.expect({item.nodeid: item.path for item in items}, catalogues)
        speeds = [item for item in items if "load" in item.fixturenames]  # type: ignore[attr-defined]
        self.measurements.concurrencies = concurrencies_of(speeds)
        self.measurements.will_need_baseline = any("baseline" in item.fixturenames for item in items)  # type: ignore[attr-defined]

    def _progress(self, text: str) -> None:
        """One line that overwrites itself; silent when nobody watches."""
        self.screen.show(f"llmperf: {text}")

    def header(self) -> str:
        """What this run is about, in one line that the terminal can show."""
        return self.screen.fit(self.settings.header())

    # Verdicts

    def asker_for(self, item: pytest.Item) -> Asker:
        """The measurements, with verdicts going to this test's report."""
        from pytest_llmperf.measure.questions import Asker

        return Asker(self.measurements, self.judge_for(item), self.refuse_speed)

    def judge_for(self, item: pytest.Item) -> Judge:
        """What an estimand hands its cases to: the verdict is kept with the test's report and judged by the policy."""

        def judge(case: Case) -> Judgement:
            nth = sum(made.asked and kept.case.label == case.label for _, made, kept in self._made)
            case = self.measurements.looks.at(item.nodeid, case, nth, self.measurements.engines).settled()
            verdict = case.judge()
            entry = (PROPERTY, _as_property(verdict))
            item.user_properties.append(entry)
            judgement = Judgement(verdict, inconclusive=self.settings.inconclusive)
            self._made.append((entry, judgement, case_files.KeptCase(item.nodeid, verdict.status, case)))
            return judgement

        return judge

    def _withdraw_unasserted(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """A verdict that nobody asserted has gated nothing: it must not stand in the table as a PASS."""
        unasserted = [entry for entry, judgement, _ in self._made if not judgement.asked]
        for properties in (item.user_properties, report.user_properties):
            properties[:] = [one for one in properties if not any(one is entry for entry in unasserted)]
        self._keep(item.nodeid, [kept for _, judgement, kept in self._made if judgement.asked])
        self._made.clear()

    def _keep(self, test: str, asserted: list[case_files.KeptCase]) -> None:
        """Put away what the record is to hold of this test; as properties it would swell every report."""
        if complaint := self.recording.keep(test, asserted):
            self.complaints.append(complaint)

    def explain(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        """Turn a failed gate or a broken server into its own words, and anything not measured into INVALID."""
        self.recording.mark(report)
        self._failed_at = note_line(item, call, 0 if report.when == "setup" else self._failed_at)
        if report.when == "teardown":
            self._withdraw_unasserted(item, report)
        self._put_into_words(item, call, report)
        if report.when == "teardown":
            put_place(item, report, self._failed_at)
            put_properties(report, _verdicts_of(report))

    def _put_into_words(
        self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
    ) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._not_measured(item, report, "the test was skipped, so that nothing was measured")
        if call.excinfo is None or report.passed:
            return
        error = call.excinfo.value
        if isinstance(error, GateError | LlmperfError):
            report.longrepr = redact_log(self._as_kept(str(error)))
        if isinstance(error, LlmperfError):
            method = BAD_DATA if isinstance(error, DataError) else "not measured"
            self._not_measured(item, report, redact_log(str(error)).splitlines()[0], method)
        # A gate that the data decided says it all with its numbers; the log would only hide them.
        judged = isinstance(error, GateError) and error.verdict.status is not Status.INVALID
        if report.failed and not judged and (log := self.measurements.log_since_mark()):
            report.sections.append(("llmperf server log", redact_log(log)))

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

    def _not_measured(
        self, item: pytest.Item, report: pytest.TestReport, why: str, method: str = "not measured"
    ) -> None:
        verdict = Verdict(Status.INVALID, item.name, None, None, None, 0, None, method, why)
        # On the item, so that the reports of the phases that follow carry it as well.
        entry = (PROPERTY, _as_property(verdict))
        item.user_properties.append(entry)
        report.user_properties.append(entry)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.screen.clear()
        if hasattr(self.config, "workerinput"):
            return
        if isinstance(report.longrepr, str):
            report.longrepr = self.screen.fit(report.longrepr)
        self.recording.hear(report)
        # Every phase's report carries all properties so far: the last phase has them all, once.
        if report.when == "teardown":
            verdicts = _verdicts_of(report)
            self.verdicts += verdicts
            for verdict in verdicts:
                self.outlets.add(verdict, report)
            self.recording.add(report.nodeid, verdicts)

    # End

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        self.screen.clear()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.screen.clear()
        if not session.config.option.collectonly:
            self._keep("the last test", [])
        self._end_servers(at_once=session.exitstatus == pytest.ExitCode.INTERRUPTED)
        if self.answers is not None:
            self.answers.log.close()
        if hasattr(self.config, "workerinput") or session.config.option.collectonly:
            return
        if self.answers is not None:
            self.answers.end(int(session.exitstatus))
        # Also where every test passed: a suite may have caught what a gate raised.
        green = not self.verdicts or run_verdict(self.verdicts, inconclusive=self.settings.inconclusive).green
        if session.exitstatus == pytest.ExitCode.OK and (self.complaints or not green):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if any(verdict.method == BAD_DATA for verdict in self.verdicts):
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        finished: dict[str, Path] | None = {}
        if self.settings.record is not None:
            beside = self.outlets.history, references_of(self.config)
            finished = self.recording.finish(_interruption(session), *beside)
            if finished and self.referenced and not self.referenced.green(self.settings.record):
                session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        if not self.outlets.write(finished or {}) or finished is None:
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED

    def _add_to_record(self, record: dict[str, Any]) -> None:
        """What others than the recording know."""
        record.update(self.answers.facts() if self.answers else {})
        self.config.hook.pytest_llmperf_update_record(config=self.config, record=record)

    def summarise(self, reporter: TerminalReporter) -> None:
        """The verdict table; nothing if no gate was asked for."""
        if not self.verdicts and (not self._expected or self.config.option.collectonly):
            return
        verdict = run_verdict(self.verdicts, inconclusive=self.settings.inconclusive)
        self.screen.tell(reporter, self.verdicts, verdict, self.outlets.tests)
        if note := self.measurements.looks.note:
            self.screen.say(reporter, note)
        asked, planned = self.measurements.saving()
        if asked < planned:
            self.screen.say(
                reporter,
                f"{asked:,} of {planned:,} answers were enough to decide "
                f"({100 * (1 - asked / planned):.0f} % saved; --llmperf-full asks for all)",
            )
        for note in self.measurements.speed.devices.notes():
            self.screen.say(reporter, note)
        for event in self.measurements.events():
            self.screen.say(reporter, redact(event["text"]))
        for complaint in self.complaints:
            self.screen.say(reporter, redact(f"NOT CLEAN: {complaint}"), red=True, bold=True)
        kept = self.answers.notes() if self.answers else []
        compared = self.referenced.lines if self.referenced else []
        for note in filter(None, (*kept, *compared, self.recording.note, *self.outlets.notes)):
            self.screen.say(reporter, redact(note))
        for command in self.outlets.annotations():
            reporter.write_line(command)


def _interruption(session: pytest.Session) -> str:
    """Why the session ended before its tests did; empty if it did not, or only because enough of them failed."""
    match session.exitstatus:
        case pytest.ExitCode.INTERRUPTED:
            return "the run was interrupted"
        case pytest.ExitCode.INTERNAL_ERROR:
            return "pytest itself failed"
    return ""


def _verdicts_of(report: pytest.TestReport) -> list[Verdict]:
    """What its gates said, in their order."""
    found = (value for key, value in report.user_properties if key == PROPERTY)
    return [verdict_from_json(json.loads(str(value))) for value in found]


def _as_property(verdict: Verdict) -> str:
    return json.dumps(redact_values(verdict_to_json(verdict)))
