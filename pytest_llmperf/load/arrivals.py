"""Arrival schedules of open loops: absolute times, fixed before the load begins.

A schedule of relative sleeps drifts, and slows down with the server: the very thing that an open loop is meant
to avoid.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Schedule:
    """Intended times of all requests, in seconds after the load's begin, never falling."""

    name: str
    """Name for reports: ``Poisson, 4 requests/s, seed 1``."""
    offsets_s: tuple[float, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.offsets_s:
            raise ValueError("the schedule is empty; need at least 1 request")
        for index, offset_s in enumerate(self.offsets_s):
            before_s = self.offsets_s[index - 1] if index else 0.0
            if not (math.isfinite(offset_s) and offset_s >= before_s):
                raise ValueError(
                    f"request {index} is to be sent at {offset_s} s, after one at {before_s} s; need finite "
                    "times from 0 on that never fall"
                )

    def __len__(self) -> int:
        return len(self.offsets_s)

    @property
    def span_s(self) -> float:
        """From the first request to the last."""
        return self.offsets_s[-1] - self.offsets_s[0]

    @property
    def rate_per_s(self) -> float:
        """Requests per second between the first and the last; infinite if all are to be sent at once."""
        return (len(self) - 1) / self.span_s if self.span_s > 0 else math.inf


def constant(rate_per_s: float, requests: int) -> Schedule:
    """One request every 1/rate seconds, the first at 0. Raises ``ValueError`` as :func:`gamma` does."""
    rate, count = _checked(rate_per_s, requests)
    return Schedule(f"constant, {rate:g} requests/s", tuple(index / rate for index in range(count)))


def poisson(rate_per_s: float, requests: int, *, seed: int = 0) -> Schedule:
    """Arrivals of independent users: gaps are exponential. The same as :func:`gamma` with a burstiness of 1."""
    rate, count = _checked(rate_per_s, requests)
    return Schedule(f"Poisson, {rate:g} requests/s, seed {seed}", _gamma_offsets(rate, count, 1.0, seed))


def gamma(rate_per_s: float, requests: int, *, burstiness: float, seed: int = 0) -> Schedule:
    """Gaps of a gamma distribution with shape ``burstiness`` and mean 1/rate: below 1 requests come in bursts,
    1 is Poisson, far above 1 is nearly constant (the squared coefficient of variation is 1/burstiness).

    The first request is at 0 and the last at (requests − 1)/rate exactly, so that two seeds offer the same
    load. That is no distortion: shares of a sum of gamma variables are independent of the sum (Lukacs 1955, Annals
    of Mathematical Statistics 26, 319), and scaled gaps are gaps under the condition that they fill the span.

    Raises ``ValueError`` if rate or burstiness are not finite and above 0, or ``requests`` is below 1.
    """
    rate, count = _checked(rate_per_s, requests)
    if not (math.isfinite(burstiness) and burstiness > 0):
        raise ValueError(f"burstiness is {burstiness}; need a finite number above 0")
    name = f"gamma, {rate:g} requests/s, burstiness {burstiness:g}, seed {seed}"
    return Schedule(name, _gamma_offsets(rate, count, burstiness, seed))


def _gamma_offsets(rate: float, count: int, burstiness: float, seed: int) -> tuple[float, ...]:
    chance = random.Random(f"arrivals {seed}")
    gaps = [chance.gammavariate(burstiness, 1.0) for _ in range(count - 1)]
    return _spread(gaps, (count - 1) / rate)


def _spread(gaps: Sequence[float], span_s: float) -> tuple[float, ...]:
    """Offsets whose gaps are in that proportion, from 0 to ``span_s``."""
    if not gaps:
        return (0.0,)
    reached = list(itertools.accumulate(gaps))
    if not reached[-1] > 0:
        raise ValueError("all gaps are 0 in floating point: the burstiness is too small for so few requests")
    return (0.0, *(min(span_s, at / reached[-1] * span_s) for at in reached))


def _checked(rate_per_s: float, requests: int) -> tuple[float, int]:
    if not (math.isfinite(rate_per_s) and rate_per_s > 0):
        raise ValueError(f"the rate is {rate_per_s} requests/s; need a finite number above 0")
    if requests < 1:
        raise ValueError(f"requests is {requests}; need at least 1")
    return rate_per_s, requests
