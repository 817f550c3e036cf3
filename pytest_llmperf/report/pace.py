"""How fast a phase goes and how long it may still take, in words."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Of ``total`` pieces of work, of which ``before`` were done when this was made."""

    def __init__(self, total: int, before: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._before = before
        self._clock = clock
        self._began = clock()

    def said(self, done: int) -> str:
        """With ``done`` pieces finished, those of before among them: ``120 of 400, 31.5/s, 9 s left at most``."""
        gone_s = self._clock() - self._began
        new = done - self._before
        if new <= 0 or gone_s <= 0.0:
            return f"{done:,} of {self._total:,}"
        rate = new / gone_s
        left_s = max(0, self._total - done) / rate
        speed = f"{rate:.1f}/s" if rate >= 1.0 else f"{1.0 / rate:.1f} s each"
        return f"{done:,} of {self._total:,}, {speed}, {duration(left_s)} left at most"


def duration(seconds: float) -> str:
    """``8 s``, ``3 min 20 s``, ``2 h 5 min``.

    >>> duration(7.6), duration(200), duration(7500)
    ('8 s', '3 min 20 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest_s = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s"
    hours, rest_min = divmod(minutes, 60)
    return f"{hours} h {rest_min} min"
