"""What a run puts away while it goes on, and the files that it leaves: the record, its tables and its page.

After every test the record is written as far as it goes, marked partial, so that a run which is killed at any moment
leaves that one, or an earlier run's, and never half a file.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.record import case_files, fingerprint, summing
from pytest_llmperf.record.parts import Parts
from pytest_llmperf.record.store import RecordNotWritten, write_record
from pytest_llmperf.record.tables import ANSWERS, TRACES, store_table
from pytest_llmperf.record.wire import verdict_to_json
from pytest_llmperf.report.page import write_page

if TYPE_CHECKING:
    import pytest

    from pytest_llmperf.measure import Measurements

_TOLD = "llmperf_tells"
"""Attribute of a report by which the controlling process knows that its test uses a model."""


class Recording:
    """The record of this run at ``path``, as this process of it (``process``) sees it; ``path`` None: none is kept.

    All processes share ``state_root``.
    """

    def __init__(
        self,
        path: Path | None,
        state_root: Path,
        process: str,
        root: Path,
        measurements: Measurements,
        update: Callable[[dict[str, Any]], object],
    ) -> None:
        self.path = path
        self.note = ""
        """Where it is, or why it is not, for the end of the run."""
        self._measurements = measurements
        self._root = root
        self._update = update
        self._parts = Parts(state_root / "parts", process)
        self._cases = state_root / "cases"
        self._process = process
        self._order: dict[str, int] = {}
        """Places of the tests in this run, by node id: xdist ends them in any order."""
        self._suite: dict[str, Any] = {}
        self._begun: dict[str, dict[str, Any]] = {}
        self._tests: dict[str, dict[str, Any]] = {}
        """Those that have ended, by node id."""
        self._verdicts: list[dict[str, Any]] = []
        self._environment: dict[str, Any] | None = None
        self._id = uuid.uuid4().hex

    # In every process

    def expect(self, tests: Mapping[str, Path], catalogues: Iterable[Path]) -> None:
        """The collected tests that use a model: node id → file, in the order of the run."""
        self._order = {test: place for place, test in enumerate(tests)}
        if self.path is not None:
            self._suite = fingerprint.suite_of(tests.values(), catalogues, self._root) | {
                "tests": list(tests)
            }

    def keep(self, test: str, asserted: list[case_files.KeptCase]) -> str:
        """Put away what ``test`` has measured and its gates; empty, or why that was not possible."""
        if self.path is None:
            return ""
        try:
            for kept in asserted:
                place = self._order.get(kept.test, len(self._order))
                case_files.keep(self._cases / f"{self._process}.jsonl", place, kept)
            self._parts.keep_facts(self._measurements.facts() | {"suite": self._suite})
            self._parts.keep_rows(ANSWERS, self._measurements.take_answers())
            self._parts.keep_rows(TRACES, self._measurements.take_traces())
        except (OSError, RecordNotWritten) as error:
            return f"the data of {test} were not kept for the record: {error}"
        return ""

    @staticmethod
    def mark(report: pytest.TestReport) -> None:
        """Say, to the process that writes the record, that the report is of a test that uses a model."""
        report.__dict__[_TOLD] = True

    # In the process that writes the record

    def hear(self, report: pytest.TestReport) -> None:
        """A phase of a test has ended."""
        if not getattr(report, _TOLD, False):
            return
        about = self._begun.setdefault(report.nodeid, {"test": report.nodeid, "outcome": "", "seconds": 0.0})
        about["seconds"] = round(about["seconds"] + report.duration, 3)
        if report.failed and report.when != "call":
            about["outcome"] = "error"
        elif report.when == "call" or report.skipped:
            about["outcome"] = report.outcome
        if report.when == "teardown":
            self._tests[report.nodeid] = about

    def add(self, test: str, verdicts: Iterable[Verdict]) -> None:
        """A test has ended: from now on, the record at ``path`` has it."""
        self._verdicts += [verdict_to_json(verdict) | {"test": test} for verdict in verdicts]
        if self.path is None or test not in self._tests:
            return
        if self._environment is None:
            # Those of an earlier run, of which this record does not speak. Where there is no place, writing says so.
            with contextlib.suppress(OSError):
                self.path.with_suffix(".html").unlink()
        why = f"the run has not ended: {len(self._tests)} tests of {self._expected() or 'some'} have"
        try:
            write_record(self.path, self._record(why), checked=False)
        except RecordNotWritten as error:
            self.note = str(error)

    def finish(
        self, interrupted: str, history: Sequence[Path] = (), references: Path | None = None
    ) -> dict[str, Path] | None:
        """Write everything: the files that are there now by name, or None if the record could not be written.

        ``interrupted`` says why the run ended before its tests did; empty if it did not. ``history`` and ``references``
        are directories of what the page compares with.
        """
        assert self.path is not None
        record = self._record("; ".join(filter(None, (interrupted, self._unended()))))
        self._update(record)
        try:
            # While the files beside it are replaced one by one, no record may speak of them.
            write_record(self.path, record | {"partial": "the run was killed while its record was written"})
            record["cases"] = case_files.store_cases(self.path, case_files.gathered(self._cases))
            record[ANSWERS.key] = store_table(self.path, ANSWERS, self._parts.answers())
            record[TRACES.key] = store_table(self.path, TRACES, self._parts.traces())
            write_record(self.path, record)
        except RecordNotWritten as error:
            self.note = str(error)
            return None
        partial = f" (partial: {record['partial']})" if record["partial"] else ""
        self.note = f"record: {self.path}{partial}"
        return {"record": self.path} | self._with_page(self.path, history, references)

    def _with_page(self, path: Path, history: Sequence[Path], references: Path | None) -> dict[str, Path]:
        page = path.with_suffix(".html")
        try:
            write_page(path, page, history, references)
        except LlmperfError as error:
            self.note += f"; no page: {error}; `pytest-llmperf report {path}` makes it"
            return {}
        self.note += f", page: {page}"
        return {"page": page}

    def _record(self, partial: str) -> dict[str, Any]:
        if self._environment is None:
            self._environment = fingerprint.environment(self._root)
        facts = self._parts.facts() or self._measurements.facts()
        return {
            "id": self._id,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "partial": partial or None,
            **facts,
            # Some happen after the last test has put its facts away.
            "events": self._measurements.events(),
            "environment": self._environment,
            "tests": list(self._tests.values()),
            "verdicts": self._verdicts,
            "metrics": summing.metrics(facts),
            "costs": summing.costs(facts),
        }

    def _expected(self) -> int:
        suite = self._parts.facts().get("suite", self._suite)
        return len(suite.get("tests", ()))

    def _unended(self) -> str:
        missing = self._expected() - len(self._tests)
        return f"{missing} of {self._expected()} tests were not run" if missing > 0 else ""
