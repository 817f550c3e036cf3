"""Several looks at growing data: the level of each, so that all of them together err as often as one would.

The error that is spent by a look grows with the share of the data that it has seen, to the power ρ (Lan and DeMets
1983, Biometrika 70, 659; Kim and DeMets 1987, Biometrika 74, 149). Its level follows from the sums of independent
normal increments, integrated look by look (Armitage, McPherson and Rowe 1969, Journal of the Royal Statistical Society
A 132, 235): data that are looked at twice are mostly the same, so that the levels add up to more than the error, and
the last look keeps more than half of it.

A bound taken at the level of its look belongs to a repeated confidence interval: the intervals of all looks together
miss the truth on one side with probability ``alpha`` at most (Jennison and Turnbull 1989, Journal of the Royal
Statistical Society B 51, 305).
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import Any

from pytest_llmperf.stats import arguments
from pytest_llmperf.stats.binomial import z_of

_GRID = 600
_FAR = 8.0
"""Standard deviations beyond which nothing is integrated."""


@lru_cache(maxsize=256)
def levels(sizes: tuple[int, ...], alpha: float, rho: float = 1.0) -> tuple[float, ...]:
    """One-sided level of a test after each of ``sizes`` data (ascending), all looks together erring in ``alpha``.

    The level of the first is the error that it spends; that of a single look is ``alpha``. The greater ``rho``, the
    less is spent by early looks and the more power the last one keeps. ``ValueError`` for sizes that do not ascend from
    1 or more.
    """
    import numpy as np
    from numpy.typing import NDArray
    from scipy.special import ndtr

    def integral(values: NDArray[np.float64], grid: NDArray[np.float64]) -> Any:
        """By the trapezoidal rule along the last axis; the grid is even."""
        return (values.sum(axis=-1) - (values[..., 0] + values[..., -1]) / 2.0) * (grid[1] - grid[0])

    arguments.inside("alpha", alpha, 0.0, 0.5)
    if not sizes or sizes[0] < 1 or any(b <= a for a, b in pairwise(sizes)):
        raise ValueError(f"sizes are {sizes}, ascending numbers from 1 on are needed")
    times = [size / sizes[-1] for size in sizes]
    spending = [alpha * time**rho for time in times]
    bounds = [z_of(1.0 - spending[0]) * math.sqrt(times[0])]
    found = [spending[0]]
    grid = density = np.empty(0)
    for look, (before, now) in enumerate(pairwise(times)):
        # The sums that have crossed no bound so far, with their density.
        inside = np.linspace(-_FAR * math.sqrt(before), bounds[-1], _GRID)
        if len(bounds) == 1:
            density = np.exp(-(inside**2) / (2.0 * before)) / math.sqrt(2.0 * math.pi * before)
        else:
            step = before - times[len(bounds) - 2]
            kernel = np.exp(-((inside[:, None] - grid[None, :]) ** 2) / (2.0 * step))
            density = integral(kernel * density, grid) / math.sqrt(2.0 * math.pi * step)
        grid, spread, spent = inside, math.sqrt(now - before), spending[look + 1] - spending[look]
        low, high = -_FAR, _FAR
        for _ in range(48):
            bound = (low + high) / 2.0
            crossing = float(integral(density * ndtr((grid - bound) / spread), grid))
            low, high = (bound, high) if crossing > spent else (low, bound)
        bounds.append(high)
        found.append(float(ndtr(-high / math.sqrt(now))))
    return tuple(found)


def p_value(p: float, look: int, sizes: tuple[int, ...], alpha: float, rho: float = 1.0) -> float:
    """The p-value of a look (from 0) as one of all looks, from the ``p`` of its test alone.

    A decision counts as the more extreme the sooner it falls (Tsiatis, Rosner and Mehta 1984, Biometrics 40, 797): the
    error that the looks before have spent is added to ``p``. At most ``alpha`` exactly where ``p`` is at most the level
    of its look; of one above it, the looks are weighted by their levels (Bonferroni's inequality).
    """
    each = levels(sizes, alpha, rho)
    if p > each[look]:
        return min(1.0, p * math.fsum(each) / each[look])
    spent = alpha * (sizes[look - 1] / sizes[-1]) ** rho if look else 0.0
    return min(spent + p, alpha)
