"""Many requests at a bounded concurrency, each to one answer: for accuracy and rules, not for the clock."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_llmperf.client import loop
from pytest_llmperf.client.body import lint, path_of, streaming
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply, now
from pytest_llmperf.client.saturation import LOOK_S, Saturation, look
from pytest_llmperf.client.trace import Outcome, Trace
from pytest_llmperf.errors import WrongServer
from pytest_llmperf.serving.server import Server
from pytest_llmperf.visible_text import is_invisible

_REFUSED = (401, 403, 404)
"""The key or the model is wrong: no further request can fare better."""
_PASSING = (408, 409, 425, 429, 500, 502, 503, 504)
"""Statuses that another try may change. The rest (a prompt that is too long) is the request's own fault."""

_BROKEN = (Outcome.CUT, Outcome.CONNECT_ERROR, Outcome.STREAM_ERROR, Outcome.UNKNOWN_FINISH)
"""The server or the way to it failed, and may do better the next time."""


@dataclass(frozen=True)
class Answer:
    """What came of one request. Judge an answer only if ``ok``; anything else says nothing about the
    model."""

    index: int
    """Position of the request in the list that was given."""
    text: str
    """Content without separately streamed reasoning; ``<think>…</think>`` in the content stays in it."""
    reasoning: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    outcome: Outcome
    error: str
    attempts: int
    """Sendings; 0 if the server was given up before this one's turn."""
    seconds: float
    """Last sending → end, seconds; not a latency to report, the load was whatever it was."""
    reused: bool = False
    """Whether an earlier run has asked for it."""
    status: int = 0
    """Of HTTP; 0 if no response came."""

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK


@dataclass(frozen=True)
class Retries:
    """When to send again after an infrastructure error. A model's answer is never asked for again."""

    attempts: int = 4
    first_wait_s: float = 0.5
    longest_wait_s: float = 8.0
    give_up_after: int = 3
    """So many requests in a row, times the concurrency, without one success: the rest is not sent."""

    def wait_s(self, attempt: int) -> float:
        """Exponential, with jitter so that a crowd doesn't come back as a crowd."""
        longest = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (attempt - 1))
        return longest * random.uniform(0.5, 1.0)


def complete_all(
    server: Server,
    requests: Sequence[Mapping[str, Any]],
    *,
    concurrency: int | Saturation = 32,
    on_progress: Callable[[int, int], None] | None = None,
    on_answer: Callable[[Answer], None] | None = None,
    timeout_s: float = 600.0,
    retries: Retries | None = None,
    extra_fields: Sequence[str] = (),
    whole: bool = False,
) -> list[Answer]:
    """One answer a request, in the order of the requests.

    ``requests`` are bodies for chat (``messages``) or completions (``prompt``); ``model`` and the streaming
    options are filled in. ``concurrency``: how many are in flight, or what finds that out while they are.
    ``on_progress(done, total)`` and ``on_answer`` (as they come, so that an
    interrupted run keeps them) are called from the client's thread. Raises ``UsageError`` for a field the
    server would ignore, before anything is sent, and ``WrongServer`` if the server refuses the key or does
    not know the model.
    """
    if isinstance(concurrency, int):
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; need at least 1")
        concurrency = Saturation(concurrency, concurrency)
    linted = [lint({"model": server.model, **request}, extra=extra_fields) for request in requests]
    bodies = linted if whole else [streaming(body) for body in linted]
    if not bodies:
        return []
    again = retries or Retries()
    run = _Completion(server, bodies, again, timeout_s, concurrency, on_progress, on_answer, whole=whole)
    return loop.run(run.all)


