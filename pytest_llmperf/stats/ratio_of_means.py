"""A ratio of two totals over the same items: tokens per correct answer, seconds per correct answer.

The mean of each item's own ratio would not do: an item that was answered wrong has no tokens per correct answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.stats import arguments


@dataclass(frozen=True)
class RatioOfMeans:
    """``value`` with its two-sided interval ``low`` to ``high``, from ``n`` items."""

    value: float
    low: float
    high: float
    n: int


def ratio_of_means(pairs: Sequence[tuple[float, float]], confidence: float = 0.95) -> RatioOfMeans | None:
    """Σx / Σy over items with (x, y), both 0 or more; None where no y is above 0, or there is one item only.

    The interval is the delta method's on the log scale, which keeps it above 0: the variance of ln(Σx/Σy) is
    s²(x − R·y) / (n·x̄²) with the observed ratio R (Cochran 1977, "Sampling Techniques", section 6.4), taken with
    Student's t of n − 1. An item with several answers is one pair, of its sums: items are the sample.
    """
    from scipy.special import stdtrit

    level = arguments.inside("confidence", confidence, 0.0, 1.0)
    n = len(pairs)
    if any(not (math.isfinite(x) and math.isfinite(y) and x >= 0 and y >= 0) for x, y in pairs):
        raise ValueError("a total is negative or not finite")
    above, below = math.fsum(x for x, _ in pairs), math.fsum(y for _, y in pairs)
    if n < 2 or below <= 0.0 or above <= 0.0:
        return None
    ratio = above / below
    rest = math.fsum((x - ratio * y) ** 2 for x, y in pairs) / (n - 1)
    error = math.sqrt(rest / n) / (above / n)
    half = float(stdtrit(n - 1, 0.5 + level / 2.0)) * error
    return RatioOfMeans(ratio, ratio * math.exp(-half), ratio * math.exp(half), n)
