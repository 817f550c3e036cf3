"""The ledger of a run: what every test asked of a model, and what came of it.

It is filled where things happen (when tests are collected, measure, fail, judge and assert), and never from pytest's
reports, which other plugins drop and rewrite. Exit code, terminal, page, Markdown, JUnit, metrics, annotations and
record all read :meth:`Ledger.verdict` and :meth:`Ledger.entries`, so that they cannot disagree.

Every change is an event, one JSON object. A worker of pytest-xdist also appends it to a file at once; the controlling
process reads these files, and so knows what a worker that died has left unfinished.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Required, TypedDict

from pytest_llmperf.config.waivers import WARN_DAYS, Waiver
from pytest_llmperf.errors import first_line
from pytest_llmperf.gates.judgement import Policy
from pytest_llmperf.gates.policy import COUNTS, TolerancePolicy
from pytest_llmperf.gates.run_verdict import RunVerdict, run_verdict
from pytest_llmperf.gates.verdict import NOT_MEASURED, Status, Verdict
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.record.redaction import redact_log, redact_values
from pytest_llmperf.record.verdict_json import verdict_from_json, verdict_to_json

BAD_DATA = "DataError"
"""Kind of the error of a data set that cannot be asked: the run ends with exit code 4."""
OUTSIDE = "outside of the tests"
"""Stands for the test where a question is asked while none runs."""
_CLOCK = (time.monotonic,)
"""In a tuple, where a library that replaces the clock of every module does not find it."""


class _Event(TypedDict, total=False):
    """A change of the ledger; ``do`` says which of the other fields there are."""

    at: Required[float]
    """Seconds on the machine's monotonic clock."""
    do: Required[str]
    test: Required[str]
    file: str
    line: int
    needs: str
    asserts: bool
    candidate: str
    advisory: str
    count: int
    number: int
    seconds: float
    when: str
    kind: str
    why: str
    verdict: JsonObject


@dataclass
class Judged:
    """A comparison that was made in a test; it gates only if it was asserted."""

    verdict: Verdict
    asserted: bool = False


@dataclass(frozen=True)
class Raised:
    """An exception that ended a phase of a test; ``kind``: ``gate``, ``skip``, ``xfail``, ``assertion``, ``error``."""

    when: str
    kind: str
    why: str


@dataclass
class Entry:
    """One test that asks about a model. What it holds is that of its last try."""

    test: str
    file: str = ""
    line: int = 0
    needs: str = ""
    """The fixture or question that obliges the test to assert a gate; empty for one that checks by plain assertions."""
    asserts: bool = True
    """True if the source of the test has an assertion at all."""
    candidate: str = ""
    """The row that the test is repeated for; empty where it is not repeated for each candidate."""
    policy: TolerancePolicy = COUNTS
    """Whether the verdicts of the test count: it may be advisory, or waived."""
    tries: int = 0
    ended: bool = False
    failed_at: int = 0
    """Line of the test's file at which it failed; 0 if it did not, or elsewhere."""
    seconds: float = 0.0
    """Set-up, call and teardown of all tries."""
    judged: list[Judged] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    """Kind and first line of every error that was raised while something was asked, also of those that were caught."""
    raised: list[Raised] = field(default_factory=list)
    handed_over: bool = False
    """True if what was measured went to pytest-benchmark, which is no gate and needs none."""

    @property
    def place(self) -> int:
        """The line to show for this test."""
        return self.failed_at or self.line

    @property
    def gates(self) -> list[Verdict]:
        """Verdicts that were asserted, in their order, each with whether it counts."""
        return [self.policy.applied_to(made.verdict) for made in self.judged if made.asserted]

    @property
    def verdicts(self) -> list[Verdict]:
        """The gates, and one more where the test has something to say that no gate says."""
        trouble = self.trouble()
        return self.gates if trouble is None else [*self.gates, self.policy.applied_to(trouble)]

    @property
    def outcome(self) -> str:
        """``passed``, ``failed``, ``error``, ``skipped`` or ``not run``, as the test itself ended."""
        if not self.ended:
            return "error" if self.tries else "not run"
        if any(raised.kind in ("skip", "xfail") for raised in self.raised):
            return "skipped"
        if any(raised.when != "call" for raised in self.raised):
            return "error"
        return "failed" if self.raised else "passed"

    def trouble(self) -> Verdict | None:
        """FAIL or INVALID where the gates alone do not tell what came of the test; None if they do."""
        if self.errors:
            asserted = [made.verdict for made in self.judged if made.asserted]
            already = any(v.status is Status.INVALID and v.why == self.errors[0][1] for v in asserted)
            return None if already else self._invalid(self.errors[0][1])
        by_gate = False
        for raised in self.raised:
            if raised.kind == "gate" and any(v.status is not Status.PASS for v in self.gates):
                by_gate = True
                continue
            if raised.kind == "assertion" and raised.when == "call" and (self.gates or not self.needs):
                return self._without_gate(Status.FAIL, raised.why)
            return self._invalid(raised.why)
        if by_gate:
            return None
        if not self.ended:
            return self._invalid(
                "the run ended, or its process died, while this test ran"
                if self.tries
                else "the test was not run: the run ended before its turn"
            )
        return self.silence()

    def silence(self) -> Verdict | None:
        """INVALID where a test came to its end without an exception, and yet has judged nothing; None otherwise."""
        unasserted = [made.verdict for made in self.judged if not made.asserted]
        if unasserted:
            return self._invalid(
                f"a comparison was made and not asserted: {unasserted[0].why}; write assert before it"
            )
        if self.gates or self.handed_over:
            return None
        if self.needs:
            return self._invalid(
                f"{self.needs} was asked for and no gate was asserted, so that nothing was judged: write "
                "assert with a comparison, and see that it is reached"
            )
        if not self.asserts:
            return self._invalid("the test uses a model and asserts nothing")
        return None

    def _invalid(self, why: str) -> Verdict:
        return self._without_gate(Status.INVALID, why)

    def _without_gate(self, status: Status, why: str) -> Verdict:
        name = self.test.rpartition("::")[2] or self.test
        return Verdict(status, name, None, None, None, 0, None, NOT_MEASURED, why)


