"""The records of a run's shards, and every reason why they are not one whole run.

Nothing is raised: what is wrong makes the merged run INVALID, and names the record.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import LlmperfError, UsageError, first_line
from pytest_llmperf.gates.run_verdict import run_verdict
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.home import shown
from pytest_llmperf.record.sidecar import read_sidecar
from pytest_llmperf.record.store import read_record

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Record, ShardEntry

_NAMED = 3
"""Tests that a message names at most."""


@dataclass(frozen=True)
class ShardRecord:
    """The record of one shard, and the file that it was read from."""

    path: Path
    record: Record = field(repr=False)
    shard: ShardEntry = field(repr=False)
    sha256: str
    unread: str = ""
    """Why a table beside it cannot be read; empty if all can."""

    def __str__(self) -> str:
        return f"shard {self.shard.number}/{self.shard.of} ({shown(self.path)})"


@dataclass(frozen=True)
class ShardSet:
    """``shards``: one record of each number, in their order. ``problems``: why they are not one whole run."""

    shards: Sequence[ShardRecord]
    problems: Sequence[str]

    @property
    def first(self) -> ShardRecord:
        return self.shards[0]

    @property
    def tests(self) -> Sequence[str]:
        """Node ids of all tests of the run that ask about a model, in its order."""
        return self.first.shard.suite.tests


def read_shards(paths: Sequence[Path], lost: Sequence[str] = ()) -> ShardSet:
    """Read the records at ``paths``. ``lost``: why shards left no record, further problems of the set.

    Raises :class:`UsageError`, one line, if not one of the records is of a shard.
    """
    problems = [*lost]
    found: list[ShardRecord] = []
    for path in paths:
        try:
            record = read_record(path)
        except LlmperfError as error:
            problems.append(first_line(error))
            continue
        if record.shard is None and record.partial:
            problems.append(f"{shown(path)} is not complete: {record.partial}; run the shard again")
        elif record.shard is None:
            problems.append(
                f"{shown(path)} is the record of a whole run: it was not made with --llmperf-shard"
            )
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found.append(ShardRecord(path, record, record.shard, digest, _unread(path, record)))
    if not found:
        raise UsageError(f"no record of a shard is among these: {'; '.join(problems)}")
    by_number: dict[int, ShardRecord] = {}
    for shard in sorted(found, key=lambda each: (each.shard.of, each.shard.number)):
        known = by_number.setdefault(shard.shard.number, shard)
        if known is not shard:
            problems.append(f"{shard} is there twice: {shown(known.path)} is the same shard; give each once")
    shards = [shard for _, shard in sorted(by_number.items())]
    problems += _missing(shards)
    for shard in shards:
        problems += _broken(shard)
        problems += (f"{shard}: {why}" for why in _differences(shards[0], shard))
    problems += _other_data(shards)
    problems += _tests(shards)
    return ShardSet(shards, tuple(dict.fromkeys(problems)))


def _missing(shards: Sequence[ShardRecord]) -> Iterator[str]:
    of = Counter(shard.shard.of for shard in shards).most_common(1)[0][0]
    there = {shard.shard.number for shard in shards}
    if gone := [number for number in range(1, of + 1) if number not in there]:
        named = ", ".join(map(str, gone[:10])) + (f" and {len(gone) - 10} more" if len(gone) > 10 else "")
        yield f"{plural(len(gone), 'shard')} of {of} missing: {named}; run it, or give its record"


def _broken(shard: ShardRecord) -> Iterator[str]:
    """Yield why the record alone cannot be relied on."""
    record = shard.record
    if not 1 <= shard.shard.number <= shard.shard.of:
        yield f"{shard}: there is no such shard"
    if record.partial:
        yield f"{shard} is not complete: {record.partial}; run the shard again"
    if record.order_seed is None:
        yield f"{shard} does not say its seed (order_seed)"
    if record.run is None:
        yield f"{shard} does not say how its run ended"
    else:
        run = record.run
        by_itself = run_verdict(
            record.judged,
            inconclusive=run.inconclusive,
            problems=run.problems,
            failures=run.failures,
            checks=run.checks,
        )
        if by_itself.green and not run.green:
            yield f"{shard}: its run was not green, for a reason that the record does not tell"
        yield from (f"{shard}: {problem}" for problem in run.problems)
    if shard.unread:
        yield f"{shard}: {shard.unread}"


def _unread(path: Path, record: Record) -> str:
    """Return why a table of ``record`` cannot be read; empty if all can."""
    for about, content in (
        (record.cases, "gate data"),
        (record.answers_file, "answers"),
        (record.traces_file, "traces"),
        (record.tokens_file, "token scores"),
    ):
        if about is None:
            return f"it has no table of its {content}; run the shard again"
        try:
            if about.count:
                read_sidecar(path, about, content)
        except UsageError as error:
            return first_line(error)
    return ""


_SAME: tuple[tuple[str, Callable[[ShardRecord], object]], ...] = (
    ("number of shards", lambda each: each.shard.of),
    ("--llmperf-order", lambda each: each.record.order_seed),
    ("version of pytest-llmperf", lambda each: each.record.environment.plugin),
    ("commit", lambda each: each.record.environment.git),
    ("profile", lambda each: each.record.profile),
    ("sizes", lambda each: each.record.sizes),
    ("placement", lambda each: each.record.placement),
    ("device", lambda each: each.record.device),
    ("baseline", lambda each: each.record.baseline),
    ("candidates", lambda each: each.record.candidates),
    ("looks", lambda each: (each.record.look, each.record.looks)),
    ("--llmperf-inconclusive", lambda each: each.record.run and each.record.run.inconclusive),
    ("files of the suite", lambda each: each.shard.suite.files),
    ("content of the suite's files", lambda each: each.shard.suite.sha256),
    ("selection of tests", lambda each: each.shard.suite.tests),
    ("--llmperf-shard-items, or tests cut by it", lambda each: each.shard.cut_tests),
)
"""What all shards of a run have in common: its name, and how it is read from one."""


def _differences(first: ShardRecord, other: ShardRecord) -> Iterator[str]:
    """Yield what makes ``other`` a part of another run than ``first``."""
    for name, read in _SAME:
        then, now = read(first), read(other)
        if then != now:
            yield f"other {name} than {first}: {_short(now)}, not {_short(then)}"
    for row in dict.fromkeys([*first.record.rows, *other.record.rows]):
        if first.record.rows.get(row) != other.record.rows.get(row):
            yield f"row {row} of the catalogue is not that of {first}: served or sampled in another way"
        before, after = first.record.content.get(row), other.record.content.get(row)
        if before is not None and after is not None and before != after:
            yield f"the files of row {row} are not those of {first}: other weights, or a file in its arguments"


def _other_data(shards: Sequence[ShardRecord]) -> Iterator[str]:
    """Yield servers and data sets that are not those of the first shard that has them."""
    servers: dict[str, tuple[ShardRecord, tuple[object, ...]]] = {}
    items: dict[str, tuple[ShardRecord, tuple[object, ...]]] = {}
    for shard in shards:
        for server in shard.record.servers:
            now = (server.engine, server.weights_sha256, server.weights_commit, server.template_sha256)
            known, then = servers.setdefault(server.row, (shard, now))
            for name, before, after in zip(
                ("engine", "weights (SHA-256)", "commit of the weights", "chat template"),
                then,
                now,
                strict=True,
            ):
                if before != after:
                    yield f"{shard}: {name} of {server.row} is {after}, not {before} as in {known}"
        for asked in shard.record.answers:
            data = (asked.data, asked.source_sha256)
            known, then = items.setdefault(asked.task, (shard, data))
            if data != then:
                yield f"{shard}: the items of {asked.task} (items_sha256) are not those of {known}"


def _tests(shards: Sequence[ShardRecord]) -> Iterator[str]:
    """Yield tests of the run that no shard has run, or more than one."""
    every = shards[0].shard.suite.tests
    ran = Counter(entry.test for shard in shards for entry in shard.record.tests)
    if lost := [test for test in every if not ran[test]]:
        yield f"of {plural(len(every), 'test')} of the run, {len(lost)} stand in no record: {_some(lost)}"
    known = set(every)
    cut_tests = set(shards[0].shard.cut_tests)
    for shard in shards:
        own = {entry.test for entry in shard.record.tests}
        if lost := [test for test in every if test in cut_tests and test not in own and ran[test]]:
            yield f"{shard} has no part of the items of {plural(len(lost), 'test')}: {_some(lost)}"
    if twice := [t for t, count in ran.items() if count > 1 and t in known and t not in cut_tests]:
        yield f"{plural(len(twice), 'test')} ran in several shards: {_some(twice)}"


def _some(tests: Sequence[str]) -> str:
    more = f" and {len(tests) - _NAMED} more" if len(tests) > _NAMED else ""
    return ", ".join(tests[:_NAMED]) + more


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
