"""The ratio of two sums over independent pieces, as the log of a perplexity is: all log probabilities over all tokens.

Long documents weigh more, as their tokens do, and the document is the sample: tokens of one text depend on each other.
The interval is the delta method's for a ratio estimator (Cochran, Sampling Techniques, 3rd ed., section 6.4) with
Student's quantile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.stats import arguments


@dataclass(frozen=True)
class RatioOfSums:
    """``estimate`` ± ``error`` standard errors, from ``n`` pieces."""

    estimate: float
    error: float
    n: int

    def bounds(self, level: float) -> tuple[float, float]:
        """Two one-sided bounds, each at ``level`` (0.95): with both, the interval holds 2 × level − 1."""
        from scipy import stats

        arguments.inside("level", level, 0.0, 1.0)
        width = float(stats.t.ppf(level, self.n - 1)) * self.error
        return self.estimate - width, self.estimate + width


def ratio_of_sums(over: Sequence[float], under: Sequence[float]) -> RatioOfSums:
    """Sum of ``over`` by sum of ``under``, piece by piece in the same order.

    ``ValueError`` for fewer than two pieces, unequal lengths, or a piece of ``under`` that is not above zero.
    """
    n = len(over)
    if n != len(under) or n < 2:
        raise ValueError(f"{n} and {len(under)} pieces; need the same number, two or more")
    if min(under) <= 0.0:
        raise ValueError(f"a piece weighs {min(under):g}; need more than zero")
    total = math.fsum(under)
    estimate = math.fsum(over) / total
    squares = math.fsum((a - estimate * b) ** 2 for a, b in zip(over, under, strict=True))
    return RatioOfSums(estimate, math.sqrt(squares * n / (n - 1)) / total, n)
