"""Noise that outlasts a round: rounds that resemble their neighbours are worth fewer than they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from pytest_llmperf.stats import arguments

MOST = 0.9
"""Correlation beyond which nothing can be concluded from some dozens of values: their mean is worth two or three."""


def lag_one(runs: Sequence[Sequence[float]]) -> float:
    """Correlation of each value with the next in its run, around the run's median, less its bias.

    The usual estimate is too low by (1 + 4ρ)/n in the mean (Marriott and Pope 1954, Biometrika 41, 390); ``n`` is that
    of a run of the mean length. 0 for constant values and for fewer than three.
    """
    runs = [run for run in runs if len(run) >= 3]
    if not runs:
        return 0.0
    gaps: list[list[float]] = []
    for run in runs:
        centre = median(arguments.samples_of(run))
        gaps.append([value - centre for value in run])
    total = math.fsum(gap * gap for run in gaps for gap in run)
    if total == 0.0:
        return 0.0
    seen = math.fsum(a * b for run in gaps for a, b in pairwise(run)) / total
    n = sum(map(len, runs)) / len(runs)
    return max(-1.0, min(1.0, seen + (1.0 + 4.0 * seen) / n))


def widening(runs: Sequence[Sequence[float]]) -> float:
    """Factor on the width of an interval for the centre of all values: that of a first-order autoregression.

    The variance of its mean is (1 + ρ)/(1 − ρ) times that of independent values (Bartlett 1946, Supplement to the
    Journal of the Royal Statistical Society 8, 27). Never below 1: values that alternate are not taken for more.
    """
    rho = min(MOST, max(0.0, lag_one(runs)))
    return math.sqrt((1.0 + rho) / (1.0 - rho))


def expected_widenings(n: int, parts: int = 8) -> list[float]:
    """Factors of :func:`widening` for one run of ``n`` independent values, at the middles of ``parts`` equal shares.

    The estimate of a correlation that is 0 is nearly normal with deviation 1/√n (Bartlett 1946), times 1 + 4/n as
    :func:`lag_one` takes its bias away.
    """
    from scipy.special import ndtri

    deviation = (1.0 + 4.0 / n) / math.sqrt(n)
    shares = [(index + 0.5) / parts for index in range(parts)]
    correlations = [min(MOST, max(0.0, deviation * float(ndtri(share)))) for share in shares]
    return [math.sqrt((1.0 + rho) / (1.0 - rho)) for rho in correlations]
