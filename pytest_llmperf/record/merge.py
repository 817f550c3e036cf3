"""The records of all shards of a run as one record, which every reader takes for that of a run on one machine."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.gates.run_verdict import RunVerdict, run_verdict
from pytest_llmperf.json_values import Json
from pytest_llmperf.record import summary
from pytest_llmperf.record.joined_slices import JoinedTest, joined_tests
from pytest_llmperf.record.process_files import joined
from pytest_llmperf.record.shard_set import ShardRecord, ShardSet
from pytest_llmperf.record.store import write_record
from pytest_llmperf.record.table_join import Selection, TablePart, join_tables
from pytest_llmperf.record.tables import (
    ANSWERS,
    CASES,
    TOKENS,
    TRACES,
    CaseRow,
    TokenRow,
    load_table,
    store_table,
)

if TYPE_CHECKING:
    from pytest_llmperf.record.model import AnswersEntry, Record, RunTest, VerdictEntry

_MADE_ANEW = {
    "schema", "id", "written", "partial", "run", "suite", "shard", "shards", "tests", "verdicts", "metrics", "costs",
    "cases", "answers_file", "traces_file", "tokens_file",
}  # fmt: skip
"""Keys of the merged record that are not joined from those of the shards."""


def merge(shards: ShardSet, out: Path) -> Record:
    """Write the record of the whole run to ``out``, with its tables; return it.

    Raises :class:`RecordNotWritten` if it cannot be written.
    """
    cut_tests = joined_tests(shards)
    fields = _fields(shards, cut_tests)
    # While the files beside the record are replaced one by one, it must not refer to them.
    unfinished = {"partial": "the merge was ended while its record was written"}
    write_record(out, {key: fields[key] for key in ("id", "written")} | unfinished)
    readable = [shard for shard in shards.shards if not shard.unread]
    fields[CASES.key] = store_table(out, CASES, _in_order(readable, shards.tests, cut_tests))
    fields[ANSWERS.key] = join_tables(out, ANSWERS, [*_answers(readable)])
    fields[TRACES.key] = join_tables(out, TRACES, [*_traces(readable)])
    fields[TOKENS.key] = store_table(out, TOKENS, _tokens(readable))
    return write_record(out, fields)


def _fields(shards: ShardSet, cut_tests: Mapping[str, JoinedTest]) -> dict[str, Any]:
    """Everything but the tables."""
    from pytest_llmperf.record.model import Record

    facts = [_facts(shard) for shard in shards.shards]
    together = joined(facts)
    if cut_tests:
        together["answers"] = _answer_entries(shards)
    measured = Record.of({key: together.get(key, []) for key in ("answers", "load", "telemetry")})
    verdicts: list[VerdictEntry] = _ordered(shards, "verdicts", cut_tests)
    tests: list[RunTest] = _ordered(shards, "tests", cut_tests)
    return {
        "id": uuid.uuid4().hex,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "partial": None,
        **together,
        "suite": shards.first.shard.suite.as_json(),
        "shards": [
            {"number": each.shard.number, "file": each.path.name, "sha256": each.sha256}
            for each in shards.shards
        ],
        "run": _run(shards, verdicts),
        "tests": [entry.as_json() for entry in tests],
        "verdicts": [entry.as_json() for entry in verdicts],
        "metrics": summary.MetricSummary().of(measured),
        "costs": summary.costs(measured),
    }


def _facts(shard: ShardRecord) -> dict[str, Json]:
    facts = shard.record.as_json(but=_MADE_ANEW)
    if facts.get("telemetry"):
        facts["telemetry"] = [
            {**entry.as_json(), "shard": shard.shard.number} for entry in shard.record.telemetry
        ]
    return facts


def _answer_entries(shards: ShardSet) -> list[Json]:
    """Return an entry for each model, task and variant: the largest that one shard has, or that of all
    parts together."""
    parts: dict[tuple[str, ...], list[AnswersEntry]] = {}
    found: dict[tuple[str, ...], AnswersEntry] = {}
    for shard in shards.shards:
        for entry in shard.record.answers:
            if entry.slice is not None:
                parts.setdefault(entry.key, []).append(entry)
            elif entry.key not in found or entry.items > found[entry.key].items:
                found[entry.key] = entry
    for key, several in parts.items():
        together = _one_entry(several)
        if key not in found or together.items > found[key].items:
            found[key] = together
    return [entry.as_json() for entry in found.values()]


def _one_entry(parts: Sequence[AnswersEntry]) -> AnswersEntry:
    """Return the counts of all parts together. Means and intervals are left out: they do not follow from those of the
    parts."""
    tokens = [part.completion_tokens for part in parts]
    first = parts[0]
    return type(first)(
        row=first.row,
        task=first.task,
        variant=first.variant,
        data=first.data,
        source_sha256=first.source_sha256,
        order_seed=first.order_seed,
        items=sum(part.items for part in parts),
        samples=first.samples,
        seeds=tuple(sorted({seed for part in parts for seed in part.seeds})),
        planned=max(part.planned for part in parts),
        reused=sum(part.reused or 0 for part in parts),
        outcomes=dict(sum((Counter(part.outcomes) for part in parts), Counter())),
        completion_tokens=None if None in tokens else sum(count or 0 for count in tokens),
        seconds=max((part.seconds or 0.0 for part in parts), default=None),
    )


def _ordered(shards: ShardSet, key: str, cut_tests: Mapping[str, JoinedTest]) -> list[Any]:
    """Return the entries of all records, those of one test together, in the order of the run.

    A file that could not be collected is told by every shard in the same words, and is one.
    """
    place = {test: number for number, test in enumerate(shards.tests)}
    own: list[Any] = []
    common: dict[str, Any] = {}
    for joined_test in cut_tests.values():
        own += [joined_test.test] if key == "tests" else joined_test.verdicts
    for shard in shards.shards:
        for entry in getattr(shard.record, key):
            if entry.test in cut_tests:
                continue
            if entry.test in place:
                own.append(entry)
            else:
                common.setdefault(entry.model_dump_json(exclude={"seconds"}), entry)
    return [*common.values(), *sorted(own, key=lambda entry: place[entry.test])]


def _run(shards: ShardSet, verdicts: Sequence[VerdictEntry]) -> dict[str, Json]:
    runs = [shard.record.run for shard in shards.shards if shard.record.run is not None]
    inconclusive = runs[0].inconclusive if runs else "fail"
    failures = [*dict.fromkeys(failure for run in runs for failure in run.failures)]
    checks = sum(run.checks for run in runs)
    judged = [entry.verdict for entry in verdicts]

    def outcome(failures: Sequence[str]) -> RunVerdict:
        return run_verdict(
            judged, inconclusive=inconclusive, problems=shards.problems, failures=failures, checks=checks
        )

    whole = outcome(failures)
    return {
        "status": whole.status.value,
        "green": whole.green,
        "green_by_itself": outcome(()).green,
        "inconclusive": inconclusive,
        "problems": list(shards.problems),
        "failures": list(failures),
        "notes": list(dict.fromkeys(note for run in runs for note in run.notes)),
        "checks": checks,
        "deselected": max((run.deselected or 0 for run in runs), default=0),
        "bad_data": any(run.bad_data for run in runs),
    }


# Tables


def _in_order(
    shards: Sequence[ShardRecord], tests: Sequence[str], cut_tests: Mapping[str, JoinedTest]
) -> list[CaseRow]:
    place = {test: number for number, test in enumerate(tests)}
    rows = [row for joined_test in cut_tests.values() for row in joined_test.cases]
    for shard in shards:
        whole = load_table(shard.path, shard.record.cases, CASES)
        rows += [row for row in whole if row["test"] not in cut_tests]
    return sorted(rows, key=lambda row: place.get(row["test"], -1))


def _answers(shards: Sequence[ShardRecord]) -> Iterator[TablePart]:
    """Yield the answers; those of one model to one task come from the shard that has the most of them, or from all of
    the shards that have parts, each answer once."""
    most: dict[tuple[str, ...], tuple[int, int]] = {}
    in_parts: set[tuple[str, ...]] = set()
    seen: set[tuple[Any, ...]] = set()
    for number, shard in enumerate(shards):
        for asked in shard.record.answers:
            if asked.slice is not None:
                in_parts.add(asked.key)
            elif asked.items > most.get(asked.key, (0, 0))[0]:
                most[asked.key] = (asked.items, number)

    def is_new(answer: tuple[Any, ...]) -> bool:
        return answer not in seen and not seen.add(answer)  # type: ignore[func-returns-value]

    def select(number: int, rows: Sequence[tuple[Any, ...]]) -> Selection:
        kept = [
            is_new(row) if row[:3] in in_parts else most.get(row[:3], (0, number))[1] == number
            for row in rows
        ]
        return Selection(None if all(kept) else kept)

    for number, shard in enumerate(shards):
        columns = ("row", "task", "variant", "item", "sample") if in_parts else ("row", "task", "variant")
        yield TablePart(shard.path, shard.record.answers_file, columns, partial(select, number))


def _traces(shards: Sequence[ShardRecord]) -> Iterator[TablePart]:
    """Yield the timed requests. A load that several shards ran has a start in each of them, numbered in their order:
    their clocks have zeros of their own, so that rounds of two shards must not be taken for one."""
    started: dict[tuple[object, ...], int] = {}

    def select(rows: Sequence[tuple[Any, ...]]) -> Selection:
        before = dict(started)
        starts = []
        for *load, start in rows:
            key = tuple(load)
            starts.append((start or 0) + before.get(key, 0))
            started[key] = max(started.get(key, 0), starts[-1])
        changed = any(now != (row[-1] or 0) for now, row in zip(starts, rows, strict=True))
        return Selection(changed={"start": starts} if changed else None)

    for shard in shards:
        yield TablePart(
            shard.path, shard.record.traces_file, ("kind", "concurrency", "rate", "start"), select
        )


def _tokens(shards: Sequence[ShardRecord]) -> Iterator[TokenRow]:
    """Yield the scores of each answer by each model, from the first shard that has them."""
    known: dict[tuple[str, ...], int] = {}
    for number, shard in enumerate(shards):
        for row in load_table(shard.path, shard.record.tokens_file, TOKENS):
            key = (row["row"], row["baseline"], row["task"], row["sampling"], row["look"], row["item"])
            if known.setdefault(key, number) == number:
                yield row
