"""What items that were not seen may be like, where nearly all that were seen are alike.

An interval made of the spread of the data has hardly any width where there is hardly any spread: thirty right answers
of thirty would prove that every answer is right. But of items that are unlike the rest, ``unlike`` of ``n`` seen, the
source can hold a share up to the bound of Clopper and Pearson, which for none is about ln(1/α)/n (at α = 5 % the "rule
of three", Hanley and Lippman-Hand, JAMA 249, 1983); and those that were not seen can be as low, or as high, as a value
can be. From ten such items on the spread speaks for itself, as for any normal approximation of a share.
"""

from __future__ import annotations

from pytest_llmperf.stats.binomial import clopper_pearson_upper

ENOUGH = 10
"""Items unlike the rest, from which on an interval needs no help."""


def widened(
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
    """Two one-sided bounds at ``level`` (0.95) of a mean of ``n`` values between ``least`` and ``most``, moved out to
    where unseen items of the lowest or the highest kind would put it; as they are where they lie further out, or
    where ``ENOUGH`` items are unlike the rest.

    Raises ``ValueError`` unless 0 <= unlike <= n, n >= 1 and 0.5 < level < 1.
    """
    if unlike >= ENOUGH:
        return low, high
    unseen = clopper_pearson_upper(unlike, n, level) - unlike / n
    return (
        min(low, estimate - unseen * max(0.0, estimate - least)),
        max(high, estimate + unseen * max(0.0, most - estimate)),
    )
