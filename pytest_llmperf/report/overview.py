"""Candidates × suites: what came of each candidate in each file of the suite, for runs with several candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytest_llmperf.gates.verdict import WORST_FIRST, Status, Verdict

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Record

NO_CANDIDATE = "no candidate"
"""Stands for the tests that are not repeated for each candidate, as those that ask the baseline alone."""
ALL_SUITES = "all suites"


@dataclass(frozen=True)
class CandidateGate:
    """A verdict with the candidate it is about (empty: none) and its test (node id)."""

    candidate: str
    test: str
    verdict: Verdict


@dataclass(frozen=True)
class StatusCount:
    """The gates of one status among others; ``first`` is the place of the first of them in the run, from 0."""

    status: Status
    number: int
    first: int

    @property
    def text(self) -> str:
        return f"{self.number:,} {self.status.value}"


@dataclass(frozen=True)
class OverviewCell:
    """Some gates of a candidate, counted."""

    counts: tuple[StatusCount, ...] = ()
    """The worst status first, without the gates that are let through."""
    let_through: int = 0
    """Gates that did not pass and do not count: they are waived, or advisory."""
    why: str = ""
    """The sentence of the first gate of the worst status."""

    @property
    def status(self) -> Status | None:
        """The worst status; None where no gate counts."""
        return self.counts[0].status if self.counts else None

    @property
    def more(self) -> str:
        """The gates that are let through, in words; empty without any."""
        return f"{self.let_through:,} let through" if self.let_through else ""

    @property
    def text(self) -> str:
        """``1 FAIL, 3 PASS, 1 let through``; an em dash where no gate was judged."""
        return ", ".join(filter(None, [*(count.text for count in self.counts), self.more])) or "—"


@dataclass(frozen=True)
class Overview:
    """A row for each candidate, a column for each file of the suite."""

    candidates: tuple[str, ...]
    suites: tuple[str, ...]
    cells: Mapping[tuple[str, str], OverviewCell]
    """By candidate and suite; :data:`ALL_SUITES` is the sum of a row."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of a table: the candidate, the sum, and every suite."""
        return ("row", ALL_SUITES, *_without_common_directory(self.suites))

    def row(self, candidate: str) -> list[OverviewCell]:
        """The cells of a candidate: the sum, then every suite."""
        return [self.cells.get((candidate, suite), OverviewCell()) for suite in (ALL_SUITES, *self.suites)]


def overview(gates: Sequence[CandidateGate], candidates: Sequence[str]) -> Overview | None:
    """Count ``gates``, all those of a run in its order; None for a run of fewer than two ``candidates``."""
    if len(candidates) < 2:
        return None
    of_cell: dict[tuple[str, str], list[tuple[int, Verdict]]] = {}
    for place, gate in enumerate(gates):
        for suite in (ALL_SUITES, suite_of(gate.test)):
            of_cell.setdefault((gate.candidate or NO_CANDIDATE, suite), []).append((place, gate.verdict))
    more = [NO_CANDIDATE] if any(name == NO_CANDIDATE for name, _ in of_cell) else []
    return Overview(
        tuple(dict.fromkeys([*candidates, *more])),
        tuple(dict.fromkeys(suite_of(gate.test) for gate in gates)),
        {key: _counted(several) for key, several in of_cell.items()},
    )


def named(verdict: Verdict, candidate: str) -> Verdict:
    """The verdict with the candidate before its metric, for lists that have no column for it."""
    return replace(verdict, metric=f"{candidate}: {verdict.metric}") if candidate else verdict


def suite_of(test: str) -> str:
    """The file of a test, from its node id."""
    return test.partition("::")[0]


def rows_of_gates(record: Record) -> list[str]:
    """The candidate of each verdict of a record with several candidates, empty for none; no item for other records."""
    if len(record.candidates) < 2:
        return []
    repeated_for = {entry.test: entry.candidate or "" for entry in record.tests}
    return [repeated_for.get(entry.test, "") for entry in record.verdicts]


def overview_of(record: Record) -> Overview | None:
    """The overview of a record; None for one of fewer than two candidates."""
    rows = rows_of_gates(record)
    if len(record.candidates) < 2:
        return None
    gates = [
        CandidateGate(row, entry.test, entry.verdict)
        for row, entry in zip(rows, record.verdicts, strict=True)
    ]
    return overview(gates, record.candidates)


def _counted(gates: Iterable[tuple[int, Verdict]]) -> OverviewCell:
    of_status: dict[Status, list[tuple[int, Verdict]]] = {}
    let_through = 0
    for place, verdict in gates:
        if verdict.excused and verdict.status is not Status.PASS:
            let_through += 1
        else:
            of_status.setdefault(verdict.status, []).append((place, verdict))
    worst_first = [status for status in WORST_FIRST if status in of_status]
    return OverviewCell(
        tuple(StatusCount(status, len(of_status[status]), of_status[status][0][0]) for status in worst_first),
        let_through,
        of_status[worst_first[0]][0][1].why if worst_first else "",
    )


def _without_common_directory(files: Sequence[str]) -> list[str]:
    """The files without the directories that all of them are in."""
    parts = [PurePosixPath(file).parts for file in files]
    common = 0
    while parts and all(len(each) > common + 1 and each[common] == parts[0][common] for each in parts):
        common += 1
    return ["/".join(each[common:]) for each in parts]
