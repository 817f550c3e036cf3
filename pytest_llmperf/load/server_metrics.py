"""The server's ``/metrics`` during a load, read on a connection of their own.

Scraped rarely, and parsed after the run: a scrape makes a server's API process write some hundred lines, during which
it streams no token. The time of the scrapes is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from pytest_llmperf.client import server_metrics
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Reply, now
from pytest_llmperf.json_values import Json

EVERY_S = 1.0
"""A scrape of vLLM takes its API process some 5 to 20 ms: 0.5 to 2 % of the time."""
_FIRST_S = 0.4
"""After the load's begin: late enough for its first wave to be in the server, early enough for a short round."""
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class MetricsSample:
    """One scrape; None for values that the server does not report."""

    time_s: float
    """When it was requested, on the client's clock."""
    took_s: float
    running: float | None
    """Requests that the engine works on, all engines of the server together."""
    waiting: float | None
    kv_share: float | None
    """Share of the key-value cache in use, 0..1; the fullest one of several engines."""
    preemptions: float | None
    """Since the server's start."""


@dataclass(frozen=True)
class ServerSamples:
    """All scrapes of one load, in the order of time."""

    samples: tuple[MetricsSample, ...]

    def facts(self) -> dict[str, Json]:
        """For the record."""
        return {
            "samples": len(self.samples),
            "running": _summary([one.running for one in self.samples]),
            "waiting": _summary([one.waiting for one in self.samples]),
            "kv_share": _summary([one.kv_share for one in self.samples]),
            "preemptions": self.preempted,
            "scrape_s": _summary([one.took_s for one in self.samples]),
        }

    @property
    def preempted(self) -> float | None:
        """Preemptions between the first sample and the last; None if the server does not count them."""
        counted = [one.preemptions for one in self.samples if one.preemptions is not None]
        return sum(max(0.0, b - a) for a, b in pairwise(counted)) if counted else None


def together(loads: Sequence[ServerSamples | None]) -> ServerSamples | None:
    """The scrapes of several loads of one server; None if there are none."""
    samples = [one for load in loads if load is not None for one in load.samples]
    return ServerSamples(tuple(samples)) if samples else None


def parse(reply: Reply) -> MetricsSample | None:
    """One scrape; None if it is not one of vLLM's names."""
    told = server_metrics.parse_reply(reply)
    if told is None:
        return None
    return MetricsSample(
        time_s=reply.sent_s,
        took_s=reply.end_s - reply.sent_s,
        running=told.running,
        waiting=told.waiting,
        kv_share=told.kv_share,
        preemptions=told.preemptions,
    )


class MetricsSampler:
    """``async with Sampler(pool) as sampler:`` scrapes while the block runs; ``samples()`` afterwards."""

    def __init__(self, pool: Pool, *, every_s: float = EVERY_S, first_s: float = _FIRST_S) -> None:
        self._pool, self._every_s, self._first_s = pool, every_s, first_s
        self._replies: list[Reply] = []

    async def __aenter__(self) -> MetricsSampler:
        self._task = asyncio.get_running_loop().create_task(self._scrape())
        return self

    async def __aexit__(self, *_: object) -> None:
        # A scrape that is under way is given up: the load has ended.
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _scrape(self) -> None:
        due_s = now() + self._first_s
        while True:
            await asyncio.sleep(max(0.0, due_s - now()))
            reply = await self._pool.fetch("GET", "/metrics", timeout_s=_TIMEOUT_S)
            if reply.status != 200:
                return
            self._replies.append(reply)
            # Not sooner than a period after the answer: a server that is slow to tell is not asked more often.
            due_s = max(due_s + self._every_s, now() + self._every_s / 2)

    def samples(self) -> ServerSamples | None:
        """None if the server told nothing that is known."""
        return (
            together(
                [ServerSamples(tuple(one for reply in self._replies if (one := parse(reply)) is not None))]
            )
            if self._replies
            else None
        )


def _summary(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    return {"mean": fmean(known), "max": max(known)} if known else None
