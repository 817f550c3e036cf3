"""The difference of two proportions measured on the same items: Tango's score interval, McNemar's exact test.

Of n items, ``gained`` are right for the candidate only and ``lost`` for the baseline only; the estimate is
(gained − lost) / n and the items on which both agree only count in n.
"""

from __future__ import annotations

import math

from pytest_llmperf.stats import arguments
from pytest_llmperf.stats.binomial import p_at_least


def tango_z(gained: int, lost: int, n: int, difference: float) -> float:
    """Score statistic of the hypothesis that the true difference is ``difference``; falls as it rises.

    Tango (1998), Statistics in Medicine 17, 891, equations 12–14: the variance is taken at the restricted
    maximum of the likelihood, which is what keeps its size where a Wald test has 10 % instead of 5 %.
    """
    _counts(gained, lost, n)
    return unchecked_tango_z(gained, lost, n, arguments.inside("difference", difference, -1.0, 1.0))


def unchecked_tango_z(gained: int, lost: int, n: int, difference: float) -> float:
    """:func:`tango_z` of arguments that were checked before: for loops over all outcomes."""
    score = gained - lost - n * difference
    variance = n * null_variance(gained / n, lost / n, difference)
    if variance <= 0.0:
        return 0.0 if score == 0.0 else math.copysign(math.inf, score)
    return score / math.sqrt(variance)


def null_variance(gained: float, lost: float, difference: float) -> float:
    """Variance of one item's difference if the true difference is ``difference``, given the observed shares.

    ``gained`` and ``lost`` are shares of the items. The discordance is the most likely one under the
    hypothesis.
    """
    if difference < 0.0:  # below, the closed form is stable for a positive one only
        return null_variance(lost, gained, -difference)
    b = -(gained + lost) + (2.0 - gained + lost) * difference
    c = -lost * difference * (1.0 - difference)
    root = math.sqrt(max(0.0, b * b - 8.0 * c))
    # the larger root of 2q² + bq + c, without subtracting two nearly equal numbers
    most_likely_lost = (root - b) / 4.0 if b <= 0.0 else -2.0 * c / (root + b)
    return 2.0 * most_likely_lost + difference * (1.0 - difference)


def tango_lower_at(gained: int, lost: int, n: int, z: float) -> float:
    """One-sided lower bound for the difference candidate − baseline, in −1…1; ``z`` is the critical value."""
    _counts(gained, lost, n)
    if lost == n:
        return -1.0
    low, high = -1.0, (gained - lost) / n
    for _ in range(60):
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        if tango_z(gained, lost, n, middle) > z:
            low = middle
        else:
            high = middle
    return low


def tango_upper_at(gained: int, lost: int, n: int, z: float) -> float:
    """The mirror image of :func:`tango_lower_at`."""
    return -tango_lower_at(lost, gained, n, z)


def mcnemar_p_worse(gained: int, lost: int) -> float:
    """Exact one-sided p-value for "the candidate is worse": P(Binomial(gained + lost, ½) >= lost).

    McNemar (1947), Psychometrika 12, 153, with the exact binomial tail. 1 when no item was answered
    differently.
    """
    _counts(gained, lost, gained + lost or 1)
    return p_at_least(lost, gained + lost, 0.5) if gained + lost else 1.0


def _counts(gained: int, lost: int, n: int) -> None:
    for name, value in (("gained", gained), ("lost", lost), ("n", n)):
        if value != int(value) or value < 0:
            raise ValueError(f"{name} is {value}, a whole number of items is needed")
    if n < 1 or gained + lost > n:
        raise ValueError(f"gained = {gained} and lost = {lost} do not fit into n = {n} items")
