"""Send many requests with bounded concurrency and collect one answer each: for accuracy and rules, not for timing."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pytest_llmperf.client import loop
from pytest_llmperf.client.body import lint, path_of, streaming
from pytest_llmperf.client.capabilities import RENAMED, refused_in, remember, without
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.openai_stream import INVISIBLE, trace_of
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply, now
from pytest_llmperf.client.saturation import LOOK_S, Saturation, look
from pytest_llmperf.client.tool_calls import ToolCall
from pytest_llmperf.client.trace import RequestOutcome, Trace
from pytest_llmperf.errors import WrongServer
from pytest_llmperf.json_values import Json, JsonObject
from pytest_llmperf.serving.http_client import is_about_the_key, retry_after_s, without_secrets
from pytest_llmperf.serving.server import Server
from pytest_llmperf.visible_text import is_invisible

_REFUSED = (401, 403, 404)
"""The key or the model is wrong: no further request can fare better."""
PASSING = (408, 409, 425, 429, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524, 527, 529, 530)
"""Statuses that another try may change, those of Cloudflare (520 to 530), nginx (499) and Anthropic (529) included. The
rest (a prompt that is too long) is the request's own fault."""

_BROKEN = (
    RequestOutcome.CUT,
    RequestOutcome.CONNECT_ERROR,
    RequestOutcome.STREAM_ERROR,
    RequestOutcome.UNKNOWN_FINISH,
)
"""The server or the way to it failed, and may do better the next time."""


@dataclass(frozen=True)
class Answer:
    """The result of one request. Judge an answer only if ``ok``; anything else says nothing about the model."""

    index: int
    """Position of the request in the list that was given."""
    text: str
    """Content without separately streamed reasoning; ``<think>…</think>`` in the content stays in it."""
    reasoning: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    outcome: RequestOutcome
    error: str
    attempts: int
    """Sendings; 0 if the server was given up before this one's turn."""
    seconds: float
    """Last sending → end, seconds; not a latency to report, the load was whatever it was."""
    reused: bool = False
    """True if it was taken over from an earlier run."""
    status: int = 0
    """HTTP status; 0 if no response came."""
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def ok(self) -> bool:
        return self.outcome is RequestOutcome.OK


@dataclass(frozen=True)
class Retries:
    """The policy of retries after an infrastructure error. A model's answer is never requested again."""

    attempts: int = 4
    first_wait_s: float = 0.5
    longest_wait_s: float = 8.0
    give_up_after: int = 3
    """After this many failed requests in a row, times the concurrency, the rest is not sent."""
    longest_retry_after_s: float = 60.0
    """A server that asks for more patience (``Retry-After``) is not asked again."""

    def wait_s(self, attempt: int) -> float:
        """Exponential, with jitter so that a crowd doesn't come back as a crowd."""
        longest = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (attempt - 1))
        return longest * random.uniform(0.5, 1.0)

    def wait_after(self, reply: Reply, attempt: int) -> float | None:
        """As :meth:`wait_s`, and at least what the answer's ``Retry-After`` says; None if that is too long."""
        told_s = retry_after_s(reply.headers.get("retry-after"))
        if told_s is not None and told_s > self.longest_retry_after_s:
            return None
        return max(self.wait_s(attempt), told_s or 0.0)


