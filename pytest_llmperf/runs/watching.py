"""Follows the tests of a session, and enters in the ledger what happens to them.

Everything is seen in wrappers around pytest's phases; nothing is taken from reports, which hooks may change or drop.
"""

from __future__ import annotations

import time
import unittest
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.errors import LlmperfError, NotMeasured, first_line
from pytest_llmperf.gates.item_slice import SLICED
from pytest_llmperf.gates.judgement import GateError, error_of, is_green
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.gates.wording import excuse
from pytest_llmperf.hookspecs import PROFILE_MARK, SAME_MODEL_MARK, STARTED_MARK
from pytest_llmperf.record.redaction import redact_log
from pytest_llmperf.runs.advisory import advisory_reason, check_marks
from pytest_llmperf.runs.asking import asked_at_run_time, asks, asks_in_source, candidate_of
from pytest_llmperf.runs.ledger import Ledger
from pytest_llmperf.runs.sharding import Sharding
from pytest_llmperf.runs.unmatched_waivers import unmatched

if TYPE_CHECKING:
    from pytest_llmperf.config.run_config import Settings


class Watching:
    """The hooks; ``ended`` is called with the node id of a test once its last try is over."""

    def __init__(
        self, ledger: Ledger, ended: Callable[[pytest.Item], None], sharding: Sharding | None = None
    ) -> None:
        self._ledger = ledger
        self._sharding = sharding
        self._ended = ended
        self._raised: list[tuple[str, BaseException]] = []
        """Exceptions of the present try of the running test, by phase."""
        self._escaped: BaseException | None = None
        """The exception that the test function of the present try raised."""
        self._began_s = 0.0
        self._collected: list[str] = []
        """Node ids of all collected tests, those that are deselected later included."""
        self._deselected = 0

    # Collection

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        if report.outcome != "passed" and asks_in_source(collector):
            skipped = report.outcome == "skipped"
            why = "was skipped while it was collected" if skipped else "could not be collected"
            said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr or "")
            last = next(iter(said.strip().splitlines()[-1:]), "")
            test = collector.nodeid or "the suite"
            self._ledger.enter(test, file=str(getattr(collector, "path", "")), line=1)
            text = redact_log(f"{test} asks about a model and {why}, so that nothing was measured: {last}")
            self._ledger.raised(test, "collection", "skip" if skipped else "error", text)
            self._ledger.end(test)
        return report

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        self._collected.append(item.nodeid)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        # What is for another profile, for builds of one model or for servers that the run starts is no part of this
        # run in the first place, and what is of another shard is left out of no run.
        self._deselected += len(items)
        elsewhere = self._sharding.elsewhere if self._sharding else ()
        others = [
            item
            for item in items
            if item.nodeid not in elsewhere
            and not any(map(item.get_closest_marker, (PROFILE_MARK, SAME_MODEL_MARK, STARTED_MARK)))
        ]
        self._ledger.deselected(self._ledger.left_out + len(others))

    def expect(self, items: Sequence[pytest.Item], settings: Settings) -> list[pytest.Item]:
        """Enter the tests of the run that ask about a model; those are returned."""
        if (silently := len(self._collected) - self._deselected - len(items)) > 0:
            self._ledger.deselected(self._ledger.left_out + silently)
        if items and self._ledger.waivers:
            config = items[0].config
            here = config.invocation_params.dir
            in_part = [(here / given.partition("::")[0]).resolve() for given in config.args if "::" in given]
            remarks = unmatched(
                self._ledger.waivers,
                self._collected,
                config.rootpath,
                in_part,
                rows=settings.known_rows(),
                candidates=[model.name for model in settings.candidates],
            )
            for remark in remarks:
                self._ledger.remark(remark)
        check_marks(items, self._ledger)
        asking = []
        for item in items:
            if (how := asks(item)) is not None:
                asking.append(item)
                self._enter(item, how.needs, how.asserts)
        return asking

    def _enter(self, item: pytest.Item, needs: str = "", asserts: bool = True) -> None:
        line = (item.location[1] or 0) + 1
        self._ledger.enter(
            item.nodeid,
            file=str(item.path),
            line=line,
            needs=needs,
            asserts=asserts,
            candidate=candidate_of(item),
            advisory=advisory_reason(item),
        )

    # Tests

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        try:
            return (yield)
        finally:
            self._ledger.leave()
            self._ended(item)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        # Plugins that run a test again set it up again: whatever they are, this is where a try begins.
        self._raised, self._escaped = [], None
        self._began_s = time.perf_counter()
        self._ledger.begin(item.nodeid)
        try:
            return (yield)
        except BaseException as error:
            self._note(item, "setup", error)
            raise

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
        # The innermost wrapper: what another one makes of an exception is not what the test came to.
        try:
            return (yield)
        except BaseException as error:
            self._note(pyfuncitem, "call", error)
            self._escaped = error
            raise

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        try:
            result = yield
        except BaseException as error:
            if not any(error is known for _, known in self._raised):
                self._note(item, "call", error)
            raise
        # A wrapper has swallowed it: the test goes on as if it had passed, until `_speak_up`.
        self._raised = [(when, error) for when, error in self._raised if error is not self._escaped]
        # unittest's runner hands its exceptions to the item instead of raising them.
        for caught in getattr(item, "_excinfo", None) or ():
            self._note(item, "call", caught.value)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        try:
            result = yield
        except BaseException as error:
            self._note(item, "teardown", error)
            self._end(item)
            raise
        self._end(item)
        self._speak_up(item)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        error = None if call.excinfo is None else call.excinfo.value
        if error is not None and not any(error is known for _, known in self._raised):
            # A subtest, or another plugin's own phase: its exception ends no phase of the test, and is reported only.
            self._note(item, report.when or call.when, error)
        if report.failed and call.excinfo is None and not self._raised:
            # A strict xfail that passed, subtests that failed: pytest's own reasons, which no phase has raised.
            why = next(iter(str(report.longrepr or "").strip().splitlines()), "") or report.outcome
            self._ledger.raised(item.nodeid, report.when or "", "error", f"pytest counts it as failed: {why}")
        self._excuse(report)
        return report

    def _excuse(self, report: pytest.TestReport) -> None:
        """Report a phase whose failures do not count as an expected failure, so that pytest neither counts it as red
        nor shows it as passed."""
        entry = self._ledger.entry(report.nodeid)
        if entry is None or report.skipped:
            return
        excused = [v for v in entry.gates if v.excused and v.status is not Status.PASS]
        if report.failed:
            verdicts = entry.verdicts
            if not all(is_green(verdict, self._ledger.policy) for verdict in verdicts):
                return
            excused = [verdict for verdict in verdicts if verdict.excused]
        slices = [v for v in entry.gates if v.method == SLICED]
        if slices and not report.failed and report.when == "call":
            report.outcome = "skipped"
            report.wasxfail = slices[0].why
            return
        if excused and (report.failed or report.when == "call"):
            report.outcome = "skipped"
            report.wasxfail = f"{excuse(excused[0])} — {excused[0].status.value}: {excused[0].why}"

    def _note(self, item: pytest.Item, when: str, error: BaseException) -> None:
        self._raised.append((when, error))
        if self._ledger.entry(item.nodeid) is None and not self._found_at_run_time(item):
            return
        if isinstance(error, LlmperfError):
            self._ledger.error(error)
        kind, why = _kind_of(error)
        where = "" if when == "call" or kind in ("skip", "xfail") else f" in its {when}"
        line = _line_in(item.path, error)
        self._ledger.raised(item.nodeid, when, kind, redact_log(why + where), line)

    def _end(self, item: pytest.Item) -> None:
        if self._ledger.entry(item.nodeid) is not None or self._found_at_run_time(item):
            self._ledger.end(item.nodeid, time.perf_counter() - self._began_s)

    def _found_at_run_time(self, item: pytest.Item) -> bool:
        """Enter a test of which only its run has shown that it asks about a model."""
        if not asked_at_run_time(item):
            return False
        self._enter(item)
        self._ledger.begin(item.nodeid)
        return True

    def _speak_up(self, item: pytest.Item) -> None:
        """Fail a test that came to its end as if all were well, and whose entry says otherwise."""
        entry = self._ledger.entry(item.nodeid)
        if entry is None or self._raised:
            return
        for verdict in entry.verdicts:
            if not is_green(verdict, self._ledger.policy):
                error = error_of(verdict) if verdict in entry.gates else NotMeasured(verdict.why)
                # It says what the ledger holds already, and is not entered again.
                self._raised.append(("teardown", error))
                raise error


