"""The patterns of a load: what its rhythm needs of warm-up and connections, and how it is sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Reply
from pytest_llmperf.load.arrivals import Schedule
from pytest_llmperf.load.sending import OnProgress, Sent, in_flight, on_schedule
from pytest_llmperf.load.session_loop import SessionLoop
from pytest_llmperf.load.workload import Shape

_MAX_SPARE_CONNECTIONS = 256
"""Opened before they are needed; further ones are opened on demand."""


@dataclass(frozen=True)
class ClosedLoop:
    """``requests`` requests, ``concurrency`` in flight: each worker sends its next when its last is answered."""

    concurrency: int
    requests: int

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.requests < 1:
            raise ValueError(
                f"concurrency is {self.concurrency} and requests {self.requests}; need at least 1 of each"
            )

    @property
    def default_warmup(self) -> int:
        """One request per worker: the first batch of a new size can cost seconds."""
        return self.concurrency

    def warmup_concurrency(self, warmup: int) -> int:
        """Requests in flight during the warm-up."""
        del warmup
        return self.concurrency

    def connections(self, warmed: Sequence[Reply]) -> int:
        """Connections to open before the clock starts."""
        del warmed
        return min(self.concurrency, self.requests)

    async def send(self, pool: Pool, wire: Sequence[bytes], on_progress: OnProgress | None) -> list[Sent]:
        return await in_flight(pool, wire, self.concurrency, on_progress)


@dataclass(frozen=True)
class OpenLoop:
    """One request at each time of ``schedule``, with no limit on how many are in flight.

    ``shapes`` gives each request its own lengths (a recorded trace), in the order of the schedule; None: all have the
    workload's lengths.
    """

    schedule: Schedule
    shapes: Sequence[Shape] | None = None

    def __post_init__(self) -> None:
        if self.shapes is not None and len(self.shapes) != len(self.schedule):
            raise ValueError(
                f"{len(self.shapes)} shapes for a schedule of {len(self.schedule)} requests; need one for each"
            )

    @property
    def requests(self) -> int:
        return len(self.schedule)

    @property
    def default_warmup(self) -> int:
        """One request for each of the first 8, sent together."""
        return min(8, len(self.schedule))

    def warmup_concurrency(self, warmup: int) -> int:
        """Requests in flight during the warm-up."""
        return max(1, warmup)

    def connections(self, warmed: Sequence[Reply]) -> int:
        """Connections to open before the clock starts: twice what Little's law gives, and a few for bursts."""
        longest_s = max((reply.end_s - reply.sent_s for reply in warmed), default=1.0)
        at_once = min(self.schedule.rate_per_s * max(longest_s, 0.001), len(self.schedule))
        return min(len(self.schedule), _MAX_SPARE_CONNECTIONS, math.ceil(2 * at_once) + 4)

    async def send(self, pool: Pool, wire: Sequence[bytes], on_progress: OnProgress | None) -> list[Sent]:
        return await on_schedule(pool, wire, self.schedule.offsets_s, on_progress)


Pattern = ClosedLoop | OpenLoop | SessionLoop
