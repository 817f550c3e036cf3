"""How much more a right answer costs one model than another: (Σcost/Σright) of the one by that of the other.

Paired by item: both totals of both sides are sums over the same items, and what makes an item long or hard is the same
on both sides. The interval is the delta method's on the log scale (Cochran, Sampling Techniques, 3rd ed., section 6.4,
applied to four means at once): the log of the ratio is a sum of logs of means, and an item's part in it
x_a/x̄_a − y_a/ȳ_a − x_b/x̄_b + y_b/ȳ_b, whose standard error over items has Student's quantile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.stats import arguments

Pairs = Sequence[tuple[float, float]]
"""By item: cost and right answers, both 0 or more."""


@dataclass(frozen=True)
class RatioOfRatios:
    """``estimate``, above 0, with ``error`` standard errors of its logarithm, from ``n`` items."""

    estimate: float
    error: float
    n: int

    def bounds(self, level: float) -> tuple[float, float]:
        """Two one-sided bounds, each at ``level`` (0.95): with both, the interval holds 2 × level − 1."""
        from scipy.special import stdtrit

        arguments.inside("level", level, 0.0, 1.0)
        width = math.exp(float(stdtrit(self.n - 1, level)) * self.error)
        return self.estimate / width, self.estimate * width


def ratio_of_ratios(ours: Pairs, theirs: Pairs | None = None) -> RatioOfRatios:
    """Cost by right answer; with ``theirs``, of the same items in the same order, by theirs.

    ``ValueError`` for fewer than two items, unequal lengths, a negative value, or a total that is 0.
    """
    sides = [ours] if theirs is None else [ours, theirs]
    n = len(ours)
    if n < 2 or any(len(side) != n for side in sides):
        raise ValueError(f"{[len(side) for side in sides]} items; need the same number, two or more")
    if any(
        not (math.isfinite(x) and math.isfinite(y) and x >= 0 and y >= 0) for side in sides for x, y in side
    ):
        raise ValueError("a cost or a count is negative or not finite")
    estimates, parts = [], [0.0] * n
    for side, sign in zip(sides, (n, -n), strict=False):
        cost, right = math.fsum(x for x, _ in side), math.fsum(y for _, y in side)
        if cost <= 0.0 or right <= 0.0:
            raise ValueError("nothing was spent, or nothing is right, on one side")
        estimates.append(cost / right)
        parts = [part + sign * (x / cost - y / right) for part, (x, y) in zip(parts, side, strict=True)]
    # The parts of each side sum to 0, so that their mean square is their variance.
    error = math.sqrt(math.fsum(part * part for part in parts) / (n - 1) / n)
    return RatioOfRatios(estimates[0] / (estimates[1] if theirs is not None else 1.0), error, n)
