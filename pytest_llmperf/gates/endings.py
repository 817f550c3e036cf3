"""How a model's answers ended, told where a gate does not pass: cut off, empty, without a final answer, refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import plural

Endings = Mapping[str, int]
"""How many answers ended in which way; lost ones are not among them."""

READ = ("correct", "wrong")
"""Endings of answers that were read and graded. Every other one means that nothing is known of the answer."""
NOTABLE = 0.1
"""From this share of unread answers on they are told."""


def unread(endings: Endings) -> int:
    """Answers that could not be graded."""
    return sum(count for ending, count in endings.items() if ending not in READ)


def told(side: str, endings: Endings) -> str:
    """``400 of the candidate's 400 answers could not be graded: 380 cut off, 20 empty``; empty if none."""
    if not unread(endings):
        return ""
    kinds = sorted(((n, ending) for ending, n in endings.items() if n and ending not in READ), reverse=True)
    listed = ", ".join(f"{n:,} {ending}" for n, ending in kinds)
    total = sum(endings.values())
    return f"{unread(endings):,} of the {side}'s {plural(total, 'answer')} could not be graded: {listed}"


def with_endings(verdict: Verdict, endings: Mapping[str, Endings]) -> Verdict:
    """``verdict`` with what became of the answers of each side, where many could not be graded.

    A side of which not one answer could be graded is named in the sentence itself. A PASS over such a baseline is
    INVALID: what it would have answered was not measured.
    """
    lines = []
    for side, counts in endings.items():
        line, total = told(side, counts), sum(counts.values())
        if not line or unread(counts) < NOTABLE * total:
            continue
        if unread(counts) < total:
            lines.append(line)
            continue
        if verdict.status is Status.PASS and side == "baseline":
            verdict = replace(verdict, status=Status.INVALID, n_needed=None)
        if verdict.status is Status.PASS:
            lines.append(line)
        else:
            verdict = replace(verdict, why=f"{verdict.why}; {line}")
    return replace(verdict, detail="\n".join(filter(None, (verdict.detail, *lines))))
