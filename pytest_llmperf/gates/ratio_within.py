"""Candidate against baseline in interleaved rounds: the centre of the per-round log ratios.

A slow minute hits both sides of a round and leaves its ratio alone, which is why the pair is formed by round.
The interval is Hodges and Lehmann's, so that a single round with a hiccup cannot decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pytest_llmperf.gates.decision import ALPHA, Estimate, invalid, verdict_of
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.gates.wording import percent, plural
from pytest_llmperf.stats import hodges_lehmann, power

METHOD = "Hodges-Lehmann, signed rank"
MAX_LOST_ROUNDS = 0.2
"""A lost round loses both sides, so that it biases less than a lost item; one of five may go."""


def ratio_within(
    metric: str,
    rounds: Iterable[tuple[float | None, float | None]],
    budget: float,
    *,
    unit: str = "s",
    at_least: bool = False,
    alpha: float = ALPHA,
    max_lost_share: float = MAX_LOST_ROUNDS,
) -> Verdict:
    """Is candidate/baseline at most ``budget`` (``at_least``: at least, for throughput)?

    ``rounds`` holds one (candidate, baseline) value per round, in ``unit``; a round with None on a side is
    lost. INVALID: no rounds, fewer than a bound needs (5 at 95 %), too many lost, a value that is not finite
    and above zero. ``ValueError`` for a budget that is not finite and above zero.
    """
    if not (math.isfinite(budget) and budget > 0.0):
        raise ValueError(f"{metric}: the budget for the ratio is {budget}, a number above zero is needed")
    given = list(rounds)
    kept = [(float(ours), float(theirs)) for ours, theirs in given if ours is not None and theirs is not None]
    lost = len(given) - len(kept)
    least = hodges_lehmann.least_n(1.0 - alpha)
    name = f"{metric} ratio"
    if trouble := unusable_rounds(kept, lost, max_lost_share):
        return invalid(name, trouble, bound=budget, n=len(kept), unit="ratio")
    if len(kept) < least:
        why = f"cannot be judged from {len(kept)} rounds, at least {least} are needed"
        return invalid(name, why, bound=budget, n=len(kept), n_needed=least, unit="ratio")
    logs = [math.log(ours) - math.log(theirs) for ours, theirs in kept]
    low, high = hodges_lehmann.bounds(logs, 1.0 - alpha)
    observed = math.exp(hodges_lehmann.estimate(logs))
    worse = hodges_lehmann.p_less if at_least else hodges_lehmann.p_greater
    estimate = Estimate(name, "ratio", observed, math.exp(low), math.exp(high), len(kept), "round", METHOD)
    return verdict_of(
        estimate,
        budget,
        at_least=at_least,
        bound_name="floor" if at_least else "budget",
        alpha=alpha,
        p_value=worse(logs, math.log(budget)),
        n_needed=power.rounds_for_ratio(observed, budget, _deviation(logs), alpha=alpha),
        candidate=_median([ours for ours, _ in kept]),
        baseline=_median([theirs for _, theirs in kept]),
        level_unit=unit,
        detail=f"{lost} of {len(given)} rounds were lost" if lost else "",
    )


def unusable_rounds(kept: Sequence[tuple[float, float]], lost: int, allowed: float) -> str | None:
    """Why these rounds must not be judged, after ``lost`` others were; None if they may."""
    if not kept:
        how = f"all {lost} rounds were lost" if lost else "there are no rounds"
        return f"nothing was measured, {how}"
    for index, pair in enumerate(kept):
        for side, value in zip(("candidate", "baseline"), pair, strict=True):
            if not (math.isfinite(value) and value > 0.0):
                return f"the {side}'s value in round {index} is {value:g}, a number above zero is needed"
    every = lost + len(kept)
    if lost / every > allowed:
        share = f"{percent(lost / every)}, allowed {percent(allowed)}"
        why = "a side had no success in them, or was kept from the processor until all tokens came at once"
        return f"{lost} of {plural(every, 'round')} were lost ({share}): {why}"
    return None


def _deviation(logs: Sequence[float]) -> float:
    """Standard deviation from the median absolute deviation, so that one hiccup does not inflate the advice.

    The factor makes it agree with the standard deviation on normal data.
    """
    middle = _median(logs)
    return 1.4826 * _median([abs(value - middle) for value in logs])


def _median(values: Sequence[float]) -> float:
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2.0
