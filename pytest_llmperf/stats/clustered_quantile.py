"""Bounds for a quantile when the samples come in groups that resemble each other inside.

Token gaps of one round share their engine steps, their batch and the state of the machine: six thousand of
them are not six thousand independent samples. Woodruff (1952), Journal of the American Statistical
Association 47, 635: bound the *share* of samples below the quantile, with the variance between groups,
and read the samples at these shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_llmperf.stats import arguments, order_statistics
from pytest_llmperf.stats.clustered import estimated_variance_penalty


def effective_n(groups: Sequence[Sequence[float]], q: float) -> float:
    """The number of independent samples that these are worth for bounding the q-quantile, between 1 and their number.

    The share of samples at or below the observed quantile is a ratio of group totals, its variance is the
    linearised one between groups (Cochran 1977, Sampling Techniques, section 9.7), and the effective n is
    q(1−q)/variance, reduced by (t₍m−1₎/z)² because the variance is estimated from m groups (Korn and Graubard
    1998). With one group nothing is known about groups, and one is the answer.
    """
    pooled = [value for group in groups for value in arguments.samples_of(group, least=0)]
    if not pooled:
        raise ValueError("0 samples were given, at least 1 is needed")
    filled = [group for group in groups if group]
    if len(filled) < 2:
        return 1.0
    at = order_statistics.quantile(pooled, q)
    share = sum(1 for value in pooled if value <= at) / len(pooled)
    residuals = [sum((value <= at) - share for value in group) for group in filled]
    m, n = len(filled), len(pooled)
    variance = m / (m - 1) * math.fsum(residual * residual for residual in residuals) / n**2
    if variance <= 1e-15:
        return float(m)
    level = share if 0.0 < share < 1.0 else arguments.inside("q", q, 0.0, 1.0)
    return min(float(n), max(1.0, level * (1.0 - level) / variance / estimated_variance_penalty(m)))


def bounds(
    groups: Sequence[Sequence[float]], q: float, confidence: float = 0.95
) -> tuple[float | None, float | None, float]:
    """One-sided lower and upper bounds for the q-quantile (None where none exists), and the effective n."""
    ordered = sorted(value for group in groups for value in group)
    effective = effective_n(groups, q)
    worth, n = math.floor(effective), len(ordered)
    low = order_statistics.lower_rank(worth, q, confidence)
    high = order_statistics.upper_rank(worth, q, confidence)
    return (
        None if low is None else ordered[max(1, math.floor(low / worth * n)) - 1],
        None if high is None else ordered[min(n, math.ceil(high / worth * n)) - 1],
        effective,
    )
