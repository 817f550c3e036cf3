"""Change points of the level of a series: PELT on its mean, from the library ruptures.

Killick, Fearnhead & Eckley 2012, J. Am. Stat. Assoc. 107, 1590. The noise is measured by the series itself, from the
differences of neighbours, which a change of level hardly touches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

LEAST_RUNS = 10
_LEAST_AT_A_LEVEL = 3
"""Two nights may agree by chance."""

_PENALTY = 5.0
"""Times the logarithm of the number of runs: a series of that many independent normal values without a change is
called changed in 4.5 % (10 runs) or less (20 and more), simulated 400 times."""

_OF_DIFFERENCES = 0.6745 * math.sqrt(2.0)
"""Median of the absolute difference of two normal values, in standard deviations."""


def change_points(values: Sequence[float | None]) -> list[int] | None:
    """Return the indexes of the first values at another level; None if the library is not installed.

    Values that are None (a run without the gate) are passed over. Empty if there are fewer than ``LEAST_RUNS``.
    """
    known = [
        (place, value) for place, value in enumerate(values) if value is not None and math.isfinite(value)
    ]
    if len(known) < LEAST_RUNS:
        return []
    try:
        import numpy
        import ruptures
    except ImportError:
        return None
    series = [value for _, value in known]
    steps = [abs(after - before) for before, after in pairwise(series)]
    noise = median(steps) / _OF_DIFFERENCES or math.fsum(steps) / len(steps)
    if noise == 0.0:
        return []
    scaled = numpy.asarray(series) / noise
    search = ruptures.Pelt(model="l2", min_size=_LEAST_AT_A_LEVEL, jump=1).fit(scaled)
    ends = search.predict(pen=_PENALTY * math.log(len(known)))
    return [known[end][0] for end in ends[:-1]]
