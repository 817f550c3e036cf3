"""A quantile of samples against a budget, by order statistics: no distribution is assumed.

A p95 needs at least 59 samples and a p99 at least 299 before its 95 % bound exists at all; with fewer the
gate is INVALID and says so, because neither the maximum nor an interpolation says anything about the tail.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

from pytest_llmperf.gates.decision import ALPHA, MAX_LOST_SHARE, Estimate, invalid, too_many_lost, verdict_of
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.stats import clustered_quantile, order_statistics, power
from pytest_llmperf.stats.binomial import p_at_least, p_at_most


def within(
    metric: str,
    samples: Iterable[float | None],
    budget: float,
    *,
    q: float = 0.95,
    unit: str = "s",
    at_least: bool = False,
    groups: Sequence[Hashable] | None = None,
    errors: int = 0,
    alpha: float = ALPHA,
    max_error_share: float = MAX_LOST_SHARE,
    noun: str = "sample",
) -> Verdict:
    """Is the q-quantile of the samples at most ``budget`` (``at_least``: at least)?

    ``None`` among the samples, and ``errors`` beside them, are requests that failed; more than
    ``max_error_share`` of them make the gate INVALID, as do no samples, too few for a bound, NaN, infinity, a
    negative sample, and samples that are all zero. ``ValueError`` for a budget that is not finite.

    ``groups`` names, sample by sample, what samples have in common (the round, the request): token gaps of
    one round are far fewer independent samples than there are gaps, and the bounds then account for it.
    """
    if not math.isfinite(budget):
        raise ValueError(f"{metric}: the budget is {budget}, a finite number is needed")
    given = list(samples)
    values = [float(value) for value in given if value is not None]
    lost = errors + len(given) - len(values)
    name = f"{metric} p{100 * q:.6g}"
    least = order_statistics.least_n(q, 1.0 - alpha)
    trouble = unusable(values, lost, max_error_share, noun)
    short = trouble is None and len(values) < least
    if short:
        trouble = f"cannot be judged from {len(values)} {noun}s, at least {least} are needed"
    if trouble is not None:
        return invalid(
            name, trouble, bound=budget, n=len(values), n_needed=least if short else None, unit=unit
        )
    worth = float(len(values))
    if groups is None:
        low, high = order_statistics.bounds(values, q, 1.0 - alpha)
        method = f"order statistics, p{100 * q:.6g}"
    else:
        grouped = _grouped(given, groups)
        low, high, worth = clustered_quantile.bounds(grouped, q, 1.0 - alpha)
        method = (
            f"order statistics, p{100 * q:.6g}, on {worth:.0f} effective samples in {len(grouped)} groups"
        )
    if low is None or high is None:
        why = (
            f"{len(values)} {noun}s in {plural(len(grouped), 'group')} are worth {worth:.0f} independent "
            f"ones, at least {least} are needed: measure more groups"
        )
        needed = math.ceil(least * len(values) / worth)
        return invalid(name, why, bound=budget, n=len(values), n_needed=needed, unit=unit, method=method)
    observed = order_statistics.quantile(values, q)
    estimate = Estimate(name, unit, observed, low, high, len(values), noun, method)
    inside = sum(1 for value in values if value <= budget) / len(values)
    return verdict_of(
        estimate,
        budget,
        at_least=at_least,
        bound_name="floor" if at_least else "budget",
        alpha=alpha,
        p_value=_p_value(values, budget, q, at_least, worth),
        n_needed=_n_needed(inside, q, alpha, len(values) / worth),
        detail=f"{lost} of {lost + len(values)} {noun}s failed" if lost else "",
    )


def unusable(values: Sequence[float], lost: int, allowed: float, noun: str) -> str | None:
    """Why samples of a physical quantity cannot be judged; None when they can."""
    if not values:
        return (
            f"nothing was measured, all {lost} {noun}s failed"
            if lost
            else f"nothing was measured, no {noun}s"
        )
    for index, value in enumerate(values):
        if not math.isfinite(value):
            return f"{noun} {index} is {value}, which is not a measurement"
        if value < 0.0:
            return f"{noun} {index} is {value:g}, below zero: the clock or the counter is broken"
    if not any(values):
        return f"every {noun} is zero, which is not a measurement"
    return too_many_lost(lost, lost + len(values), allowed, noun)


def _grouped(samples: Sequence[float | None], groups: Sequence[Hashable]) -> list[list[float]]:
    """The samples that were measured, by group."""
    if len(groups) != len(samples):
        raise ValueError(
            f"{len(samples)} samples and {len(groups)} groups were given, one group a sample is needed"
        )
    by_group: dict[Hashable, list[float]] = {}
    for sample, group in zip(samples, groups, strict=True):
        if sample is not None:
            by_group.setdefault(group, []).append(float(sample))
    return list(by_group.values())


def _n_needed(inside: float, q: float, alpha: float, copies: float) -> int | None:
    independent = power.items_for_floor(inside, q, alpha=alpha)
    return None if independent is None else math.ceil(independent * copies)


def _p_value(values: Sequence[float], budget: float, q: float, at_least: bool, worth: float) -> float:
    """P(as many samples on the wrong side of the budget, or more) when the quantile lies at the budget."""
    scale = worth / len(values)
    if at_least:
        return p_at_least(scale * sum(1 for value in values if value < budget), worth, q)
    return p_at_most(scale * sum(1 for value in values if value <= budget), worth, q)
