"""From the bytes of an OpenAI-style stream to a :class:`Trace`; pure, and used after the run.

Understands ``/v1/chat/completions`` and ``/v1/completions`` of vLLM and of servers like it. What counts as a
token is what a reader of the answer sees: a chunk with the role, with empty text or with ``usage`` alone is
none.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmperf.client import sse
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.trace import Arrival, Outcome, Trace
from pytest_llmperf.serving.http_client import redirect

_ENDINGS = {
    Ending.CUT: Outcome.CUT,
    Ending.TIMEOUT: Outcome.TIMEOUT,
    Ending.CONNECT_ERROR: Outcome.CONNECT_ERROR,
    Ending.MALFORMED: Outcome.STREAM_ERROR,
}
_ABORTED = ("abort", "error")
"""Finish reasons with which vLLM says that the engine, not the model, ended the answer."""


def trace_of(
    reply: Reply,
    index: int = 0,
    intended_s: float | None = None,
    *,
    keep_events: bool = False,
    whole: bool = False,
) -> Trace:
    """One request's trace. ``intended_s`` None: it was to be sent when it was sent (closed loop).

    ``whole``: no stream was asked for, and the one JSON object is read as a stream's only event.
    """
    reading = _Reading()
    events: tuple[str, ...] = ()
    if reply.status == 200 and whole:
        if reply.ending is Ending.COMPLETE:
            reading.take(reply.end_s, reply.text())
    elif reply.status == 200:
        stream = sse.parse(reply.chunks())
        for event in stream.events:
            reading.take(event.time_s, event.data)
        if stream.rest.strip() == "[DONE]":
            reading.done = True
        if keep_events:
            events = tuple(event.data for event in stream.events)
    outcome, error = _outcome(reply, reading)
    return Trace(
        index=index,
        intended_s=reply.sent_s if intended_s is None else intended_s,
        sent_s=reply.sent_s,
        headers_s=reply.headers_s,
        arrivals=tuple(reading.arrivals),
        end_s=reply.end_s,
        outcome=outcome,
        finish_reason=reading.finish_reason,
        prompt_tokens=reading.prompt_tokens,
        completion_tokens=reading.completion_tokens,
        cached_tokens=reading.cached_tokens,
        error=error,
        events=events,
        last_token_s=reading.last_token_s,
    )


def _outcome(reply: Reply, reading: _Reading) -> tuple[Outcome, str]:
    if reply.status not in (0, 200):
        if 300 <= reply.status < 400:
            return Outcome.HTTP_ERROR, redirect(reply.status, reply.headers.get("location"))
        return Outcome.HTTP_ERROR, f"HTTP {reply.status}: {_message_of(reply.text())}"
    if reading.error:
        return Outcome.STREAM_ERROR, reading.error
    if reply.status == 200 and (reading.done or reading.finish_reason is not None):
        # Whatever the connection did after the end of the answer, the answer is whole.
        return Outcome.OK, ""
    if reply.ending is not Ending.COMPLETE:
        return _ENDINGS[reply.ending], reply.detail
    if not reading.chunks:
        kind = reply.headers.get("content-type", "no content type")
        seen = reply.text()[:200]
        return Outcome.STREAM_ERROR, f"HTTP 200, but not an event stream ({kind}): {seen!r}"
    return Outcome.CUT, "the stream ended without a finish reason and without [DONE]"


@dataclass
class _Reading:
    arrivals: list[Arrival] = field(default_factory=list)
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    last_token_s: float | None = None
    chunks: int = 0
    done: bool = False
    error: str = ""
    counted: int = 0
    """Tokens credited to arrivals so far."""
    uncredited: int = 0
    """Tokens of chunks without text (half a character, a stop token), counted one by one."""

    def take(self, time_s: float, data: str) -> None:
        if self.error or not data.strip():
            return
        if data.strip() == "[DONE]":
            self.done = True
            return
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError):
            self.error = f"an event of the stream is not JSON: {data[:200]!r}"
            return
        if not isinstance(chunk, dict):
            self.error = f"an event of the stream is not a JSON object: {data[:200]!r}"
            return
        if chunk.get("error") or chunk.get("object") == "error":
            self.error = f"the stream carries an error: {_message(chunk)}"
            return
        self.chunks += 1
        choice = _first_choice(chunk)
        usage = chunk.get("usage")
        before = self.completion_tokens
        if isinstance(usage, dict):
            self._take_usage(usage)
        if choice is not None:
            self._take_choice(time_s, choice, isinstance(usage, dict), before)

    def _take_usage(self, usage: Mapping[str, Any]) -> None:
        self.prompt_tokens = _count(usage.get("prompt_tokens"), self.prompt_tokens)
        self.completion_tokens = _count(usage.get("completion_tokens"), self.completion_tokens)
        details = usage.get("prompt_tokens_details")
        if isinstance(details, dict):
            self.cached_tokens = _count(details.get("cached_tokens"), self.cached_tokens)

    def _take_choice(
        self, time_s: float, choice: Mapping[str, Any], counted: bool, before: int | None
    ) -> None:
        reasoning, content = _texts(choice)
        tokens: int | None = None
        if counted and self.completion_tokens is not None:
            tokens = max(0, self.completion_tokens - self.counted)
            if self.completion_tokens > (before or 0):
                self.last_token_s = time_s
        elif (own := _tokens_in(choice)) is not None:
            self.uncredited += own
            tokens = self.uncredited
            if own:
                self.last_token_s = time_s
        if reasoning or content:
            self._arrive(time_s, reasoning, content, tokens)
        reason = choice.get("finish_reason")
        if isinstance(reason, str):
            self.finish_reason = reason
            if reason in _ABORTED:
                self.error = f"the server ended the answer with finish_reason {reason!r}"

    def _arrive(self, time_s: float, reasoning: str, content: str, tokens: int | None) -> None:
        if tokens is not None:
            self.counted += tokens
            self.uncredited = 0
        # A vocabulary is finite: a load holds every text of a token many times, and keeps it once.
        reasoning, content = sys.intern(reasoning), sys.intern(content)
        if reasoning and content:
            # One chunk over the border: which tokens were which is not said; the sum is what counts for gaps.
            first = None if tokens is None else max(tokens - 1, 0)
            self.arrivals.append(Arrival(time_s, reasoning, True, first))
            last = None if tokens is None or first is None else tokens - first
            self.arrivals.append(Arrival(time_s, content, False, last))
        else:
            self.arrivals.append(Arrival(time_s, reasoning or content, bool(reasoning), tokens))


def _first_choice(chunk: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choices = chunk.get("choices")
    if not isinstance(choices, Sequence) or isinstance(choices, str):
        return None
    for choice in choices:
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            return choice
    return None


def _texts(choice: Mapping[str, Any]) -> tuple[str, str]:
    """(reasoning, content) of one chunk; an empty string where there is none."""
    delta = choice.get("delta", choice.get("message"))
    if not isinstance(delta, dict):
        return "", _string(choice.get("text"))
    # Some servers send the same reasoning under both names, for old and new clients.
    reasoning = _string(delta.get("reasoning_content")) or _string(delta.get("reasoning"))
    return reasoning, _string(delta.get("content"))


def _tokens_in(choice: Mapping[str, Any]) -> int | None:
    """Tokens of one chunk by its token ids or logprobs, if it has them."""
    ids = choice.get("token_ids")
    if isinstance(ids, list):
        return len(ids)
    logprobs = choice.get("logprobs")
    if isinstance(logprobs, dict):
        listed = logprobs.get("content") or logprobs.get("tokens")
        if isinstance(listed, list):
            return len(listed)
    return None


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object, otherwise: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise


def _message(chunk: Mapping[str, Any]) -> str:
    error = chunk.get("error")
    fields = error if isinstance(error, dict) else chunk
    code = fields.get("code")
    text = error if isinstance(error, str) else fields.get("message") or json.dumps(fields)[:300]
    return f"{text} (code {code})" if code is not None else str(text)


def _message_of(body: str) -> str:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return body[:300] or "no body"
    return _message(parsed) if isinstance(parsed, dict) else body[:300]