class _Completion:
    def __init__(
        self,
        server: Server,
        bodies: Sequence[dict[str, Any]],
        retries: Retries,
        timeout_s: float,
        saturation: Saturation,
        on_progress: Callable[[int, int], None] | None,
        on_answer: Callable[[Answer], None] | None,
        *,
        whole: bool,
    ) -> None:
        self.whole = whole
        self.server, self.bodies, self.retries, self.timeout_s = server, bodies, retries, timeout_s
        self.saturation = saturation
        self.workers = 0
        """Requests in flight, or about to be."""
        self.on_progress, self.on_answer = on_progress, on_answer
        self.answers: list[Answer | None] = [None] * len(bodies)
        self.taken = 0
        """Requests that some worker has taken, the first of the list."""
        self.all_taken = asyncio.Event()
        self.done = 0
        self.failed_in_a_row = 0
        self.last_error = ""

    async def all(self) -> list[Answer]:
        async with Pool(Endpoint.of(self.server), timeout_s=self.timeout_s) as pool:
            try:
                async with asyncio.TaskGroup() as group:
                    self._fill(group, pool)
                    group.create_task(self._steer(group, pool))
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
        return [answer for answer in self.answers if answer is not None]

    def _fill(self, group: asyncio.TaskGroup, pool: Pool) -> None:
        """As many workers as there may be requests in flight, and are left to send."""
        left = len(self.bodies) - self.taken
        for _ in range(min(self.saturation.limit - self.workers, left)):
            self.workers += 1
            group.create_task(self._worker(group, pool))
        self.saturation.highest = max(self.saturation.highest, self.workers)

    async def _steer(self, group: asyncio.TaskGroup, pool: Pool) -> None:
        """Look at the server from time to time while there is something to send, and keep it busy."""
        if self.saturation.is_fixed:
            return
        while self.taken < len(self.bodies):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.all_taken.wait(), LOOK_S)
                return
            if (occupancy := await look(pool)) is None:
                return
            self.saturation.see(occupancy, self.workers)
            self._fill(group, pool)

    async def _worker(self, group: asyncio.TaskGroup, pool: Pool) -> None:
        """One request after the other. An answer is understood once the next request is out: answers of one batch come
        together, and no place in the next batch should be empty while the others' are read."""
        reading: asyncio.Task[None] | None = None
        try:
            while self.taken < len(self.bodies) and self.workers <= self.saturation.limit:
                index = self._take()
                if self._is_given_up:
                    failed = f"{self.failed_in_a_row} requests in a row failed"
                    error = f"not sent: {failed}, the last with: {self.last_error}"
                    lost = Answer(index, "", "", None, None, None, None, Outcome.CONNECT_ERROR, error, 0, 0.0)
                    self._keep(lost)
                    continue
                request = pool.endpoint.request("POST", path_of(self.bodies[index]), self.bodies[index])
                reply = await pool.send(request)
                if reading is not None:
                    await reading
                reading = group.create_task(self._read(pool, index, request, reply))
                if reply.ending is not Ending.COMPLETE or reply.status != 200:
                    # It may have to be sent again, in its own place.
                    await reading
        finally:
            self.workers -= 1

    def _take(self) -> int:
        index = self.taken
        self.taken += 1
        if self.taken == len(self.bodies):
            self.all_taken.set()
        return index

    @property
    def _is_given_up(self) -> bool:
        most = self.retries.give_up_after * min(self.saturation.limit, len(self.bodies))
        return self.failed_in_a_row >= most

    async def _read(self, pool: Pool, index: int, request: bytes, reply: Reply) -> None:
        answer = await self._one(pool, index, request, reply)
        self.failed_in_a_row = self.failed_in_a_row + 1 if _passing(answer) else 0
        self.last_error = answer.error or self.last_error
        self._keep(answer)

    def _keep(self, answer: Answer) -> None:
        self.answers[answer.index] = answer
        self.done += 1
        if self.on_answer:
            self.on_answer(answer)
        if self.on_progress:
            self.on_progress(self.done, len(self.bodies))

    async def _one(self, pool: Pool, index: int, request: bytes, reply: Reply) -> Answer:
        """The answer in ``reply``, or in that to a further sending."""
        attempt = 1
        while True:
            if reply.status in _REFUSED:
                self._refused(reply.status, trace_of(reply).error)
            answer = replace(_answer(trace_of(reply, index, whole=self.whole)), attempts=attempt)
            if self.whole and answer.outcome is Outcome.TIMEOUT:
                # Nobody saw whether text was coming; if so, it would come, and be lost, again.
                return answer
            if attempt >= self.retries.attempts or not _passing(answer):
                return answer
            if self.server.has_died is not None and self.server.has_died():
                return answer
            await asyncio.sleep(self.retries.wait_s(attempt))
            attempt += 1
            reply = await pool.send(request)

    def _refused(self, status: int, error: str) -> None:
        if status == 404:
            asked = f"model {self.server.model!r} at {self.server.base_url}"
            raise WrongServer(f"the server does not serve {asked}: {error}")
        raise WrongServer(f"the server at {self.server.base_url} refuses the API key: {error}")


def _answer(trace: Trace) -> Answer:
    outcome, error = trace.outcome, trace.error
    if outcome is Outcome.OK and is_invisible(trace.text + trace.reasoning_text):
        # Graded, they would be wrong on both sides, and equal.
        outcome = Outcome.EMPTY
        error = f"the answer has no visible character ({trace.completion_tokens} tokens): do the weights produce NaN?"
    return Answer(
        index=trace.index,
        text=trace.text,
        reasoning=trace.reasoning_text,
        finish_reason=trace.finish_reason,
        prompt_tokens=trace.prompt_tokens,
        completion_tokens=trace.completion_tokens,
        cached_tokens=trace.cached_tokens,
        outcome=outcome,
        error=error,
        attempts=1,
        seconds=max(0.0, (trace.end_s or now()) - trace.sent_s),
        status=trace.status,
    )


def _passing(answer: Answer) -> bool:
    """Whether the failure may pass by itself."""
    if answer.outcome is Outcome.HTTP_ERROR:
        return answer.status in _PASSING
    if answer.outcome is Outcome.TIMEOUT:
        # Text was coming: a model that loops for ever would loop again, and take the time again.
        return not (answer.text or answer.reasoning)
    if answer.outcome is Outcome.EMPTY:
        # Where tokens were counted, the model has spoken, if invisibly.
        return not answer.completion_tokens
    return answer.outcome in _BROKEN
