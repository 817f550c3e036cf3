"""Candidate against baseline over several starts of both servers: is the *model* slower, not just this process?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from pytest_llmperf.gates.decision import ALPHA, Estimate, invalid, verdict_of
from pytest_llmperf.gates.ratio_within import MAX_LOST_ROUNDS, unusable_rounds
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.gates.wording import percent, plural
from pytest_llmperf.stats import hodges_lehmann, start_to_start

METHOD = "Student's t over starts, Hodges-Lehmann within"


def ratio_over_starts(
    metric: str,
    starts: Sequence[Sequence[tuple[float | None, float | None]]],
    budget: float,
    *,
    unit: str = "s",
    at_least: bool = False,
    alpha: float = ALPHA,
    max_lost_share: float = MAX_LOST_ROUNDS,
) -> Verdict:
    """Is candidate/baseline at most ``budget`` (``at_least``: at least) for any start of either?

    ``starts`` holds, for each pair of starts, its interleaved rounds as ``ratio_within`` takes them. INVALID: fewer
    than three pairs of starts, too many lost rounds in one of them, a value that is not finite and above zero.
    ``ValueError`` for a budget that is not finite and above zero.
    """
    if not (math.isfinite(budget) and budget > 0.0):
        raise ValueError(f"{metric}: the budget for the ratio is {budget}, a number above zero is needed")
    name, n, needed = f"{metric} ratio", len(starts), start_to_start.LEAST_STARTS
    if n < needed:
        why = f"{plural(n, 'start')} of each side tell nothing of how starts differ, at least {needed} are needed"
        return invalid(name, why, bound=budget, n=n, n_needed=needed, unit="ratio")
    centres: list[float] = []
    every: list[tuple[float, float]] = []
    for number, rounds in enumerate(starts, 1):
        kept = [(ours, theirs) for ours, theirs in rounds if ours is not None and theirs is not None]
        if trouble := unusable_rounds(kept, len(rounds) - len(kept), max_lost_share):
            return invalid(name, f"start {number}: {trouble}", bound=budget, n=n, unit="ratio")
        every += kept
        centres.append(hodges_lehmann.estimate([math.log(ours) - math.log(theirs) for ours, theirs in kept]))
    low, high = start_to_start.bounds(centres, 1.0 - alpha)
    observed = math.exp(math.fsum(centres) / n)
    estimate = Estimate(name, "ratio", observed, math.exp(low), math.exp(high), n, "start", METHOD)
    sign = -1.0 if at_least else 1.0
    p_value = start_to_start.p_above([sign * centre for centre in centres], sign * math.log(budget))
    deviation = _deviation(centres)
    seen = start_to_start.StartVariation(deviation, 0.0, n, 1.0)
    verdict = verdict_of(
        estimate,
        budget,
        at_least=at_least,
        bound_name="floor" if at_least else "budget",
        alpha=alpha,
        p_value=p_value,
        n_needed=start_to_start.starts_needed(math.log(observed / budget), seen, 1, alpha=alpha),
        candidate=median(ours for ours, _ in every),
        baseline=median(theirs for _, theirs in every),
        level_unit=unit,
        detail=f"starts differ by {percent(deviation)} (standard deviation of the ratio)",
    )
    return replace(verdict, starts=n)


def _deviation(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
