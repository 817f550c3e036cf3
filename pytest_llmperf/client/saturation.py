"""Choose the number of requests in flight: enough that the server is never idle, and no more than it can hold.

An engine that batches is fastest when its batch is full, also in the step after many answers have ended together: as
much as runs should wait behind it. What waits beyond that wins nothing. vLLM tells both numbers, so that the best
number of requests need not be guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_llmperf.client import server_metrics
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.server_metrics import ServerMetrics

LOOK_S = 0.5
"""Between two looks at ``/metrics``: a few steps of an engine, so that what was sent last has been taken in."""
GROWTH = 1.5
FULL_CACHE = 0.85
"""Share of the KV cache in use above which no more is sent: answers grow, and vLLM throws a whole one back when
there is no room (preemption), to compute it again later."""
QUEUE = 0.25
"""Waiting requests, as a share of the running ones, above which the batch is full; fewer are just being taken in."""
BACKLOG = 1.0
"""Waiting requests for each running one that are wanted: answers of one length end in the same step, and the places of
all of them are free at once."""


@dataclass(frozen=True)
class Occupancy:
    """A server's own report of its load, all engines together."""

    running: float
    waiting: float
    cache_use: float
    """Share of the fullest engine's KV cache in use, 0 to 1."""
    preemptions: float


def parse(metrics: str) -> Occupancy | None:
    """From the text of vLLM's ``/metrics``; None if running and waiting requests are not told."""
    return _occupancy(server_metrics.parse(metrics))


def _occupancy(told: ServerMetrics | None) -> Occupancy | None:
    if told is None or told.running is None or told.waiting is None:
        return None
    return Occupancy(told.running, told.waiting, told.kv_share or 0.0, told.preemptions or 0.0)


class Saturation:
    """The number of requests to keep in flight at one server, from ``start`` up to ``most``.

    Keep it between two calls: what was found in the first is where the second begins. Without occupancy in
    ``/metrics`` (another engine than vLLM) it stays at ``start``.
    """

    def __init__(self, start: int = 32, most: int = 512) -> None:
        if not 1 <= start <= most:
            raise ValueError(f"start is {start} and most is {most}; need 1 <= start <= most")
        self.limit = start
        self.most = most
        self.is_fixed = start == most
        self.highest = 0
        """Most requests that were in flight so far."""
        self._preemptions: float | None = None
        self._crowded = False
        self._settled = False
        """True once the server has shown its limit: after that, no more is tried."""

    def see(self, now: Occupancy, in_flight: int) -> int:
        """Take in a look at the server while ``in_flight`` requests are there; the new limit.

        It grows by half while what was sent is running and the cache has room. Where two looks in a row find a queue,
        it becomes what runs and a backlog; and it falls by a fifth where answers were thrown back.
        """
        thrown_back = self._preemptions is not None and now.preemptions > self._preemptions
        self._preemptions = now.preemptions
        crowded = now.waiting > max(1.0, QUEUE * now.running)
        if thrown_back:
            self.limit = max(1, math.floor(self.limit * 0.8))
            self._settled = True
        elif crowded and self._crowded and now.running:
            enough = math.ceil(now.running * (1.0 + BACKLOG))
            has_room = now.cache_use < FULL_CACHE and not self._settled
            self.limit = min(self.most if has_room else self.limit, enough)
            self._settled = True
        elif not crowded and self._may_grow(now, in_flight):
            self.limit = min(self.most, math.ceil(self.limit * GROWTH))
        self._crowded = crowded
        return self.limit

    def _may_grow(self, now: Occupancy, in_flight: int) -> bool:
        full_house = in_flight >= self.limit and now.running >= 0.75 * self.limit
        return full_house and not self._settled and now.cache_use < FULL_CACHE


async def look(pool: Pool) -> Occupancy | None:
    """The server's occupancy now; None if it does not tell."""
    return _occupancy(await server_metrics.read(pool))
