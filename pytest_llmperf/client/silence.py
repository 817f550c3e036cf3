"""Notice that a server sends nothing at all while requests wait for it, and declare it dead once.

A request's own time-out is no help: it must allow the longest answer, and every request would wait anew. A server that
works is heard: each of its streams brings bytes, and where a prompt or an answer takes long in one piece its counters
of tokens move. Costs nothing per byte: the connections are looked at once a second.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection
from enum import Enum

from pytest_llmperf.client.connection import Connection
from pytest_llmperf.client.reply import Ending, Reply, now

LIMIT_S = 60.0
PROBE_S = 10.0
"""Time-out for ``/metrics``: an API process that does not answer it does not run, or has no time for anything."""
PREFILL_BYTES_PER_S = 2000.0
"""A prompt may take longer than the limit to be read: some 500 tokens a second, which is slow."""
WHOLE_S = 600.0
"""Limit for an answer in one piece from a server without counters, where nothing can be seen before its end."""
_LOOK_S = 1.0
_TOKENS = re.compile(
    r"^[\w:]*token[\w:]*(?:\{[^\n]*\})?[ \t]+([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)(?=\s|\Z)", re.MULTILINE
)
"""A counter whose name has to do with tokens, in Prometheus' text form; not NaN, infinity or a negative gauge."""


class Sign(Enum):
    """The result of a look at the server's counters."""

    NO_ANSWER = "no answer"
    NO_COUNTERS = "no counters"
    STILL = "still"
    MOVED = "moved"


class Silence:
    """The watch of one pool. ``in_flight`` are the connections that wait for an answer; ``ask`` asks for ``/metrics``.

    When the server has been silent for too long, ``declare`` is called with one sentence, once.
    """

    def __init__(
        self,
        limit_s: float,
        in_flight: Collection[Connection],
        ask: Callable[[], Awaitable[Reply]],
        declare: Callable[[str], Awaitable[None]],
    ) -> None:
        self.limit_s = limit_s
        self._in_flight = in_flight
        self._ask = ask
        self._declare = declare
        self.answers = 0
        """Requests that have ended, in whatever way: a server that refuses is not silent."""
        self._timer: asyncio.TimerHandle | None = None
        self._probe: asyncio.Task[None] | None = None
        self._looked_s = self._last_byte_s = 0.0
        self._answered = 0
        self._quiet_s = 0.0
        self._tokens: float | None = None
        self._next_probe_s = limit_s / 2
        self._over = False

    def begin(self) -> None:
        """A request was sent: look from now on, until none is in flight."""
        if self._timer is None and not self._over:
            self._looked_s = now()
            self._reset()
            self._arm()

    def stop(self) -> None:
        """The pool closes."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._probe is not None:
            self._probe.cancel()

    def _arm(self) -> None:
        period_s = min(_LOOK_S, self.limit_s / 8)
        self._timer = asyncio.get_running_loop().call_later(period_s, self._look)

    def _reset(self) -> None:
        self._quiet_s, self._next_probe_s = 0.0, self.limit_s / 2
        self._tokens = None

    def _look(self) -> None:
        self._timer = None
        if self._over or not self._in_flight:
            return
        at_s = now()
        # A client that was itself stopped, or starved, has heard nothing either: such time counts as one look.
        passed_s = min(at_s - self._looked_s, 2 * min(_LOOK_S, self.limit_s / 8))
        self._looked_s = at_s
        last_byte_s = max(connection.read_s for connection in self._in_flight)
        if last_byte_s > self._last_byte_s or self.answers > self._answered:
            self._last_byte_s, self._answered = max(last_byte_s, self._last_byte_s), self.answers
            self._reset()
        else:
            self._quiet_s += passed_s
        if self._quiet_s >= self._next_probe_s and self._probe is None:
            self._probe = asyncio.get_running_loop().create_task(self._look_closer())
        self._arm()

    async def _look_closer(self) -> None:
        try:
            asked_s = self._quiet_s
            sign = await self._sign()
            # Where nothing answers, the time that it took to find that out counts as well.
            quiet_s = self._quiet_s if sign is Sign.NO_ANSWER else asked_s
            if not self._quiet_s:
                return  # it has been heard meanwhile
            if quiet_s < self.limit_s:
                self._next_probe_s = self.limit_s
            elif sign is Sign.MOVED:
                self._quiet_s, self._next_probe_s = self.limit_s / 2, self.limit_s
            elif quiet_s < (allowed_s := self._allowed_s(sign)):
                self._next_probe_s = min(quiet_s + self.limit_s / 2, allowed_s)
            else:
                self._over = True
                await self._declare(
                    f"no byte came from it for {self._quiet_s:.0f} s while {len(self._in_flight)} requests waited "
                    f"({_WORDS[sign]}; silence_limit is {self.limit_s:g} s)"
                )
        finally:
            self._probe = None

    def _allowed_s(self, sign: Sign) -> float:
        if sign is Sign.NO_ANSWER:
            return self.limit_s
        sent = [connection.sent for connection in self._in_flight]
        allowed_s = max([self.limit_s, *(len(request) / PREFILL_BYTES_PER_S for request in sent)])
        if sign is Sign.NO_COUNTERS and any(b'"stream": true' not in request for request in sent):
            allowed_s = max(allowed_s, WHOLE_S)
        return allowed_s

    async def _sign(self) -> Sign:
        reply = await self._ask()
        if reply.ending is not Ending.COMPLETE:
            return Sign.NO_ANSWER
        values = _TOKENS.findall(reply.body.decode("utf-8", "replace")) if reply.status == 200 else []
        if not values:
            return Sign.NO_COUNTERS
        before, self._tokens = self._tokens, sum(map(float, values))
        return Sign.STILL if before is None or self._tokens <= before else Sign.MOVED


_WORDS = {
    Sign.NO_ANSWER: f"/metrics did not answer in {PROBE_S:g} s either: it is stopped, or stuck",
    Sign.NO_COUNTERS: "it has no counters that could show whether it works",
    Sign.STILL: "its counters of tokens stand still: its engine is stopped, or stuck",
    Sign.MOVED: "",
}
