"""Bounds for a quantile from the ordered samples alone: no assumption about the distribution.

The number of samples at or below the true q-quantile is Binomial(n, q), so a suitable order statistic bounds
it (David and Nagaraja 2003, Order Statistics, section 7.1). The samples must be independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_llmperf.stats import arguments
from pytest_llmperf.stats.binomial import p_at_most


def least_n_upper(q: float, confidence: float = 0.95) -> int:
    """Fewest samples whose maximum is an upper bound: 1 − q^n >= confidence (59 for p95, 299 for p99)."""
    quantile = arguments.inside("q", q, 0.0, 1.0)
    level = arguments.inside("confidence", confidence, 0.0, 1.0)
    n = max(1, math.floor(math.log1p(-level) / math.log(quantile)))
    while 1.0 - quantile**n < level:
        n += 1
    return n


def least_n_lower(q: float, confidence: float = 0.95) -> int:
    """Fewest samples whose minimum is a lower bound for the q-quantile."""
    return least_n_upper(1.0 - arguments.inside("q", q, 0.0, 1.0), confidence)


def least_n(q: float, confidence: float = 0.95) -> int:
    """Fewest samples that have both bounds, so that a budget can be met *and* missed."""
    return max(least_n_upper(q, confidence), least_n_lower(q, confidence))


def upper_rank(n: int, q: float, confidence: float = 0.95) -> int | None:
    """Smallest rank r (1 = the minimum) with P(x₍r₎ >= q-quantile) >= confidence; None when n is too
    small.
    """
    quantile = arguments.inside("q", q, 0.0, 1.0)
    level = arguments.inside("confidence", confidence, 0.0, 1.0)
    if n < 1 or n < least_n_upper(quantile, level):
        return None
    low, high = 1, n
    while low < high:
        middle = (low + high) // 2
        if p_at_most(middle - 1, n, quantile) >= level:
            high = middle
        else:
            low = middle + 1
    return low


def lower_rank(n: int, q: float, confidence: float = 0.95) -> int | None:
    """Largest rank r with P(x₍r₎ <= q-quantile) >= confidence; None when n is too small."""
    mirrored = upper_rank(n, 1.0 - arguments.inside("q", q, 0.0, 1.0), confidence)
    return None if mirrored is None else n + 1 - mirrored


def quantile(samples: Sequence[float], q: float) -> float:
    """The empirical q-quantile: the smallest sample with at least a share q at or below it.

    An observed value, never an interpolated one: a p99 that no request had misleads.
    """
    return quantile_of_ordered(sorted(arguments.samples_of(samples)), q)


def quantile_of_ordered(ordered: Sequence[float], q: float) -> float:
    """:func:`quantile` of finite samples in ascending order, at least one: for who asks for several of the same."""
    level = arguments.inside("q", q, 0.0, 1.0)
    return ordered[max(1, math.ceil(level * len(ordered) - 1e-9)) - 1]


def bounds(samples: Sequence[float], q: float, confidence: float = 0.95) -> tuple[float | None, float | None]:
    """One-sided lower and upper bounds for the q-quantile; None where there are too few samples for one."""
    ordered = sorted(arguments.samples_of(samples))
    low, high = lower_rank(len(ordered), q, confidence), upper_rank(len(ordered), q, confidence)
    return (
        None if low is None else ordered[low - 1],
        None if high is None else ordered[high - 1],
    )