def _kind_of(error: BaseException) -> tuple[str, str]:
    """The kind of an exception for the ledger, and its one line."""
    said = first_line(error)
    if isinstance(error, GateError):
        return "gate", error.verdict.why
    if isinstance(error, pytest.skip.Exception | unittest.SkipTest):
        return "skip", f"the test was skipped, so that nothing was measured: {_message(error)}"
    if isinstance(error, pytest.xfail.Exception):
        return (
            "xfail",
            f"the test was not run to its end (xfail), so that nothing was judged: {_message(error)}",
        )
    if isinstance(error, AssertionError):
        return "assertion", f"an assertion failed: {_message(error) or 'it has no message'}"
    # pytest-timeout ends a test in the same way as pytest.fail does.
    if isinstance(error, pytest.fail.Exception) and not _message(error).startswith("Timeout"):
        return "assertion", f"the test failed: {_message(error)}"
    return "error", said


def _message(error: BaseException) -> str:
    return next(iter(str(getattr(error, "msg", None) or error).splitlines()), "")


def _line_in(path: Path, error: BaseException) -> int:
    """The last line of the test's own file that an exception came through; 0 if it came through none."""
    line, traceback = 0, error.__traceback__
    while traceback is not None:
        if Path(traceback.tb_frame.f_code.co_filename) == path:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
