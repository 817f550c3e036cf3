"""The mean over items that were each sampled several times: the items are the sample, not the answers.

Four answers to one item tell less than answers to four items; an interval that counts them as independent is
too narrow (Miller 2024, "Adding error bars to evals", section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.stats import arguments


@dataclass(frozen=True)
class ClusteredMean:
    """A mean over items, each item with equal weight.

    ``variance`` is that of ``mean``, between items; ``effective_n`` is the number of independent answers that
    would give the same variance (for shares: between 1 and the number of answers).
    """

    mean: float
    variance: float
    items: int
    answers: int
    effective_n: float


def clustered_mean(scores: Sequence[Sequence[float]]) -> ClusteredMean:
    """Mean of the item means and its variance s²/m over m items.

    ``scores`` holds, for each item, its one or more scores in 0…1. The effective n is p(1−p)/variance,
    reduced by (t₍m−1₎/z)² at 95 % because the variance itself is estimated from m items, and never more than
    the answers (Korn and Graubard 1998, Survey Methodology 24, 193). Where the items do not differ at all
    (all right, or all equally often) the data say nothing about how answers cluster, and the number of items
    is taken.
    """
    if not scores:
        raise ValueError("no items were given, at least one is needed")
    means: list[float] = []
    for item in scores:
        values = [arguments.share("score", score) for score in arguments.samples_of(item)]
        means.append(math.fsum(values) / len(values))
    items, answers = len(means), sum(len(item) for item in scores)
    mean = min(1.0, max(0.0, math.fsum(means) / items))
    if items == 1:
        return ClusteredMean(mean, mean * (1.0 - mean), 1, answers, 1.0)
    variance = math.fsum((value - mean) ** 2 for value in means) / (items - 1) / items
    if answers == items or variance <= 1e-15 or not 0.0 < mean < 1.0:
        return ClusteredMean(mean, variance, items, answers, float(items))
    effective = mean * (1.0 - mean) / variance / estimated_variance_penalty(items)
    return ClusteredMean(mean, variance, items, answers, min(float(answers), max(1.0, effective)))


def estimated_variance_penalty(items: int) -> float:
    """Factor by which an effective n shrinks when its variance comes from so few items: (t/z)² at 95 %."""
    from scipy.special import ndtri, stdtrit

    return float((stdtrit(items - 1, 0.975) / ndtri(0.975)) ** 2)
