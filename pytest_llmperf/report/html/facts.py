"""The record of a run as a page reads it: typed where the package wrote it, forgiving where a plugin may have."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.gates.run_verdict import RunVerdict
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.record.case_files import KeptCase, load_cases
from pytest_llmperf.record.references import Reference, best_of
from pytest_llmperf.record.references import references as all_references
from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import load_answers, load_traces
from pytest_llmperf.record.wire import verdict_from_json, whole_run


@dataclass(frozen=True)
class Load:
    """One side at one concurrency: values per round, seconds; ``output`` is the throughput of each round in tok/s."""

    row: str
    concurrency: int
    ttft_s: Sequence[Sequence[float]] = field(repr=False)
    tpot_s: Sequence[Sequence[float]] = field(repr=False)
    e2el_s: Sequence[Sequence[float]] = field(repr=False)
    output: Sequence[float] = field(repr=False)
    requests: int
    errors: int
    seconds: float
    clumped: float | None = None
    """Share of the tokens that arrived together with the one before; None in records that do not say."""
    taken_out: int = 0
    """Rounds in which client or server stood still, and which are not judged."""
    shape: str = ""
    """``", 2048 → 128 tokens"`` of a load that a test asked for with lengths of its own; empty for the profile's."""

    @property
    def at(self) -> str:
        """What stands behind the names of its metrics: ``8``, or ``8, 2048 → 128 tokens``."""
        return f"{self.concurrency}{self.shape}"


@dataclass(frozen=True)
class Facts:
    """A record with the data of its gates. ``no_cases`` says why there are none, empty if there are."""

    path: Path
    record: Mapping[str, Any] = field(repr=False)
    verdicts: Sequence[Verdict] = field(repr=False)
    cases: Sequence[KeptCase] = field(repr=False)
    no_cases: str
    answers: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    """Every answer with its text, as in the record's table."""
    traces: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    """Every timed request, as in the record's table."""
    no_tables: str = ""
    """Why there are none, where the record says that there are."""
    earlier: Sequence[Path] = ()
    """Records of other runs, to compare this one with."""
    promoted: Sequence[Reference] = field(default=(), repr=False)
    """All references of the project."""
    reference: Reference | None = field(default=None, repr=False)
    """The one that this run is compared with."""
    no_reference: str = ""
    """Why the references cannot be read, where there are some."""

    @cached_property
    def whole(self) -> RunVerdict:
        """What came of the run, by the record's own word."""
        return whole_run(self.record, self.verdicts)

    @property
    def baseline(self) -> str:
        return str(self.record.get("baseline") or "")

    @property
    def candidates(self) -> list[str]:
        return [str(one) for one in _list(self.record.get("candidates"))]

    @property
    def rows(self) -> list[str]:
        """Candidates first, the baseline last: the order, and so the colours, of every plot."""
        named = [*self.candidates, *(one.row for one in self.load), self.baseline]
        return [row for row in dict.fromkeys(named) if row != self.baseline] + [self.baseline][
            : bool(self.baseline)
        ]

    @cached_property
    def load(self) -> list[Load]:
        sizes = self.record.get("sizes")
        return [_load(one, sizes if isinstance(sizes, Mapping) else {}) for one in self.dicts("load")]

    @cached_property
    def replies(self) -> Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]:
        """Answers with their text by row and item; none where the record has no table of them."""
        found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for one in self.answers:
            found.setdefault((str(one.get("row")), str(one.get("item"))), []).append(one)
        return found

    def side(self, test: str) -> str:
        """The candidate that a test was about: the only one, or the one that it was repeated for."""
        if len(self.candidates) == 1:
            return self.candidates[0]
        if row := self._repeated_for.get(test):
            return row
        # Records before 2026-12 name it in the test's id alone, among the parameters: [distill-8].
        longest_first = sorted(self.candidates, key=len, reverse=True)
        named = (row for row in longest_first if re.search(rf"[\[-]{re.escape(row)}[\]-]", test))
        return next(named, "model not known")

    @cached_property
    def _repeated_for(self) -> Mapping[str, str]:
        """By test (node id), the candidate that it was repeated for; those of which the record says it."""
        tests = self.dicts("tests")
        return {str(test.get("test")): str(test["candidate"]) for test in tests if test.get("candidate")}

    def dicts(self, key: str) -> Iterator[Mapping[str, Any]]:
        """The objects of a list in the record; none where it has no such list."""
        return (one for one in _list(self.record.get(key)) if isinstance(one, Mapping))

    def tests(self) -> list[str]:
        """The test (node id) of each verdict, empty where the record does not say it."""
        return [str(one.get("test") or "") for one in self.dicts("verdicts")]


