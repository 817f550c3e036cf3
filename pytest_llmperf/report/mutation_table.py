"""The result of a mutation test for the terminal: a line a gate, then what is wrong, then the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.gates.mutation import MutationResult, Result
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.report.table import Table
from pytest_llmperf.report.terminal import TableLine
from pytest_llmperf.units import format_size

_HEADER = ("gate", "n", "undamaged", "caught from", "claims", "result", "test")


@dataclass(frozen=True)
class MutatedGate:
    """A gate and the test (node id) that asserts it."""

    test: str
    mutation: MutationResult


def mutation_table(gates: Sequence[MutatedGate]) -> list[TableLine]:
    """Return a head and a line per gate in the order of the run; empty without gates."""
    if not gates:
        return []
    head, *lines = Table(_HEADER, [*map(_cells, gates)], range(1, len(_HEADER) - 2)).to_text()
    return [
        TableLine(head),
        *(TableLine(text, _colour(gate.mutation)) for text, gate in zip(lines, gates, strict=True)),
    ]


def complaints(gates: Sequence[MutatedGate]) -> list[str]:
    """Return a sentence for each gate that did not catch what it claims."""
    return [
        f"{gate.mutation.result.value}: {gate.mutation.verdict.metric} in {gate.test}: {gate.mutation.why}"
        + (f" [{gate.mutation.verdict.origin}]" if gate.mutation.verdict.origin else "")
        for gate in gates
        if not gate.mutation.green
    ]


def result_counts(gates: Sequence[MutatedGate]) -> str:
    """Return ``3 caught, 10 no claim, 1 MISSED``: zeros left out."""
    seen = Counter(gate.mutation.result for gate in gates)
    return ", ".join(f"{seen[result]} {result.value}" for result in Result if seen[result])


def _cells(gate: MutatedGate) -> tuple[str, ...]:
    mutation = gate.mutation
    passed = mutation.verdict.status is Status.PASS
    return (
        mutation.verdict.metric,
        f"{mutation.size:,} of {mutation.size + mutation.unasked:,}"
        if mutation.unasked
        else f"{mutation.verdict.n:,}",
        mutation.verdict.status.value,
        ("none" if passed else "—")
        if mutation.smallest is None
        else format_size(mutation.smallest, mutation.damage),
        "—" if mutation.claim is None else format_size(mutation.claim, mutation.damage),
        mutation.result.value,
        gate.test,
    )


def _colour(mutation: MutationResult) -> Status | None:
    return None if mutation.result is Result.UNCLAIMED else Status.PASS if mutation.green else Status.FAIL
