"""The data behind the page of a run: its record, the files beside it, and the records that it is compared with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.run_verdict import RunVerdict
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.record.gate_files import RecordedGate, load_gates
from pytest_llmperf.record.references import Reference, best_of
from pytest_llmperf.record.references import references as all_references
from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import AnswerRow, TokenRow, TraceRow, load_answers, load_tokens, load_traces

if TYPE_CHECKING:
    from pytest_llmperf.record.model import LoadEntry, Record, SizesEntry


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
    one_sided: int = 0
    """Rounds that had none of the other model beside them."""
    shape: str = ""
    """``", 2048 → 128 tokens"`` of a load that a test asked for with lengths of its own; empty for the profile's."""

    @property
    def at(self) -> str:
        """Suffix of the names of its metrics: ``8``, or ``8, 2048 → 128 tokens``."""
        return f"{self.concurrency}{self.shape}"


@dataclass(frozen=True)
class Facts:
    """A record with the data of its gates. ``no_gates`` says why there are none, empty if there are."""

    path: Path
    record: Record = field(repr=False)
    gates: Sequence[RecordedGate] = field(default=(), repr=False)
    no_gates: str = ""
    answers: Sequence[AnswerRow] = field(default=(), repr=False)
    """Every answer with its text, as in the record's table."""
    traces: Sequence[TraceRow] = field(default=(), repr=False)
    """Every timed request, as in the record's table."""
    tokens: Sequence[TokenRow] = field(default=(), repr=False)
    """The scores of the baseline's answers, as in the record's table."""
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
    def verdicts(self) -> Sequence[Verdict]:
        return self.record.judged

    @cached_property
    def whole(self) -> RunVerdict:
        """Outcome of the run, as stated in the record."""
        return self.record.outcome

    @property
    def notes(self) -> Sequence[str]:
        """What the run said of its waivers."""
        return self.record.run.notes if self.record.run else ()

    @property
    def baseline(self) -> str:
        return self.record.baseline

    @property
    def candidates(self) -> Sequence[str]:
        return self.record.candidates

    @property
    def rows(self) -> list[str]:
        """Candidates first, the baseline last: the order, and so the colours, of every plot."""
        named = [*self.candidates, *(load.row for load in self.load), self.baseline]
        return [row for row in dict.fromkeys(named) if row != self.baseline] + [self.baseline][
            : bool(self.baseline)
        ]

    @cached_property
    def load(self) -> list[Load]:
        return [_load(load, self.record.sizes) for load in self.record.load]

    @cached_property
    def replies(self) -> Mapping[tuple[str, str], Sequence[AnswerRow]]:
        """Answers with their text by row and item; none where the record has no table of them."""
        found: dict[tuple[str, str], list[AnswerRow]] = {}
        for answer in self.answers:
            found.setdefault((answer["row"], answer["item"]), []).append(answer)
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
        """Candidate by test (node id), for the tests that were repeated for each candidate."""
        return {entry.test: entry.candidate for entry in self.record.tests if entry.candidate}


def read_facts(path: Path, earlier: Sequence[Path] = (), references: Path | None = None) -> Facts:
    """Read the record at ``path`` and the files beside it; :class:`LlmperfError`, one line, if it is no record.

    ``earlier`` are other records, ``references`` is a directory of promoted ones.
    """
    record = read_record(path)

    def without_directory(error: UsageError) -> str:
        # A page may be handed to people who must not learn where the record lies.
        return str(error).replace(f"{path.parent}/", "")

    gates, no_gates = [], ""
    try:
        gates = load_gates(path, record)
    except UsageError as error:
        no_gates = without_directory(error)
    answers, traces, tokens, no_tables = [], [], [], ""
    try:
        answers, traces = load_answers(path, record), load_traces(path, record)
        tokens = load_tokens(path, record)
    except UsageError as error:
        no_tables = without_directory(error)
    promoted, reference, no_reference = [], None, ""
    if references is not None:
        try:
            promoted = all_references(references)
            reference = best_of(promoted, record)
        except UsageError as error:
            no_reference = str(error).replace(f"{references.parent}/", "")
    tables = gates, no_gates, answers, traces, tokens, no_tables
    return Facts(path, record, *tables, earlier, promoted, reference, no_reference)


def known(values: Sequence[float | None]) -> list[float]:
    """The numbers of a series without its gaps: what failed was not timed."""
    return [value for value in values if value is not None and math.isfinite(value)]


def _load(entry: LoadEntry, sizes: SizesEntry) -> Load:
    rounds = entry.rounds
    clumped = known([each.clumped_share for each in rounds])
    own = (entry.workload.input_tokens, entry.workload.output_tokens)
    usual = (sizes.prompt_tokens, sizes.answer_tokens)
    return Load(
        row=entry.row,
        concurrency=entry.concurrency or 0,
        ttft_s=[known(each.ttft_s) for each in rounds],
        tpot_s=[known(each.tpot_s) for each in rounds],
        e2el_s=[known(each.e2el_s) for each in rounds],
        output=[
            each.output_tokens / each.window_s
            for each in rounds
            if each.output_tokens is not None and each.window_s
        ],
        requests=sum(each.requests for each in rounds),
        errors=sum(count for each in rounds for count in each.errors.values()),
        seconds=math.fsum(each.window_s or 0.0 for each in rounds),
        # Rounds are of one size, so that their mean is the share of the load.
        clumped=math.fsum(clumped) / len(clumped) if clumped else None,
        taken_out=sum(bool(each.taken_out) for each in rounds),
        one_sided=sum(bool(each.one_sided) for each in rounds),
        # Records that do not state the profile's sizes cannot tell that a load had lengths of its own.
        shape="" if None in (*own, *usual) or own == usual else f", {own[0]} → {own[1]} tokens",
    )
