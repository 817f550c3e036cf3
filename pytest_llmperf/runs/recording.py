"""The data that a run keeps while it goes on, and the files that it leaves: the record, its tables and its page.

After every test the record is written as far as it goes, marked partial. A run that is killed at any moment leaves this
record, or an earlier run's, and never half a file.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.home import shown
from pytest_llmperf.json_values import Json, JsonObject, list_of, object_of
from pytest_llmperf.record import fingerprint, gate_files, summary
from pytest_llmperf.record.by_identity import ByIdentity
from pytest_llmperf.record.process_files import ProcessFiles
from pytest_llmperf.record.redaction import redact_values
from pytest_llmperf.record.store import RecordNotWritten, UnfinishedRecord, write_record
from pytest_llmperf.record.tables import ANSWERS, TOKENS, TRACES, store_table
from pytest_llmperf.record.verdict_json import verdict_to_json
from pytest_llmperf.report.page import write_page, write_unfinished_page
from pytest_llmperf.runs.ledger import Entry, Ledger

if TYPE_CHECKING:
    from pytest_llmperf.measure.measurements import Measurements
    from pytest_llmperf.record.model import Record


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
        ledger: Ledger,
        update: Callable[[dict[str, Json]], object],
    ) -> None:
        self.path = path
        self.note = ""
        """Line for the end of the run: the path of the record, or why there is none."""
        self._measurements = measurements
        self._ledger = ledger
        self._root = root
        self._update = update
        self._files = ProcessFiles(state_root / "parts", process)
        self._cases = state_root / "cases"
        self._process = process
        self._order: dict[str, int] = {}
        """Position of each test in the run, by node id: xdist ends them in any order."""
        self._collected: dict[str, Json] = {"suite": {}}
        """Facts that are known once the tests are collected."""
        self._lost = ""
        """Data that could not be kept, and so are missing in the record; empty if there are none."""
        self._environment: dict[str, Json] | None = None
        self._id = uuid.uuid4().hex
        self._unfinished = None if path is None else UnfinishedRecord(path)
        self._entry_of = ByIdentity(_entry_of)
        self._metrics = summary.MetricSummary()
        self._told: dict[tuple[str, str, int], dict[str, Json]] = {}
        """The record's entry of each test and verdict, by its place: the same object as long as it says the same."""

    # In every process

    def expect(
        self, tests: Mapping[str, Path], catalogues: Iterable[Path], shard: JsonObject | None = None
    ) -> None:
        """The collected tests that use a model: node id → file, in the order of the run; ``shard``: the part of a run
        that they are."""
        self._order = {test: place for place, test in enumerate(tests)}
        if self.path is not None:
            suite = fingerprint.suite_of(tests.values(), catalogues, self._root).as_json()
            self._collected = {"suite": suite | {"tests": list(tests)}, "shard": shard}

    def keep(self, test: str, asserted: list[gate_files.RecordedGate]) -> str:
        """Keep the gates of ``test`` and what it has measured; return why that was not possible, else an empty text."""
        if self.path is None:
            return ""
        try:
            tries = entry.tries if (entry := self._ledger.entry(test)) else 1
            for kept in asserted:
                place = self._order.get(kept.test, len(self._order))
                gate_files.keep(self._cases / f"{self._process}.jsonl", place, tries, kept)
            self._files.keep_facts(self._measurements.facts() | self._collected)
            self._files.keep_rows(ANSWERS, self._measurements.take_answers())
            self._files.keep_rows(TRACES, self._measurements.take_traces())
            self._files.keep_rows(TOKENS, self._measurements.take_tokens())
        except (OSError, RecordNotWritten) as error:
            self._lost = f"the data of {test} were not kept for the record: {error}"
        return self._lost

    # In the process that writes the record

    def begin(self) -> None:
        """Write the record and the page as unfinished. Raises :class:`UsageError` if one cannot be written."""
        if self.path is None or self._unfinished is None:
            return
        try:
            self._unfinished.write(self._record(self._facts(), "the run has not ended: no test has"))
            write_unfinished_page(self.path.with_suffix(".html"))
        except RecordNotWritten as error:
            raise UsageError(f"--llmperf-record: {error}") from error

    def update(self) -> None:
        """Write the record as far as the run has come, marked partial."""
        if self._unfinished is None:
            return
        facts = self._facts()
        ended = len(self._ledger.entries) - self._ledger.unfinished
        why = f"the run has not ended: {ended} tests of {_expected(facts) or 'some'} have"
        try:
            self._unfinished.write(self._record(facts, why))
        except RecordNotWritten as error:
            self.note = str(error)

    def finish(
        self,
        interrupted: str,
        references: Path | None = None,
        compare: Callable[[Record], object] | None = None,
    ) -> dict[str, Path] | None:
        """Write everything; return the written files by name, or None if the record could not be written.

        ``interrupted`` says why the run ended before its tests did; empty if it did not. ``references`` is the
        directory of the references that the page shows. ``compare`` is called with the record when its tables are
        written, and may change the ledger's verdict on the run.
        """
        assert self.path is not None
        facts = self._facts()
        missing = self._ledger.unfinished
        unended = f"{missing} of {_expected(facts)} tests were not run" if missing else ""
        reasons = dict.fromkeys(filter(None, (interrupted, unended, self._lost)))
        try:
            record = self._record(facts, "; ".join(reasons), so_far=False)
            self._update(record)
            # While the files beside the record are replaced one by one, it must not refer to them.
            unwritten = {"partial": "the run was killed while its record was written"}
            write_record(self.path, record | unwritten | {"run": self._run() | {"green": False}})
            record["cases"] = gate_files.store_gates(self.path, gate_files.gathered(self._cases))
            record[ANSWERS.key] = store_table(self.path, ANSWERS, self._files.answers())
            record[TRACES.key] = store_table(self.path, TRACES, self._files.traces())
            record[TOKENS.key] = store_table(self.path, TOKENS, self._files.tokens())
            if compare is not None:
                compare(self._parsed(redact_values(record)))
            write_record(self.path, record | {"run": self._run()})
        except RecordNotWritten as error:
            self.note = str(error)
            self._mark_unwritten()
            return None
        partial = f" (partial: {record['partial']})" if record["partial"] else ""
        self.note = f"record: {shown(self.path)}{partial}"
        return {"record": self.path} | self._with_page(self.path, references)

    def _with_page(self, path: Path, references: Path | None) -> dict[str, Path]:
        page = path.with_suffix(".html")
        try:
            write_page(path, page, references=references)
        except LlmperfError as error:
            self.note += f"; no page: {error}; `pytest-llmperf report {shown(path)}` makes it"
            return {}
        self.note += f", page: {shown(page)}"
        return {"page": page}

    def _facts(self) -> dict[str, Json]:
        """The measurements of all processes."""
        return self._files.facts() or self._measurements.facts() | self._collected

    def _record(self, facts: JsonObject, partial: str, *, so_far: bool = True) -> dict[str, Json]:
        """The fields of the record; with ``so_far`` without the tests that have not ended, which may still judge."""
        if self._environment is None:
            self._environment = fingerprint.environment(self._root).as_json()
        measured = self._measured(facts)
        return {
            "id": self._id,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "partial": partial or None,
            **facts,
            # Some happen after the facts of the last test were kept.
            "events": self._measurements.events(),
            "environment": self._environment,
            "run": self._run() | ({"green": False} if partial else {}),
            "tests": [
                self._same("test", entry.test, place, _test_json(entry))
                for place, entry in enumerate(self._ledger.entries)
            ],
            "verdicts": [
                self._same("verdict", entry.test, place, verdict_to_json(verdict) | {"test": entry.test})
                for place, (entry, verdict) in enumerate(self._ledger.verdicts(so_far=so_far))
            ],
            "metrics": self._metrics.of(measured),
            "costs": summary.costs(measured),
        }

    def _same(self, kind: str, test: str, place: int, told: dict[str, Json]) -> dict[str, Json]:
        """Return the object of the last time if it says the same: it is not encoded anew then."""
        key = (kind, test, place)
        if self._told.get(key) != told:
            self._told[key] = told
        return self._told[key]

    def _measured(self, facts: JsonObject) -> Record:
        """Entries for metrics and costs. Raises ``RecordNotWritten`` if one does not fit its type."""
        try:
            measured = {
                key: tuple(self._entry_of(key, entry) for entry in list_of(facts.get(key)))
                for key in ("answers", "load", "telemetry")
            }
            self._entry_of.forget_unused()
            return _record_of({}).model_copy(update=measured)
        except ValueError as problem:
            raise RecordNotWritten(f"the record was not written to {self.path}: {problem}") from problem

    def _parsed(self, fields: JsonObject) -> Record:
        """Read ``fields`` as a record. Raises ``RecordNotWritten`` if they do not fit its types."""
        try:
            return _record_of(fields)
        except ValueError as problem:
            raise RecordNotWritten(f"the record was not written to {self.path}: {problem}") from problem

    def _run(self) -> dict[str, Json]:
        """Outcome of the run, which every reader of the record reports as it stands here."""
        verdict, ledger = self._ledger.verdict(), self._ledger
        return {
            "status": verdict.status.value,
            "green": verdict.green,
            "green_by_itself": ledger.verdict(reference=False).green,
            "inconclusive": ledger.policy,
            "problems": list(ledger.problems),
            "failures": [ledger.compared] if ledger.compared else [],
            "notes": ledger.notes,
            "checks": ledger.checks,
            "deselected": ledger.left_out,
            "bad_data": ledger.bad_data,
        }

    def _mark_unwritten(self) -> None:
        """Say in the record at ``path``, an earlier state of this run, that the rest could not be written."""
        assert self._unfinished is not None
        with contextlib.suppress(RecordNotWritten):
            partial = "the rest of the run's data could not be written"
            self._unfinished.write(self._record(self._facts(), partial))


def _record_of(fields: JsonObject) -> Record:
    from pytest_llmperf.record.model import Record

    return Record.of(fields)


def _entry_of(key: str, entry: Any) -> Any:
    """``entry`` of the record's list ``key``, typed."""
    return getattr(_record_of({key: [entry]}), key)[0]


def _test_json(entry: Entry) -> dict[str, Json]:
    return {
        "test": entry.test,
        "outcome": entry.outcome,
        "seconds": round(entry.seconds, 3),
        "tries": entry.tries,
        "candidate": entry.candidate or None,
    }


def _expected(facts: JsonObject) -> int:
    """The number of tests that were collected."""
    return len(list_of(object_of(facts.get("suite")).get("tests")))
