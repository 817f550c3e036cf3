"""Bounds for a proportion: Wilson's score interval and the exact one of Clopper and Pearson.

Which one a gate should use was settled by enumerating every outcome for n = 50…1319 at floors 0.5…0.95: with
the one-sided 95 % Wilson bound a model *at* the floor is called too low in up to 9.4 % of runs (8.2 % with the
exact bound below ten successes or failures), with Clopper and Pearson in at most 5.0 %. The price of the exact
bound is half an item, so the gates decide by it; Wilson is here because other tools and tables are stated in it.

``successes`` and ``n`` may be fractional: the clustered estimate passes effective counts.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from pytest_llmperf.stats import arguments


def z_of(confidence: float) -> float:
    """Standard normal quantile of a one-sided ``confidence`` (0.95 → 1.645)."""
    return NormalDist().inv_cdf(arguments.inside("confidence", confidence, 0.0, 1.0))


def wilson_lower(successes: float, n: float, confidence: float = 0.95) -> float:
    """One-sided lower bound for a proportion, by inverting the score test.

    Wilson (1927), JASA 22, 209. 0 exactly when there is no success.
    """
    k, total = arguments.successes_of(successes, n)
    return _wilson(k, total, -z_of(confidence)) if k > 0 else 0.0


def wilson_upper(successes: float, n: float, confidence: float = 0.95) -> float:
    """One-sided upper bound, the mirror image of :func:`wilson_lower`."""
    k, total = arguments.successes_of(successes, n)
    return 1.0 - wilson_lower(total - k, total, confidence)


def _wilson(k: float, n: float, z: float) -> float:
    p = k / n
    half = z * math.sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n))
    return min(1.0, max(0.0, (p + z * z / (2.0 * n) + half) / (1.0 + z * z / n)))


def clopper_pearson_lower(successes: float, n: float, confidence: float = 0.95) -> float:
    """Exact one-sided lower bound: the p at which ``successes`` or more has probability 1 − confidence.

    Clopper and Pearson (1934), Biometrika 26, 404, in the beta form (Brown, Cai, DasGupta 2001). Covers with
    at least the stated confidence for every n and p.
    """
    from scipy.special import betaincinv

    k, total = arguments.successes_of(successes, n)
    level = arguments.inside("confidence", confidence, 0.0, 1.0)
    return 0.0 if k <= 0 else float(betaincinv(k, total - k + 1.0, 1.0 - level))


def clopper_pearson_upper(successes: float, n: float, confidence: float = 0.95) -> float:
    """Exact one-sided upper bound, the mirror image of :func:`clopper_pearson_lower`."""
    k, total = arguments.successes_of(successes, n)
    return 1.0 - clopper_pearson_lower(total - k, total, confidence)


def clopper_pearson_interval(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval with equal tails and coverage of at least ``confidence``."""
    one_sided = 0.5 + arguments.inside("confidence", confidence, 0.0, 1.0) / 2.0
    return clopper_pearson_lower(successes, n, one_sided), clopper_pearson_upper(successes, n, one_sided)


def p_at_most(successes: float, n: float, share: float) -> float:
    """P(as few successes or fewer) when the true share is ``share``: small speaks for a lower truth.

    The binomial distribution function by the incomplete beta function, so that fractional counts are allowed
    and ``p_at_most(k, n, s) < 1 − confidence`` exactly when ``clopper_pearson_upper(k, n, confidence) < s``.
    """
    from scipy.special import betainc

    k, total = arguments.successes_of(successes, n)
    p = arguments.share("share", share)
    return 1.0 if k >= total else float(betainc(total - k, k + 1.0, 1.0 - p))


def p_at_least(successes: float, n: float, share: float) -> float:
    """P(as many successes or more) when the true share is ``share``."""
    k, total = arguments.successes_of(successes, n)
    return p_at_most(total - k, total, 1.0 - arguments.share("share", share))


ENOUGH_UNLIKE = 10
"""Items unlike the rest, from which on an interval needs no help."""


def widen_for_unseen(
    low: float,
    high: float,
    *,
    estimate: float,
    unlike: int,
    n: int,
    level: float,
    least: float,
    most: float,
) -> tuple[float, float]:
    """Move two one-sided bounds at ``level`` (0.95) of a mean of ``n`` values out to where unseen items could put it.

    An interval made of the spread of the data has hardly any width where nearly all items are alike: thirty right
    answers of thirty would prove that every answer is right. But of items that are unlike the rest, ``unlike`` of
    ``n`` seen, the source can hold a share up to the bound of Clopper and Pearson, which for none is about ln(1/α)/n
    (at α = 5 % the "rule of three", Hanley and Lippman-Hand, JAMA 249, 1983); and those that were not seen can be as
    low as ``least``, or as high as ``most``. From ``ENOUGH_UNLIKE`` such items on the spread speaks for itself, as
    for any normal approximation of a share.

    Raises ``ValueError`` unless 0 <= unlike <= n, n >= 1 and 0.5 < level < 1.
    """
    if unlike >= ENOUGH_UNLIKE:
        return low, high
    unseen = clopper_pearson_upper(unlike, n, level) - unlike / n
    return (
        min(low, estimate - unseen * max(0.0, estimate - least)),
        max(high, estimate + unseen * max(0.0, most - estimate)),
    )
