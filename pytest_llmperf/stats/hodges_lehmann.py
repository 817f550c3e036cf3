"""The centre of paired differences, with the interval that belongs to Wilcoxon's signed-rank test.

Hodges and Lehmann (1963), Annals of Mathematical Statistics 34, 598; the interval is Tukey's (Hollander,
Wolfe, Chicken 2014, section 3.3). It asks only that the differences be symmetric about their centre, so one
slow round in twenty moves it little, where a mean or a t-interval follows the outlier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from pytest_llmperf.stats import arguments
from pytest_llmperf.stats.binomial import z_of

EXACT_UP_TO = 50
"""The null distribution is enumerated up to here; above, the normal approximation errs by less than
0.0003.
"""
MOST = 2_000
"""Two million averages a call; more rounds than this are better grouped before they come here."""


def walsh_averages(differences: Sequence[float]) -> list[float]:
    """All n(n+1)/2 averages of two (or one and the same) differences, in ascending order."""
    values = arguments.samples_of(differences)
    if len(values) > MOST:
        raise ValueError(f"{len(values)} differences were given, at most {MOST} are taken: group them first")
    # halves are added, so that two huge values do not overflow
    halves = [value / 2.0 for value in values]
    return sorted(a + b for i, a in enumerate(halves) for b in halves[i:])


def estimate(differences: Sequence[float]) -> float:
    """Hodges–Lehmann estimate: the median of the Walsh averages, in the unit of the differences."""
    return _median(walsh_averages(differences))


def with_error(differences: Sequence[float]) -> tuple[float, float]:
    """The estimate, and half of its 90 % interval in units of a normal deviate: its standard error.

    Raises ``ValueError`` with fewer than :func:`least_n` differences.
    """
    low, high = bounds(differences, 0.95)
    return estimate(differences), (high - low) / 2.0 / z_of(0.95)


def bounds(differences: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """One-sided lower and upper bounds, each with ``confidence``, in the unit of the differences.

    Raises ``ValueError`` with fewer than :func:`least_n` differences: no bound of that confidence exists
    then.
    """
    n = len(differences)
    rank = critical_rank(n, confidence)
    if rank < 1:
        raise ValueError(
            f"{n} differences were given, a {confidence:.0%} bound needs at least {least_n(confidence)}"
        )
    walsh = walsh_averages(differences)
    return walsh[rank - 1], walsh[-rank]


def least_n(confidence: float = 0.95) -> int:
    """The fewest differences that give a bound of this confidence: 2^−n <= 1 − confidence (5 for 0.95)."""
    level = arguments.inside("confidence", confidence, 0.0, 1.0)
    n = 1
    while critical_rank(n, level) < 1:
        n += 1
    return n


def critical_rank(n: int, confidence: float) -> int:
    """Rank of the Walsh average that is the lower bound (1 = the smallest); 0 when there is none."""
    alpha = 1.0 - arguments.inside("confidence", confidence, 0.0, 1.0)
    if n < 1:
        return 0
    if n > EXACT_UP_TO:
        mean, deviation = _moments(n)
        return max(0, math.floor(mean - z_of(confidence) * deviation - 0.5) + 1)
    allowed, below, rank = alpha * 2.0**n * (1.0 + 1e-12), 0, 0
    for count in _null_counts(n):
        below += count
        if below > allowed:
            break
        rank += 1
    return rank


def p_greater(differences: Sequence[float], centre: float) -> float:
    """One-sided p-value for "the centre of the differences is above ``centre``".

    Signed-rank test; differences equal to ``centre`` count against the claim, which is conservative.
    """
    middle = arguments.finite("centre", centre)
    walsh = walsh_averages(differences)
    above = sum(1 for average in walsh if average > middle)
    return _tail(len(differences), len(walsh) - above)


def p_less(differences: Sequence[float], centre: float) -> float:
    """One-sided p-value for "the centre of the differences is below ``centre``"."""
    return p_greater([-value for value in differences], -centre)


def _tail(n: int, at_most: int) -> float:
    """P(signed-rank statistic <= ``at_most``) when the centre is zero."""
    if n > EXACT_UP_TO:
        mean, deviation = _moments(n)
        return 0.5 * math.erfc((mean - at_most - 0.5) / deviation / math.sqrt(2.0))
    return min(1.0, sum(_null_counts(n)[: at_most + 1]) / 2.0**n)


def _moments(n: int) -> tuple[float, float]:
    return n * (n + 1) / 4.0, math.sqrt(n * (n + 1) * (2 * n + 1) / 24.0)


@lru_cache(maxsize=64)
def _null_counts(n: int) -> tuple[int, ...]:
    """The number of the 2^n sign patterns that give each value 0…n(n+1)/2 of the signed-rank statistic."""
    counts = [1]
    for rank in range(1, n + 1):
        shifted = [0] * rank + counts
        counts = [a + b for a, b in zip(counts + [0] * rank, shifted, strict=True)]
    return tuple(counts)


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return ordered[middle - 1] / 2.0 + ordered[middle] / 2.0
