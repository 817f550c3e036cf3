"""Noise that outlasts a round: rounds that resemble their neighbours are worth fewer than they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from pytest_llmperf.stats import arguments

MOST = 0.9
"""Correlation beyond which nothing can be concluded from some dozens of values: their mean is worth two or three."""


def lag_one(values: Sequence[float]) -> float:
    """Correlation of each value with the next, around the median, less its bias.

    The usual estimate is too low by (1 + 4ρ)/n in the mean (Marriott and Pope 1954, Biometrika 41, 390). 0 for
    constant values and for fewer than three.
    """
    n = len(values)
    if n < 3:
        return 0.0
    centre = median(arguments.samples_of(values))
    gaps = [value - centre for value in values]
    total = math.fsum(gap * gap for gap in gaps)
    if total == 0.0:
        return 0.0
    seen = math.fsum(a * b for a, b in pairwise(gaps)) / total
    return max(-1.0, min(1.0, seen + (1.0 + 4.0 * seen) / n))


def widening(values: Sequence[float]) -> float:
    """Factor on the width of an interval for the centre of ``values``: that of a first-order autoregression.

    The variance of its mean is (1 + ρ)/(1 − ρ) times that of independent values (Bartlett 1946, Supplement to the
    Journal of the Royal Statistical Society 8, 27). Never below 1: values that alternate are not taken for more.
    """
    rho = min(MOST, max(0.0, lag_one(values)))
    return math.sqrt((1.0 + rho) / (1.0 - rho))
