"""Has a series of nightly values drifted? The median of the last three nights against the nights before.

One bad night is no drift: its own gates judge it. So the observation is the median of the last :data:`RECENT` values,
which one outlier cannot move. It is compared with a window of earlier values by Student's prediction interval (Hahn
1969, Technometrics 11, 878), one-sided. The mean of the window is taken to be as uncertain as with neighbours that
correlate by :data:`CORRELATION`, since neighbouring nights share a machine's state; the median of three counts as a
single value.

Two windows: the values just before, in which a step stands out, and the first ones, from which a creeping change moves
away although no night differs from the week before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from pytest_llmperf.stats import arguments

RECENT = 3
LEAST_BEFORE = 8
LEAST = RECENT + LEAST_BEFORE
"""Fewer values show nothing: the spread of the nights is not known."""
WINDOW = 20
CORRELATION = 0.5
"""Of neighbouring nights, in the uncertainty of a window's mean."""
LEAST_SIGMAS = 2.0


@dataclass(frozen=True)
class Shift:
    """The last values against one window.

    ``recent`` and ``before`` are the two levels, ``sigma`` the spread of the window's values, ``p_value`` that of
    "nothing has become worse", ``limit`` the level from which on the p-value is at most ``level``.
    """

    recent: float
    before: float
    sigma: float
    n: int
    p_value: float
    limit: float

    @property
    def sigmas(self) -> float:
        """The difference in standard deviations of a night."""
        return abs(self.recent - self.before) / self.sigma


def shifts(values: Sequence[float], *, higher_is_worse: bool, level: float, step: float = 0.0) -> list[Shift]:
    """Compare the end of ``values`` (the oldest first) with each window; empty for fewer than :data:`LEAST` values.

    ``level`` is the one-sided error that :attr:`Shift.limit` is for. ``step`` is the least difference that two values
    can have (of a share, one item): ten nights of 100 % say that nights differ by less, not that they never differ.
    ``ValueError`` for a value that is not finite.
    """
    arguments.inside("level", level, 0.0, 0.5)
    known = arguments.samples_of(values)
    if len(known) < LEAST:
        return []
    recent = median(known[-RECENT:])
    return [_shift(recent, window, higher_is_worse, level, step) for window in _windows(known[:-RECENT])]


def comparisons(count: int) -> int:
    """Number of comparisons that :func:`shifts` makes of ``count`` values."""
    return 0 if count < LEAST else len(list(_windows([0.0] * (count - RECENT))))


def _windows(before: Sequence[float]) -> Iterator[Sequence[float]]:
    yield before[-WINDOW:]
    if len(before) >= WINDOW + LEAST_BEFORE:
        yield before[:WINDOW]


def _shift(recent: float, window: Sequence[float], higher_is_worse: bool, level: float, step: float) -> Shift:
    from scipy.special import stdtr, stdtrit

    n, centre = len(window), fmean(window)
    # Values that never moved say that they hardly do, not that they cannot.
    sigma = max(stdev(window), step, 1e-3 * abs(centre), 1e-12)
    error = sigma * math.sqrt(1.0 + (1.0 + CORRELATION) / (1.0 - CORRELATION) / n)
    sign = 1.0 if higher_is_worse else -1.0
    p_value = float(stdtr(n - 1, -sign * (recent - centre) / error))
    limit = centre + sign * float(stdtrit(n - 1, 1.0 - level)) * error
    return Shift(recent, centre, sigma, n, p_value, limit)