class Ledger:
    """The entries of one run, as far as this process knows them. Safe to call from any thread."""

    def __init__(
        self,
        policy: Policy,
        file: Path | None = None,
        waivers: Mapping[str, Waiver] | None = None,
        today: date = date.min,
    ) -> None:
        """``waivers`` by test, as they stand on the day ``today`` (UTC)."""
        self.policy = policy
        self.waivers = {
            test: replace(waiver, reason=redact_log(waiver.reason))
            for test, waiver in (waivers or {}).items()
        }
        self._today = today
        self._remarks: list[str] = []
        self.problems: list[str] = []
        """Why the whole run is INVALID, whatever its tests say."""
        self.compared = ""
        """Why the run is red beside a promoted reference; empty if it is not, or was not compared."""
        self.left_out = 0
        """Tests that were collected and deselected."""
        self._file = file
        self._entries: dict[str, Entry] = {}
        self._lock = threading.RLock()
        self._running: dict[int, str] = {}
        """By thread, the test that it runs."""
        self._inside = threading.local()
        self._read: dict[Path, int] = {}
        """Bytes of each worker's file that were read."""

    # What happens

    def enter(
        self,
        test: str,
        *,
        file: str = "",
        line: int = 0,
        needs: str = "",
        asserts: bool = True,
        candidate: str = "",
        advisory: str = "",
    ) -> None:
        """Note a test that asks about a model, about ``candidate`` where it is repeated for each; ``advisory``: why it
        never makes the run red, empty for a test that gates."""
        self._book(
            "enter",
            test,
            file=file,
            line=line,
            needs=needs,
            asserts=asserts,
            candidate=candidate,
            advisory=advisory,
        )

    def begin(self, test: str) -> None:
        """Begin a try of ``test``, in this thread; what an earlier try came to is void."""
        with self._lock:
            self._running[threading.get_ident()] = test
        if test in self._entries:
            self._book("begin", test)

    def end(self, test: str, seconds: float = 0.0) -> None:
        """End the last try of ``test``."""
        if test in self._entries:
            self._book("end", test, seconds=round(seconds, 3))

    def leave(self) -> None:
        """Say that this thread runs no test any more."""
        with self._lock:
            self._running.pop(threading.get_ident(), None)

    @contextlib.contextmanager
    def asking(self, what: str, *, gated: bool = True) -> Iterator[None]:
        """Around a question of the running test; its errors are noted. ``gated``: only a gate judges the answer."""
        if getattr(self._inside, "a_question", False):
            # What one question makes of the error of another is its own affair; only what leaves it is an error.
            yield
            return
        entry = self._mine()
        if gated and not entry.needs:
            self._book("asked", entry.test, needs=what)
        self._inside.a_question = True
        try:
            yield
        except Exception as error:
            self.error(error)
            raise
        finally:
            self._inside.a_question = False

    def handed_over(self) -> None:
        """Note that the running test gave what it measured to pytest-benchmark."""
        self._book("handed over", self._mine().test)

    def error(self, error: BaseException) -> None:
        """Note an error of the running test where it is raised; it counts also if the test catches it."""
        entry = self._mine()
        seen = (type(error).__name__, redact_log(first_line(error)))
        if seen not in entry.errors:
            self._book("error", entry.test, kind=seen[0], why=seen[1])

    def raised(self, test: str, when: str, kind: str, why: str, line: int = 0) -> None:
        """Note an exception that ended a phase of ``test``."""
        if test in self._entries:
            self._book("raised", test, when=when, kind=kind, why=why, line=line)

    def judged(self, verdict: Verdict) -> tuple[str, int, Callable[[], None]]:
        """Note a verdict of the running test: that test, the number of the verdict in it, and what to call once it is
        asserted."""
        with self._lock:
            entry = self._mine()
            number, tries = len(entry.judged), entry.tries
            self._book("judged", entry.test, verdict=verdict_to_json(verdict))

        def asserted() -> None:
            # A judgement that outlives its try says nothing of the one that follows.
            if entry.tries == tries and not entry.judged[number].asserted:
                self._book("asserted", entry.test, number=number)

        return entry.test, number, asserted

    def problem(self, why: str) -> None:
        """Make the whole run INVALID, for a reason that is no test's own."""
        if why not in self.problems:
            self._book("problem", "", why=why)

    def remark(self, why: str) -> None:
        """Note what a reader of the run must know, and what makes nothing red."""
        if why not in self._remarks:
            self._book("remark", "", why=why)

    def deselected(self, count: int) -> None:
        """Note tests that were collected and are not part of the run."""
        self._book("deselected", "", count=count)

    # What came of it

    @property
    def entries(self) -> Sequence[Entry]:
        """Every test that asked about a model, in the order in which they were collected."""
        with self._lock:
            return list(self._entries.values())

    def entry(self, test: str) -> Entry | None:
        return self._entries.get(test)

    @property
    def running(self) -> str:
        """The test that asks in this thread: the one that it runs, else the one that began last; empty if none runs."""
        with self._lock:
            return self._running.get(threading.get_ident()) or next(reversed(self._running.values()), "")

    def verdicts(self, *, so_far: bool = False) -> Iterator[tuple[Entry, Verdict]]:
        """Every verdict with its test; ``so_far`` leaves out tests that have not ended."""
        for entry in self.entries:
            if entry.ended or not so_far:
                for verdict in entry.verdicts:
                    yield entry, verdict

    def verdict(self, *, reference: bool = True) -> RunVerdict:
        """The verdict of the whole run; without ``reference``, leaving the comparison with a reference out."""
        return run_verdict(
            [verdict for _, verdict in self.verdicts()],
            inconclusive=self.policy,
            problems=self.problems,
            failures=[self.compared] if reference and self.compared else [],
            checks=self.checks,
        )

    @property
    def checks(self) -> int:
        """Number of tests that passed by plain assertions about a model, without a gate; advisory ones do not count."""
        return sum(entry.ended and not entry.policy.advisory and not entry.verdicts for entry in self.entries)

    @property
    def bad_data(self) -> bool:
        """True if some test was refused by its data set, and is neither advisory nor waived."""
        refused = [entry for entry in self.entries if any(kind == BAD_DATA for kind, _ in entry.errors)]
        return any(v.status is Status.INVALID and not v.excused for entry in refused for v in entry.verdicts)

    @property
    def notes(self) -> list[str]:
        """What there is to say of the waivers: those that end soon, can go, or match no test."""
        said = (self._note(test, waiver) for test, waiver in self.waivers.items())
        return [*filter(None, said), *self._remarks]

    def _note(self, test: str, waiver: Waiver) -> str:
        entry, left = self._entries.get(test), waiver.days_left(self._today)
        if entry is None:
            return ""
        if entry.policy.advisory:
            return (
                f"the waiver of {test} has no effect, since the test is advisory: take it out of budgets.toml"
            )
        verdicts = entry.verdicts
        if entry.ended and verdicts and all(v.status is Status.PASS for v in verdicts):
            return f"the waiver of {test} can go: its gates pass (until {waiver.until}: {waiver.reason})"
        if left < 0:
            return f"the waiver of {test} ended on {waiver.until} ({waiver.reason})"
        if left <= WARN_DAYS:
            days = "today" if left == 0 else "tomorrow" if left == 1 else f"in {left} days"
            return f"the waiver of {test} ends {days}, after {waiver.until} ({waiver.reason})"
        return ""

    @property
    def unfinished(self) -> int:
        """Number of tests that have not come to their end."""
        return sum(not entry.ended for entry in self.entries)

    def read(self, directory: Path) -> None:
        """Take in what other processes have written down there since the last call."""
        found: list[_Event] = []
        for file in sorted(directory.glob("*.jsonl")):
            text = file.read_bytes()[self._read.get(file, 0) :]
            # A process that was killed while it wrote leaves half a line.
            whole = text[: text.rfind(b"\n") + 1]
            self._read[file] = self._read.get(file, 0) + len(whole)
            found += [json.loads(line) for line in whole.splitlines()]
        with self._lock:
            for event in sorted(found, key=lambda event: event["at"]):
                self._apply(event)

    # Events

    def _mine(self) -> Entry:
        """The entry of the running test, which asks about a model by the very call."""
        with self._lock:
            test = self.running or OUTSIDE
            if test not in self._entries:
                self.enter(test)
                self._book("begin", test)
                if test == OUTSIDE:
                    self._book("end", test, seconds=0.0)
            return self._entries[test]

    def _book(self, do: str, test: str, **fields: Any) -> None:
        # Names of tests and files are what entries are found by; they are redacted where they are written for others.
        kept = {name: fields[name] for name in ("file",) if name in fields}
        event: _Event = {"at": _CLOCK[0](), "do": do, "test": test} | redact_values(fields) | kept
        with self._lock:
            self._apply(event)
            if self._file is not None:
                self._append(self._file, event)

    def _append(self, file: Path, event: _Event) -> None:
        line = (json.dumps(event, allow_nan=False) + "\n").encode()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                written = os.write(handle, line)
            finally:
                os.close(handle)
        except OSError:
            written = 0
        if written != len(line):
            # The controlling process will see that the test has begun, or was to be run, and has not ended.
            self._file = None

    def _apply(self, event: _Event) -> None:
        test = event["test"]
        match event["do"]:
            case "problem":
                if event["why"] not in self.problems:
                    self.problems.append(event["why"])
                return
            case "remark":
                if event["why"] not in self._remarks:
                    self._remarks.append(event["why"])
                return
            case "deselected":
                # Every worker of pytest-xdist collects, and deselects, the same.
                self.left_out = max(self.left_out, event["count"])
                return
            case "enter":
                known = self._entries.get(test)
                if known is None:
                    self._entries[test] = Entry(
                        test,
                        event["file"],
                        event["line"],
                        event["needs"],
                        event["asserts"],
                        event["candidate"],
                        TolerancePolicy(event["advisory"], self.waivers.get(test), self._today),
                    )
                elif event["file"]:
                    known.file, known.line, known.asserts = event["file"], event["line"], event["asserts"]
                    known.needs = known.needs or event["needs"]
                    known.candidate = known.candidate or event["candidate"]
                return
        entry = self._entries[test]
        match event["do"]:
            case "begin":
                entry.tries += 1
                entry.ended, entry.failed_at, entry.handed_over = False, 0, False
                entry.judged, entry.errors, entry.raised = [], [], []
            case "end":
                entry.ended = True
                entry.seconds += event["seconds"]
            case "asked":
                entry.needs = entry.needs or event["needs"]
            case "handed over":
                entry.handed_over = True
            case "error":
                entry.errors.append((event["kind"], event["why"]))
            case "raised":
                entry.raised.append(Raised(event["when"], event["kind"], event["why"]))
                entry.failed_at = entry.failed_at or event["line"]
            case "judged":
                entry.judged.append(Judged(verdict_from_json(event["verdict"])))
            case "asserted":
                if event["number"] < len(entry.judged):
                    entry.judged[event["number"]].asserted = True