def complete_all(
    server: Server,
    requests: Sequence[JsonObject],
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
        bodies: Sequence[dict[str, Json]],
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
        self.answered = False
        self.timeouts = 0
        """Time-outs before the first answer."""
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
                    lost = Answer(
                        index, "", "", None, None, None, None, RequestOutcome.CONNECT_ERROR, error, 0, 0.0
                    )
                    self._keep(lost)
                    continue
                body = self._body(index)
                reply = await pool.send(self._request(pool, body))
                if reading is not None:
                    await reading
                reading = group.create_task(self._read(pool, index, body, reply))
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

    def _body(self, index: int) -> dict[str, Json]:
        """The request without what the server is known to refuse of what we add."""
        body = self.bodies[index]
        return without(body, self.server.capabilities.refused, keep=body.keys() - {"stream_options"})

    def _request(self, pool: Pool, body: JsonObject) -> bytes:
        return pool.endpoint.request("POST", path_of(body), body)

    @property
    def _is_given_up(self) -> bool:
        wave = min(self.saturation.limit, len(self.bodies))
        # A server that never answers takes the whole time-out for each try: one wave of that is enough.
        return self.failed_in_a_row >= self.retries.give_up_after * wave or (
            self.timeouts >= wave and not self.answered
        )

    async def _read(self, pool: Pool, index: int, body: JsonObject, reply: Reply) -> None:
        answer = await self._one(pool, index, body, reply)
        self.failed_in_a_row = self.failed_in_a_row + 1 if _passing(answer) else 0
        self.answered = self.answered or answer.ok
        self.timeouts += answer.outcome is RequestOutcome.TIMEOUT and not answer.text
        self.last_error = answer.error or self.last_error
        self._keep(answer)

    def _keep(self, answer: Answer) -> None:
        self.answers[answer.index] = answer
        self.done += 1
        if self.on_answer:
            self.on_answer(answer)
        if self.on_progress:
            self.on_progress(self.done, len(self.bodies))

    async def _one(self, pool: Pool, index: int, body: JsonObject, reply: Reply) -> Answer:
        """The answer in ``reply``, or in that to a further sending."""
        attempt = 1
        while True:
            if reply.status in _REFUSED or 300 <= reply.status < 400:
                error = without_secrets(trace_of(reply).error, pool.endpoint.secrets)
                self._refused(reply.status, error)
            if (fewer := self._without_refused(index, body, reply)) != body:
                body = fewer
                reply = await pool.send(self._request(pool, body))
                continue
            answer = replace(_answer(trace_of(reply, index, whole=self.whole)), attempts=attempt)
            if self.whole and answer.outcome is RequestOutcome.TIMEOUT:
                # It is unknown whether text was coming; if so, it would come, and be lost, again.
                return answer
            if attempt >= self.retries.attempts or not _passing(answer):
                return answer
            if self.server.has_died is not None and self.server.has_died():
                return answer
            wait_s = self.retries.wait_after(reply, attempt)
            if wait_s is None:
                told = f"it asks to wait {reply.headers.get('retry-after', '')[:40]}"
                return replace(
                    answer, error=f"{answer.error} ({told}, at most {self._patience_s:g} s are waited)"
                )
            await asyncio.sleep(wait_s)
            attempt += 1
            reply = await pool.send(self._request(pool, body))

    @property
    def _patience_s(self) -> float:
        return self.retries.longest_retry_after_s

    def _without_refused(self, index: int, body: JsonObject, reply: Reply) -> JsonObject:
        """The body to send again if ``reply`` refuses a field of it that we added by ourselves; else the same."""
        refused = refused_in(reply, body) & {"stream_options", "continuous_usage_stats", *RENAMED}
        known = self.server.capabilities
        if new := refused - known.refused:
            remember(known, new, reply)
        return self._body(index) if refused else body

    def _refused(self, status: int, error: str) -> None:
        where = self.server.shown
        if status == 404:
            raise WrongServer(f"the server does not serve model {self.server.model!r} at {where}: {error}")
        if 300 <= status < 400:
            raise WrongServer(f"the server at {where}: {error}")
        what = "refuses the API key" if is_about_the_key(status, error) else "forbids the request"
        raise WrongServer(f"the server at {where} {what}: {error}")


def _answer(trace: Trace) -> Answer:
    outcome, error = trace.outcome, trace.error
    if (
        outcome is RequestOutcome.OK
        and not trace.tool_calls
        and is_invisible(trace.text + trace.reasoning_text)
    ):
        # Graded, they would be wrong on both sides, and equal.
        outcome = RequestOutcome.EMPTY
        error = INVISIBLE.format(trace.completion_tokens)
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
        tool_calls=trace.tool_calls,
    )


def _passing(answer: Answer) -> bool:
    """True if the failure may pass by itself."""
    if answer.outcome is RequestOutcome.HTTP_ERROR:
        return answer.status in PASSING
    if answer.outcome is RequestOutcome.TIMEOUT:
        # Text was coming: a model that loops for ever would loop again, and take the time again.
        return not (answer.text or answer.reasoning)
    if answer.outcome is RequestOutcome.EMPTY:
        # Where tokens were counted, the model has spoken, if invisibly.
        return not answer.completion_tokens
    return answer.outcome in _BROKEN
