"""Ratios of totals over the same items, with the interval of the delta method (Cochran, Sampling Techniques, 3rd ed.,
section 6.4) or the jackknife, and Student's quantile.

* ratio of sums: the log of a perplexity is all log probabilities over all tokens. Long documents weigh more, as their
  tokens do, and the document is the sample, since tokens of one text depend on each other.
* ratio of means: tokens per correct answer, seconds per correct answer. The mean of each item's own ratio would not do:
  a wrong answer has no tokens per correct answer.
* ratio of ratios: how much more a correct answer costs one model than another, paired by item: what makes an item long
  or hard is the same on both sides. On the log scale, where an item's part is
  x_a/x̄_a − y_a/ȳ_a − x_b/x̄_b + y_b/ȳ_b.
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


@dataclass(frozen=True)
class RatioOfMeans:
    """``value`` with its two-sided interval ``low`` to ``high``, from ``n`` items."""

    value: float
    low: float
    high: float
    n: int


def ratio_of_means(pairs: Sequence[tuple[float, float]], confidence: float = 0.95) -> RatioOfMeans | None:
    """Σx / Σy over items with (x, y), both 0 or more; None where no y is above 0, or there is one item only.

    The interval is that of :func:`ratio_of_ratios` with one side, which stays
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


@dataclass(frozen=True)
class RatioOfSums:
    """``estimate`` ± ``error`` standard errors, from ``n`` pieces that weigh as much as ``effective`` equal ones.

    ``skewness`` is that of the estimate: the pieces', by the root of their number.
    """

    estimate: float
    error: float
    n: int
    effective: float
    skewness: float

    def bounds(self, level: float) -> tuple[float, float]:
        """Two one-sided bounds, each at ``level`` (0.95): with both, the interval holds 2 × level − 1.

        Student's t with one degree of freedom less than effective pieces, and on the side to which the pieces are
        skewed further out by the first term of Edgeworth's expansion (Hall 1992, JRSS B 54, 221); never further in.
        """
        from scipy.special import stdtrit

        arguments.inside("level", level, 0.0, 1.0)
        t = float(stdtrit(max(1.0, self.effective - 1.0), level))
        further = self.skewness / 6.0 * (1.0 + 2.0 * t * t)
        below, above = t + max(0.0, -further), t + max(0.0, further)
        return self.estimate - below * self.error, self.estimate + above * self.error


def ratio_of_sums(over: Sequence[float], under: Sequence[float]) -> RatioOfSums:
    """Sum of ``over`` by sum of ``under``, piece by piece in the same order; its error is the jackknife's.

    ``ValueError`` for fewer than two pieces, unequal lengths, or a piece of ``under`` that is not above zero.
    """
    n = len(over)
    if n != len(under) or n < 2:
        raise ValueError(f"{n} and {len(under)} pieces; need the same number, two or more")
    if min(under) <= 0.0:
        raise ValueError(f"a piece weighs {min(under):g}; need more than zero")
    total = math.fsum(under)
    estimate = math.fsum(over) / total
    # How far each piece pulls the estimate from that of the others.
    pulls = [(a - estimate * b) / (total - b) for a, b in zip(over, under, strict=True)]
    squares = math.fsum(pull**2 for pull in pulls)
    return RatioOfSums(
        estimate,
        math.sqrt(squares * (n - 1) / n),
        n,
        total**2 / math.fsum(b * b for b in under),
        math.fsum(pull**3 for pull in pulls) / squares**1.5 if squares > 0.0 else 0.0,
    )
