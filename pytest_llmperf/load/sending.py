"""The two rhythms of a load: so many in flight, and at given times. What runs while the clock does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply, now
from pytest_llmperf.load.timer import AbsoluteTimer

OnProgress = Callable[[int, int], None]
_LEAD_S = 0.02
"""From the clock's start to the first request: what sets up the run must not make it late."""


_ROUNDS_WITHOUT_ANSWER = 2


@dataclass(frozen=True)
class Sent:
    """One request that was sent and answered. Times in seconds of the client's clock."""

    reply: Reply
    intended_s: float | None = None
    """None: it was to be sent when it was sent."""
    taken_s: float | None = None
    """When the client turned to it."""
    index: int = 0
    """Place of the request in the load."""


async def in_flight(
    pool: Pool,
    wire: Sequence[bytes],
    concurrency: int,
    on_progress: OnProgress | None = None,
    *,
    start_s: float | None = None,
) -> list[Sent]:
    """Send all with at most so many in flight; the workers start together (at ``start_s``, if it is given), each
    sending its next when its last is answered.

    Two rounds of requests without a single complete answer end it: the rest is not sent, and the result is shorter.
    """
    sent: list[Sent | None] = [None] * len(wire)
    waiting = iter(range(len(wire)))
    go = asyncio.Event()
    done = failed = 0
    answered = False

    async def worker() -> None:
        nonlocal done, failed, answered
        if start_s is not None:
            await go.wait()
        for index in waiting:
            reply = await pool.send(wire[index])
            sent[index] = Sent(reply, index=index)
            done += 1
            if not answered:
                answered = reply.status == 200 and reply.ending is Ending.COMPLETE
                failed += not answered
                if failed >= _ROUNDS_WITHOUT_ANSWER * concurrency and not answered:
                    return
            if on_progress:
                on_progress(done, len(wire))

    clock = AbsoluteTimer(asyncio.get_running_loop())
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(wire))):
                group.create_task(worker())
            if start_s is not None:
                clock.at(start_s, go.set)
    finally:
        clock.close()
    return [one for one in sent if one is not None]


async def on_schedule(
    pool: Pool,
    wire: Sequence[bytes],
    offsets_s: Sequence[float],
    on_progress: OnProgress | None = None,
    *,
    start_s: float | None = None,
) -> list[Sent]:
    """Send each at its time after ``start_s`` (None: now), however many are in flight."""
    sent: list[Sent | None] = [None] * len(wire)
    due = asyncio.Event()
    clock = AbsoluteTimer(asyncio.get_running_loop())
    done = 0

    async def one(index: int, intended_s: float) -> None:
        nonlocal done
        taken_s = now()
        reply = await pool.send(wire[index])
        sent[index] = Sent(reply, intended_s, taken_s, index)
        done += 1
        if on_progress:
            on_progress(done, len(wire))

    def take(index: int, intended_s: float) -> None:
        group.create_task(one(index, intended_s))
        if index + 1 < len(wire):
            arm(index + 1)
        else:
            due.set()

    def arm(index: int) -> None:
        intended_s = begin_s + offsets_s[index]
        clock.at(intended_s, lambda: take(index, intended_s))

    try:
        async with asyncio.TaskGroup() as group:
            begin_s = now() + _LEAD_S if start_s is None else start_s
            arm(0)
            await due.wait()
    finally:
        clock.close()
    return [one for one in sent if one is not None]
