"""An open loop of sessions: each begins at its time, and its next turn follows the end of the answer before.

Sessions do not wait for each other. Where a session carries its answers, the next prompt holds what the server said, so
that this answer is parsed while the clock runs: after its end, and before the next turn is due. Nothing else is.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.client.openai_stream import Templates, trace_of
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Reply, now
from pytest_llmperf.client.trace import Trace
from pytest_llmperf.json_values import Json, JsonObject
from pytest_llmperf.load.sending import OnProgress, Sent
from pytest_llmperf.load.timer import AbsoluteTimer

_LEAD_S = 0.02
"""From the clock's start to the first request: what sets up the run must not make it late."""
_MOST_SPARE_CONNECTIONS = 256

Compose = Callable[[int, Sequence[JsonObject]], bytes]
"""The request of that index with other messages, ready to send."""


@dataclass(frozen=True)
class TurnPlan:
    """When a turn is sent, and what it adds to the conversation."""

    at_s: float | None = None
    """Seconds after the load's begin, before which it is not sent."""
    delay_s: float = 0.0
    """Seconds after the end of the answer before; means nothing in a first turn."""
    messages: tuple[JsonObject, ...] = ()
    """Those that follow the answer before, where the session carries its answers."""


@dataclass(frozen=True)
class SessionPlan:
    """The turns of one session, whose requests follow each other in the load."""

    first: int
    """Index of its first request."""
    turns: tuple[TurnPlan, ...]
    carries: bool = False
    """The next prompt holds the live answer; the session ends with an answer that failed or has no text and no call."""

    @property
    def begins_s(self) -> float:
        """Seconds after the load's begin."""
        return self.turns[0].at_s or 0.0


@dataclass(frozen=True)
class SessionLoop:
    """A pattern for :func:`run_load`: sessions on their schedules, with no limit on how many are in flight."""

    name: str
    sessions: Sequence[SessionPlan] = field(repr=False)

    @property
    def requests(self) -> int:
        return sum(len(session.turns) for session in self.sessions)

    @property
    def default_warmup(self) -> int:
        """One request for each of the first 8 sessions, sent together."""
        return min(8, len(self.sessions))

    def warmup_concurrency(self, warmup: int) -> int:
        """Requests in flight during the warm-up."""
        return max(1, warmup)

    def connections(self, warmed: Sequence[Reply]) -> int:
        """Connections to open before the clock starts. No session has more than one request in flight."""
        del warmed
        return min(len(self.sessions), _MOST_SPARE_CONNECTIONS)

    async def send(
        self, pool: Pool, wire: Sequence[bytes], compose: Compose, on_progress: OnProgress | None
    ) -> list[Sent]:
        """Send every session's turns; the results are in the order of ``wire``, without those that were not sent."""
        sent: list[Sent | None] = [None] * len(wire)
        clock = AbsoluteTimer(asyncio.get_running_loop())
        templates = Templates()
        done = 0

        async def hold(session: SessionPlan, intended_s: float) -> None:
            nonlocal done
            said: list[JsonObject] = list(session.turns[0].messages)
            request = wire[session.first]
            for index, following in enumerate([*session.turns[1:], None], start=session.first):
                await _due(clock, intended_s)
                taken_s = now()
                reply = await pool.send(request)
                sent[index] = Sent(reply, intended_s, taken_s, index)
                done += 1
                if on_progress:
                    on_progress(done, len(wire))
                if following is None:
                    return
                not_before_s = -math.inf if following.at_s is None else begin_s + following.at_s
                intended_s = max(reply.end_s + following.delay_s, not_before_s)
                if session.carries:
                    answer = answer_of(trace_of(reply, templates=templates))
                    if answer is None:
                        return
                    said += [answer, *following.messages]
                    request = compose(index + 1, said)
                else:
                    request = wire[index + 1]

        try:
            async with asyncio.TaskGroup() as group:
                begin_s = now() + _LEAD_S
                for session in self.sessions:
                    group.create_task(hold(session, begin_s + session.begins_s))
        finally:
            clock.close()
        return [one for one in sent if one is not None]


def rate_of(intended_s: Sequence[float]) -> float:
    """Requests a second between the first and the last of these times; infinite if all were due at once."""
    span_s = max(intended_s) - min(intended_s)
    return (len(intended_s) - 1) / span_s if span_s > 0 else math.inf


async def _due(clock: AbsoluteTimer, at_s: float) -> None:
    """Wait for that time; not at all if it has passed."""
    if at_s <= now():
        return
    rung = asyncio.Event()
    clock.at(at_s, rung.set)
    await rung.wait()


def answer_of(trace: Trace) -> JsonObject | None:
    """The message that goes back: text and calls, without the thinking, as chat templates drop it. None: no message."""
    if not trace.ok or not (trace.text or trace.tool_calls):
        return None
    calls: list[Json] = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in trace.tool_calls
    ]
    return {"role": "assistant", "content": trace.text, **({"tool_calls": calls} if calls else {})}