def read_facts(path: Path, earlier: Sequence[Path] = (), references: Path | None = None) -> Facts:
    """The record at ``path`` and what lies beside it; :class:`LlmperfError`, one line, if it is none.

    ``earlier`` are other records, ``references`` is a directory of promoted ones.
    """
    record = read_record(path)
    try:
        verdicts = [verdict_from_json(one) for one in record.get("verdicts", ())]
    except (KeyError, TypeError, ValueError) as error:
        raise LlmperfError(
            f"{path} is not the record of a run: a verdict cannot be read ({error!r}); record the run again"
        ) from error

    def told(error: UsageError) -> str:
        # Where the record lies is nobody's business who is handed the page.
        return str(error).replace(f"{path.parent}/", "")

    cases, no_cases = [], ""
    try:
        cases = load_cases(path, record)
    except UsageError as error:
        no_cases = told(error)
    answers, traces, no_tables = [], [], ""
    try:
        answers, traces = load_answers(path, record), load_traces(path, record)
    except UsageError as error:
        no_tables = told(error)
    promoted, reference, no_reference = [], None, ""
    if references is not None:
        try:
            promoted = all_references(references)
            reference = best_of(promoted, record)
        except UsageError as error:
            no_reference = str(error).replace(f"{references.parent}/", "")
    tables = cases, no_cases, answers, traces, no_tables
    return Facts(path, record, verdicts, *tables, earlier, promoted, reference, no_reference)


def number(value: object) -> float | None:
    """``value`` if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def numbers(values: object) -> list[float]:
    """The finite numbers of a list: what failed was not timed."""
    return [found for value in _list(values) if (found := number(value)) is not None]


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _shape(fields: Mapping[str, Any], sizes: Mapping[str, Any]) -> str:
    """How a load differs from the profile's; nothing in records that do not say what that was."""
    workload = fields.get("workload")
    workload = workload if isinstance(workload, Mapping) else {}
    own = (workload.get("input_tokens"), workload.get("output_tokens"))
    usual = (sizes.get("prompt_tokens"), sizes.get("answer_tokens"))
    return "" if None in (*own, *usual) or own == usual else f", {own[0]} → {own[1]} tokens"


def _load(fields: Mapping[str, Any], sizes: Mapping[str, Any]) -> Load:
    rounds = [one for one in _list(fields.get("rounds")) if isinstance(one, Mapping)]
    windows = [(number(one.get("output_tokens")), number(one.get("window_s"))) for one in rounds]
    errors = [one["errors"] for one in rounds if isinstance(one.get("errors"), Mapping)]
    clumped = [share for one in rounds if (share := number(one.get("clumped_share"))) is not None]
    return Load(
        row=str(fields.get("row") or "—"),
        concurrency=int(number(fields.get("concurrency")) or 0),
        ttft_s=[numbers(one.get("ttft_s")) for one in rounds],
        tpot_s=[numbers(one.get("tpot_s")) for one in rounds],
        e2el_s=[numbers(one.get("e2el_s")) for one in rounds],
        output=[tokens / window for tokens, window in windows if tokens is not None and window],
        requests=sum(int(number(one.get("requests")) or 0) for one in rounds),
        errors=sum(int(number(count) or 0) for one in errors for count in one.values()),
        seconds=math.fsum(window for _, window in windows if window),
        # Rounds are of one size, so that their mean is the share of the load.
        clumped=math.fsum(clumped) / len(clumped) if clumped else None,
        taken_out=sum(bool(one.get("taken_out")) for one in rounds),
        shape=_shape(fields, sizes),
    )
