"""A share against a fixed bound: accuracy reaches a floor, a behaviour is rarer (or more frequent) than a
limit.

The bounds are Clopper and Pearson's exact ones at every n: with Wilson's, a model exactly at its floor is
called too low in up to 9.4 % of runs (``stats.binomial``). With several samples an item the items are the
sample, by the effective n of Korn and Graubard (``stats.clustered``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates.decision import (
    ALPHA,
    MAX_LOST_SHARE,
    Estimate,
    invalid,
    lost_decide,
    status_of,
    too_many_lost,
    verdict_of,
)
from pytest_llmperf.gates.outcomes import Outcomes, Tally, tally
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.stats import binomial, power
from pytest_llmperf.stats.clustered import clustered_mean


def at_least(
    metric: str,
    outcomes: Outcomes,
    floor: float,
    *,
    alpha: float = ALPHA,
    max_lost_share: float = MAX_LOST_SHARE,
    noun: str = "item",
    bound_name: str = "floor",
) -> Verdict:
    """Is the share of True at least ``floor``?

    INVALID without a single outcome, with more than ``max_lost_share`` infrastructure errors, or with
    something that is no outcome; ``ValueError`` for a floor outside 0…1.
    """
    return _judge(
        metric,
        outcomes,
        floor,
        at_least=True,
        alpha=alpha,
        allowed=max_lost_share,
        noun=noun,
        name=bound_name,
    )


def rate_at_least(
    metric: str,
    outcomes: Outcomes,
    limit: float,
    *,
    alpha: float = ALPHA,
    max_lost_share: float = MAX_LOST_SHARE,
    noun: str = "answer",
) -> Verdict:
    """Does a wanted behaviour (a boxed answer) show in at least a share ``limit`` of the answers?"""
    return _judge(
        metric, outcomes, limit, at_least=True, alpha=alpha, allowed=max_lost_share, noun=noun, name="floor"
    )


def rate_below(
    metric: str,
    outcomes: Outcomes,
    limit: float,
    *,
    alpha: float = ALPHA,
    max_lost_share: float = MAX_LOST_SHARE,
    noun: str = "answer",
) -> Verdict:
    """Does an unwanted behaviour (an endless loop) show in at most a share ``limit`` of the answers?"""
    return _judge(
        metric, outcomes, limit, at_least=False, alpha=alpha, allowed=max_lost_share, noun=noun, name="limit"
    )


def _judge(
    metric: str,
    outcomes: Outcomes,
    bound: float,
    *,
    at_least: bool,
    alpha: float,
    allowed: float,
    noun: str,
    name: str,
) -> Verdict:
    if not (math.isfinite(bound) and 0.0 <= bound <= 1.0):
        raise ValueError(f"{metric}: the {name} is {bound}, a share lies between 0 and 1")
    try:
        counted = tally(outcomes)
    except NotMeasured as error:
        return invalid(metric, str(error), bound=bound, n=len(outcomes), unit="share")
    if trouble := missing(counted, allowed):
        return invalid(metric, trouble, bound=bound, n=len(counted.scores), unit="share")
    estimate, effective = _estimate(metric, counted, alpha, noun)
    bad_tail = binomial.p_at_most if at_least else binomial.p_at_least
    p_value, lost_turn = bad_tail(estimate.observed * effective, effective, bound), ""
    if counted.lost:
        without = status_of(estimate.low, estimate.high, bound, at_least=at_least)
        worst, worst_n = _estimate(metric, tally(outcomes, lost_as=False), alpha, noun)
        best, best_n = _estimate(metric, tally(outcomes, lost_as=True), alpha, noun)
        kind, kind_n = (best, best_n) if at_least else (worst, worst_n)
        p_value = bad_tail(kind.observed * kind_n, kind_n, bound)
        estimate = replace(estimate, low=min(estimate.low, worst.low), high=max(estimate.high, best.high))
        now = status_of(estimate.low, estimate.high, bound, at_least=at_least)
        lost_turn = lost_decide(counted.lost, without, now, "answer")
    verdict = verdict_of(
        estimate,
        bound,
        at_least=at_least,
        bound_name=name,
        alpha=alpha,
        p_value=p_value,
        n_needed=_n_needed(estimate, effective, bound, alpha),
        detail=_lost_line(counted),
        lost_turn=lost_turn,
    )
    if verdict.status is Status.INCONCLUSIVE and bound == (1.0 if at_least else 0.0):
        extreme = "1 (always)" if at_least else "0 (never)"
        why = (
            f"{metric}: a {name} of {extreme} cannot be shown by any number of {noun}s; "
            f"none of {estimate.n} was against it, write the share that is still acceptable, "
            f"e.g. {_nearest_showable(estimate.low, estimate.high, at_least):.3g}"
        )
        return replace(verdict, status=Status.INVALID, why=why, n_needed=None)
    return verdict


def level_of(scores: Collection[Sequence[float]], alpha: float) -> tuple[float, float, float]:
    """A share over items and its two one-sided bounds; ``scores`` holds those of each item's answers."""
    items = {str(number): several for number, several in enumerate(scores)}
    estimate, _ = _estimate("", Tally(items, 0, sum(map(len, scores))), alpha, "item")
    return estimate.observed, estimate.low, estimate.high


def missing(counted: Tally, allowed: float) -> str | None:
    """Why these outcomes cannot be judged; None when they can."""
    if not counted.asked:
        return "nothing was measured, there is not one answer"
    if not counted.answers:
        return f"nothing was measured, all {counted.lost} answers ended in infrastructure errors"
    return too_many_lost(counted.lost, counted.asked, allowed, "answer")


def _estimate(metric: str, counted: Tally, alpha: float, noun: str) -> tuple[Estimate, float]:
    mean = clustered_mean(list(counted.scores.values()))
    successes = mean.mean * mean.effective_n
    if counted.sampled:
        method = f"Clopper-Pearson on {mean.effective_n:.0f} effective answers, clustered by item"
    else:
        method, successes = "Clopper-Pearson", float(round(successes))
    low = binomial.clopper_pearson_lower(successes, mean.effective_n, 1.0 - alpha)
    high = binomial.clopper_pearson_upper(successes, mean.effective_n, 1.0 - alpha)
    return Estimate(metric, "share", mean.mean, low, high, mean.items, noun, method), mean.effective_n


def _n_needed(estimate: Estimate, effective: float, bound: float, alpha: float) -> int | None:
    answers = power.items_for_floor(estimate.observed, bound, alpha=alpha)
    return None if answers is None else math.ceil(answers * estimate.n / effective)


def _lost_line(counted: Tally) -> str:
    return (
        f"{counted.lost} of {counted.asked} answers were lost to infrastructure errors"
        if counted.lost
        else ""
    )


def _nearest_showable(low: float, high: float, at_least: bool) -> float:
    """The bound that these very data would have met, rounded to the lenient side."""
    return math.floor(low * 1000) / 1000 if at_least else math.ceil(high * 1000) / 1000
