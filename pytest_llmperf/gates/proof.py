"""What a recorded gate catches: its data judged again, as they are and with damage planted into them.

A gate that says what it catches (``catches`` in budgets.toml) must turn FAIL at that damage and at every greater one
of the ladder, wherever the damage falls. Nothing is measured again, and no data are made up: what the run did not ask,
because the gate was decided before, is not there to be damaged either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pytest_llmperf.config.bounds import Bound
from pytest_llmperf.gates.case import Case, Damage
from pytest_llmperf.gates.planted import prove
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.units import format_quantity

LADDER: Mapping[Damage, tuple[float, ...]] = {
    "points": (0.01, 0.02, 0.03, 0.05, 0.07, 0.10, 0.12, 0.15, 0.20, 0.30, 0.50),
    "share": (0.02, 0.03, 0.05, 0.08, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50, 0.75, 1.0, 2.0, 5.0, 10.0),
}
"""Damages that are tried, beside the one that is claimed."""
PLANTINGS: Mapping[Damage, int] = {"points": 20, "share": 1}
"""Which answers are turned is drawn anew each time; every latency is made longer alike."""


class Result(StrEnum):
    """Of one gate. Everything but the first two makes the proof fail."""

    PROVED = "proved"
    UNCLAIMED = "no claim"
    MISSED = "MISSED"
    """A claimed damage stayed without FAIL."""
    STOPPED_EARLY = "TOO FEW DATA"
    """A claimed damage was not decided by the data that the run stopped at; it would have gone on."""
    NOT_PASSED = "NOT PASS"
    """The gate claims something and was not PASS with nothing planted."""
    ANOTHER_BOUND = "OTHER BOUND"
    """The claim is made of a bound that is not the one of the run."""
    NOT_REPRODUCED = "NOT REPRODUCED"
    """The same data gave another verdict than they did in the run."""


@dataclass(frozen=True)
class GateProof:
    """What one gate of a record was proved to do.

    ``smallest``: the least damage of the ladder from which on all is FAIL, None where none is, or where the gate was
    not PASS to begin with. ``claim``: the damage that it says it catches. ``why``: a sentence, empty if all is well.
    """

    verdict: Verdict
    size: int
    unasked: int
    damage: Damage
    smallest: float | None
    claim: float | None
    result: Result
    why: str = ""

    @property
    def green(self) -> bool:
        return self.result in (Result.PROVED, Result.UNCLAIMED)


def proof_of(
    case: Case, recorded: Status, *, claim: float | None = None, now: Bound | None = None
) -> GateProof:
    """Judge ``case`` again, plant the ladder into it, and see whether it does what it claims.

    ``recorded``: its verdict in the run. ``claim``: a damage as ``Case.damaged`` takes it, None: nothing is claimed.
    ``now``: the bound that the claim is made of, where it may have been changed since the run.
    """
    verdict = case.judge()

    def ends(result: Result, why: str = "", smallest: float | None = None) -> GateProof:
        return GateProof(verdict, case.size, case.unasked, case.damage, smallest, claim, result, why)

    if verdict.status is not recorded:
        why = f"was {recorded.value} in the run and is {verdict.status.value} now: judged by another version?"
        return ends(Result.NOT_REPRODUCED, why)
    if verdict.status is not Status.PASS:
        claims = claim is not None
        return ends(Result.NOT_PASSED if claims else Result.UNCLAIMED, verdict.why if claims else "")
    if claim is not None and now is not None and now.value != case.bound:
        then = Bound(float(case.bound or 0.0), now.unit)
        return ends(
            Result.ANOTHER_BOUND, f"the run was judged by {then}, and the claim is of {now}: record again"
        )
    seen: dict[float, set[Status]] = {}

    def judge(by: float, seed: int) -> Verdict:
        damaged = case.damaged(by, seed).judge()
        seen.setdefault(by, set()).add(damaged.status)
        return damaged

    ladder = sorted({*LADDER[case.damage], *(() if claim is None else (claim,))})
    proof = prove(judge, ladder, claims=claim, plantings=PLANTINGS[case.damage])
    if claim is None:
        return ends(Result.UNCLAIMED, smallest=proof.smallest)
    if not proof.missed:
        return ends(Result.PROVED, smallest=proof.smallest)
    missed = " and ".join(damage_text(by, case.damage) for by in proof.missed)
    if case.unasked and all(seen[by] <= {Status.FAIL, Status.INCONCLUSIVE} for by in proof.missed):
        why = (
            f"claims {damage_text(claim, case.damage)}; {missed} not decided by the {case.size:,} of "
            f"{case.size + case.unasked:,} items at which the run stopped: record with --llmperf-full"
        )
        return ends(Result.STOPPED_EARLY, why, proof.smallest)
    stayed = "; ".join(
        f"{damage_text(by, case.damage)}: FAIL in {100 * proof.red[by]:.0f} % of plantings"
        for by in proof.missed
    )
    return ends(Result.MISSED, f"claims {damage_text(claim, case.damage)}; {stayed}", proof.smallest)


def damage_text(by: float, damage: Damage) -> str:
    """``12 points``, ``40 %``: as it is written in budgets.toml."""
    return format_quantity(by, damage)
