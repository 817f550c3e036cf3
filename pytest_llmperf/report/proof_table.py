"""The result of a mutation test for the terminal: a line a gate, then what is wrong, then the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.gates.mutation import GateProof, Result, damage_text
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.report.table import Table
from pytest_llmperf.report.terminal import Line

_HEADER = ("gate", "n", "undamaged", "caught from", "claims", "result", "test")


@dataclass(frozen=True)
class ProvedGate:
    """A gate and the test (node id) that asserts it."""

    test: str
    proof: GateProof


def proof_table(gates: Sequence[ProvedGate]) -> list[Line]:
    """Return a head and a line per gate in the order of the run; empty without gates."""
    if not gates:
        return []
    head, *lines = Table(_HEADER, [*map(_cells, gates)], range(1, len(_HEADER) - 2)).to_text()
    return [Line(head), *(Line(text, _colour(gate.proof)) for text, gate in zip(lines, gates, strict=True))]


def complaints(gates: Sequence[ProvedGate]) -> list[str]:
    """Return a sentence for each gate that did not catch what it claims."""
    return [
        f"{gate.proof.result.value}: {gate.proof.verdict.metric} in {gate.test}: {gate.proof.why}"
        + (f" [{gate.proof.verdict.origin}]" if gate.proof.verdict.origin else "")
        for gate in gates
        if not gate.proof.green
    ]


def result_counts(gates: Sequence[ProvedGate]) -> str:
    """Return ``3 proved, 10 no claim, 1 MISSED``: zeros left out."""
    seen = Counter(gate.proof.result for gate in gates)
    return ", ".join(f"{seen[result]} {result.value}" for result in Result if seen[result])


def _cells(gate: ProvedGate) -> tuple[str, ...]:
    proof = gate.proof
    passed = proof.verdict.status is Status.PASS
    return (
        proof.verdict.metric,
        f"{proof.size:,} of {proof.size + proof.unasked:,}" if proof.unasked else f"{proof.verdict.n:,}",
        proof.verdict.status.value,
        ("none" if passed else "—") if proof.smallest is None else damage_text(proof.smallest, proof.damage),
        "—" if proof.claim is None else damage_text(proof.claim, proof.damage),
        proof.result.value,
        gate.test,
    )


def _colour(proof: GateProof) -> Status | None:
    return None if proof.result is Result.UNCLAIMED else Status.PASS if proof.green else Status.FAIL
