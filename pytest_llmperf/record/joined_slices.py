"""Tests of which every shard asked a part of the items: their gates, judged on the answers of all shards together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_llmperf.errors import NotMeasured, UsageError, first_line
from pytest_llmperf.gates.base import Gate, gate_from_json
from pytest_llmperf.gates.decision import invalid
from pytest_llmperf.gates.item_slice import GateSlice, joined_gate
from pytest_llmperf.gates.judgement import Policy, is_green
from pytest_llmperf.gates.verdict import NOT_MEASURED, Status, Verdict
from pytest_llmperf.record.redaction import redact_values
from pytest_llmperf.record.tables import CASES, CaseRow, load_table
from pytest_llmperf.record.verdict_json import verdict_to_json

if TYPE_CHECKING:
    from pytest_llmperf.json_values import Json
    from pytest_llmperf.record.model import RunTest, VerdictEntry
    from pytest_llmperf.record.shard_set import ShardRecord, ShardSet


@dataclass
class JoinedTest:
    """The gates of one test over the items of all shards, as far as the run on one machine would have come."""

    test: RunTest
    verdicts: list[VerdictEntry] = field(default_factory=list)
    cases: list[CaseRow] = field(default_factory=list)


def joined_tests(shards: ShardSet) -> Mapping[str, JoinedTest]:
    """Return, by node id, the tests that were cut by items. Nothing is raised: what is missing is INVALID by name."""
    cut_tests = shards.first.shard.cut_tests
    if not cut_tests:
        return {}
    gates = [_gates(shard) for shard in shards.shards if not shard.unread]
    runs = [shard.record.run for shard in shards.shards if shard.record.run is not None]
    policy: Policy = runs[0].inconclusive if runs else "fail"
    readable = [shard for shard in shards.shards if not shard.unread]
    return {test: _joined(test, readable, [of.get(test, []) for of in gates], policy) for test in cut_tests}


def _gates(shard: ShardRecord) -> dict[str, list[Gate]]:
    """Return the gates of the tests that were cut, by node id."""
    cut_tests, found = {*shard.shard.cut_tests}, dict[str, list[Gate]]()
    for row in load_table(shard.path, shard.record.cases, CASES):
        if row["test"] in cut_tests:
            try:
                gate = gate_from_json(json.loads(row["case"]))
            except (KeyError, TypeError, ValueError):
                continue  # An INVALID verdict says that the part is missing.
            found.setdefault(row["test"], []).append(gate)
    return found


def _joined(
    test: str, shards: Sequence[ShardRecord], gates: Sequence[Sequence[Gate]], policy: Policy
) -> JoinedTest:
    from pytest_llmperf.record.model import RunTest

    ran = [entry for shard in shards for entry in shard.record.tests if entry.test == test]
    joined = JoinedTest(
        RunTest(
            test=test,
            outcome="passed",
            seconds=round(sum(entry.seconds or 0.0 for entry in ran), 3),
            tries=max((entry.tries or 1 for entry in ran), default=0),
            candidate=next((entry.candidate for entry in ran), None),
        )
    )
    for verdict, gate in _verdicts(test, shards, gates):
        joined.verdicts.append(_entry(test, verdict))
        if gate is not None:
            case = json.dumps(redact_values(gate.to_json()), allow_nan=False)
            joined.cases.append({"test": test, "status": verdict.status.value, "case": case})
        if not is_green(verdict, policy):
            # Its assert would have ended the test before the next gate.
            joined.test = joined.test.model_copy(update={"outcome": "failed"})
            break
    return joined


def _verdicts(
    test: str, shards: Sequence[ShardRecord], gates: Sequence[Sequence[Gate]]
) -> Iterator[tuple[Verdict, Gate | None]]:
    """Yield the verdict on each gate in turn, with the gate that was judged; None where none could be joined."""
    of = shards[0].shard.of if shards else 0
    for nth in range(max(map(len, gates), default=0)):
        several = [each[nth] if nth < len(each) else None for each in gates]
        slices = [gate for gate in several if isinstance(gate, GateSlice)]
        if not slices:
            break
        first = slices[0]
        whole: Gate | None = None
        if len(slices) < of:
            there = {gate.number for gate in slices}
            gone = [number for number in range(1, of + 1) if number not in there]
            why = f"slice {', '.join(map(str, gone))} of {of} of its items is missing"
            own = [reason for shard in shards for reason in _own_troubles(test, shard)]
            verdict = invalid(first.metric, "; ".join([why, *own[:1]]), bound=first.bound, unit=first.unit)
        elif refused := _refused(shards, slices):
            verdict = invalid(first.metric, refused, bound=first.bound, n=first.items, unit=first.unit)
        else:
            try:
                whole = joined_gate(slices)
                verdict = whole.judge()
            except (NotMeasured, UsageError, ValueError) as error:
                whole = None
                verdict = invalid(first.metric, first_line(error), bound=first.bound, unit=first.unit)
        verdict = replace(verdict, origin=first.origin, inconclusive=first.budget_policy)
        yield first.tolerance(test).applied_to(verdict), whole
    for shard in shards:
        for entry in shard.record.verdicts:
            if entry.test == test and entry.method == NOT_MEASURED and entry.status is not Status.PASS:
                yield replace(entry.verdict, why=f"{shard}: {entry.why}"), None
                return
    if not any(gates):
        name = test.rpartition("::")[2] or test
        why = f"{name}: no shard has a part of its items; run them again"
        yield Verdict(Status.INVALID, name, None, None, None, 0, None, NOT_MEASURED, why), None


def _own_troubles(test: str, shard: ShardRecord) -> Iterator[str]:
    """Yield why ``shard`` has no part of a gate of ``test``."""
    for entry in shard.record.verdicts:
        if entry.test == test and entry.status is Status.INVALID:
            yield f"{shard}: {entry.why}"


def _refused(shards: Sequence[ShardRecord], slices: Sequence[GateSlice]) -> str:
    """Return why a part cannot be judged; empty if all can. What all parts say is told once, without a name."""
    reasons = {part.refused for part in slices}
    if len(reasons) == 1:
        return reasons.pop()
    return next(
        f"{shard}: {part.refused}" for shard, part in zip(shards, slices, strict=True) if part.refused
    )


def _entry(test: str, verdict: Verdict) -> VerdictEntry:
    from pytest_llmperf.record.model import Record

    fields: dict[str, Json] = verdict_to_json(verdict) | {"test": test}
    return Record.of({"verdicts": [fields]}).verdicts[0]
