"""A ratio of two totals over the same items: tokens per correct answer, seconds per correct answer.

The mean of each item's own ratio would not do: an item that was answered wrong has no tokens per correct answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.stats import arguments
from pytest_llmperf.stats.ratio_of_ratios import ratio_of_ratios


@dataclass(frozen=True)
class RatioOfMeans:
    """``value`` with its two-sided interval ``low`` to ``high``, from ``n`` items."""

    value: float
    low: float
    high: float
    n: int


def ratio_of_means(pairs: Sequence[tuple[float, float]], confidence: float = 0.95) -> RatioOfMeans | None:
    """Σx / Σy over items with (x, y), both 0 or more; None where no y is above 0, or there is one item only.

    The interval is that of :func:`~pytest_llmperf.stats.ratio_of_ratios.ratio_of_ratios` with one side, which stays
    above 0. An item with several answers is one pair, of its sums: items are the sample.
    """
    level = arguments.inside("confidence", confidence, 0.0, 1.0)
    if any(not (math.isfinite(x) and math.isfinite(y) and x >= 0 and y >= 0) for x, y in pairs):
        raise ValueError("a total is negative or not finite")
    if len(pairs) < 2 or not all(math.fsum(side) > 0.0 for side in zip(*pairs, strict=True)):
        return None
    found = ratio_of_ratios(pairs)
    low, high = found.bounds(0.5 + level / 2.0)
    return RatioOfMeans(found.estimate, low, high, found.n)
