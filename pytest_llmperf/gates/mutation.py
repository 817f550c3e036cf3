"""Mutation testing of thresholds: a recorded gate judged again, with its data as they are and with damage planted.

A gate that says what it catches (``catches`` in budgets.toml) must turn FAIL at that damage and at every greater one
of the ladder, wherever the damage falls. Nothing is measured again, and no data are made up: what the run did not ask,
because the gate was decided before, is not there to be damaged either. Damage is drawn from seeds, so that a mutation
test can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pytest_llmperf.config.bounds import Bound
from pytest_llmperf.gates.base import Damage, Gate
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.stats import arguments
from pytest_llmperf.units import format_size, percent

LADDER: Mapping[Damage, tuple[float, ...]] = {
    "points": (0.01, 0.02, 0.03, 0.05, 0.07, 0.10, 0.12, 0.15, 0.20, 0.30, 0.50),
    "share": (0.02, 0.03, 0.05, 0.08, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50, 0.75, 1.0, 2.0, 5.0, 10.0),
}
"""Damages that are tried, beside the claimed one."""
PLANTINGS: Mapping[Damage, int] = {"points": 20, "share": 1}
"""Which answers are turned is drawn anew each time; every latency is made longer alike."""


class Result(StrEnum):
    """The result of one gate. Everything but the first two makes the mutation test fail."""

    CAUGHT = "caught"
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
class MutationResult:
    """The damage that one gate of a record catches.

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
        return self.result in (Result.CAUGHT, Result.UNCLAIMED)


def mutation_test(
    gate: Gate, recorded: Status, *, claim: float | None = None, now: Bound | None = None
) -> MutationResult:
    """Judge ``gate`` again, plant the ladder into it, and compare with its claim.

    ``recorded``: its verdict in the run. ``claim``: a damage as ``Gate.mutate`` takes it, None: nothing is claimed.
    ``now``: the bound that the claim is made of, where it may have been changed since the run.
    """
    verdict = gate.judge()

    def ends(result: Result, why: str = "", smallest: float | None = None) -> MutationResult:
        return MutationResult(verdict, gate.size, gate.unasked, gate.damage, smallest, claim, result, why)

    if verdict.status is not recorded:
        why = f"was {recorded.value} in the run and is {verdict.status.value} now: judged by another version?"
        return ends(Result.NOT_REPRODUCED, why)
    if verdict.status is not Status.PASS:
        claims = claim is not None
        return ends(Result.NOT_PASSED if claims else Result.UNCLAIMED, verdict.why if claims else "")
    if claim is not None and now is not None and now.value != gate.bound:
        then = Bound(float(gate.bound or 0.0), now.unit)
        return ends(
            Result.ANOTHER_BOUND, f"the run was judged by {then}, and the claim is of {now}: record again"
        )
    seen: dict[float, set[Status]] = {}

    def judge(by: float, seed: int) -> Verdict:
        damaged = gate.mutate(by, seed).judge()
        seen.setdefault(by, set()).add(damaged.status)
        return damaged

    ladder = sorted({*LADDER[gate.damage], *(() if claim is None else (claim,))})
    climb = climb_ladder(judge, ladder, claims=claim, plantings=PLANTINGS[gate.damage])
    if claim is None:
        return ends(Result.UNCLAIMED, smallest=climb.smallest)
    if not climb.missed:
        return ends(Result.CAUGHT, smallest=climb.smallest)
    missed = " and ".join(format_size(by, gate.damage) for by in climb.missed)
    if gate.unasked and all(seen[by] <= {Status.FAIL, Status.INCONCLUSIVE} for by in climb.missed):
        why = (
            f"claims {format_size(claim, gate.damage)}; {missed} not decided by the {gate.size:,} of "
            f"{gate.size + gate.unasked:,} {gate.data_noun} at which the run stopped: record with --llmperf-full"
        )
        return ends(Result.STOPPED_EARLY, why, climb.smallest)
    stayed = "; ".join(
        f"{format_size(by, gate.damage)}: FAIL in {percent(round(climb.red[by], 2))} of plantings"
        for by in climb.missed
    )
    return ends(Result.MISSED, f"claims {format_size(claim, gate.damage)}; {stayed}", climb.smallest)


@dataclass(frozen=True)
class Climb:
    """``smallest``: the least damage of those tried from which on every planting turned the gate red, or None.

    ``red``: damage → share of plantings that were FAIL, of the damages that had to be tried: from the greatest down to
    the first that did not always turn the gate red, and all that it claims to catch. ``missed``: those of the claimed
    ones that stayed without FAIL.
    """

    smallest: float | None
    red: dict[float, float]
    missed: tuple[float, ...]


def climb_ladder(
    judge: Callable[[float, int], Verdict],
    damages: Sequence[float],
    *,
    claims: float | None = None,
    plantings: int = 20,
) -> Climb:
    """Plant each of ``damages`` ``plantings`` times: ``judge(damage, seed)`` judges the damaged data.

    ``claims``: the damage that the gate says it catches; that one and every greater must be red in each planting.
    A gate without claim misses nothing. ``ValueError`` without damages.
    """
    seeds = range(max(1, plantings))
    red: dict[float, float] = {}
    missed: list[float] = []
    smallest, held = None, True
    for level in sorted(arguments.samples_of(damages), reverse=True):
        claimed = claims is not None and level >= claims
        if not (held or claimed):
            break
        red[level] = sum(judge(level, seed).status is Status.FAIL for seed in seeds) / len(seeds)
        held = held and red[level] == 1.0
        if held:
            smallest = level
        elif claimed and red[level] < 1.0:
            missed.append(level)
    return Climb(smallest, red, tuple(sorted(missed)))
