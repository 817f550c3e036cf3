"""Bytes of the reference server's streamed replies, rendered before they are due."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.json_values import Json, JsonObject, object_of
from pytest_llmperf.load.reference_server.options import ReferenceOptions

HEADERS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


@dataclass(frozen=True)
class ReplyPlan:
    """Length and form of one reply."""

    tokens: int
    prompt_tokens: int
    finish_reason: str
    chat: bool
    usage: bool
    usage_per_chunk: bool

    @classmethod
    def of(cls, body: JsonObject, prompt_tokens: int, options: ReferenceOptions) -> ReplyPlan:
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        asked = limit if isinstance(limit, int) else 16
        fixed = bool(body.get("ignore_eos")) and not options.eos_always
        stops = 0 < options.eos_after < asked and not fixed
        wanted = object_of(body.get("stream_options"))
        usage = bool(wanted.get("include_usage")) and not options.no_usage
        return cls(
            tokens=options.eos_after if stops else asked,
            prompt_tokens=prompt_tokens,
            finish_reason="stop" if stops else "length",
            chat="messages" in body,
            usage=usage,
            usage_per_chunk=usage and bool(wanted.get("continuous_usage_stats")),
        )


class ReplyWriter:
    """Renders the events of one stream in the dialect that the options select."""

    def __init__(self, plan: ReplyPlan, options: ReferenceOptions) -> None:
        self.plan, self.options = plan, options
        self._end = "\r\n\r\n" if options.crlf else "\n\n"
        self._start = "data:" if options.no_space else "data: "
        self._word = " é世" if options.split_utf8 else " tok"

    def event(self, data: str) -> bytes:
        comment = ": keep-alive" + self._end[: len(self._end) // 2] if self.options.comments else ""
        return f"{comment}{self._start}{data}{self._end}".encode()

    def token_text(self, token: int) -> str:
        think = self.options.think_tokens
        if think and token == 0:
            return "<think>"
        if think and token == think - 1:
            return "</think>"
        return self._word

    def tokens(self, first: int, count: int) -> bytes:
        """The event with tokens ``first`` to ``first + count − 1``; the last one carries the finish
        reason."""
        text = "".join(self.token_text(token) for token in range(first, first + count))
        last = first + count >= self.plan.tokens and not self.options.no_finish_reason
        return self.event(self._chunk(self._delta(first, text), first + count, last))

    def role(self) -> bytes:
        if not self.plan.chat:
            return b""
        return self.event(self._chunk({"role": "assistant", "content": ""}, 0))

    def empty(self, done: int) -> bytes:
        return self.event(self._chunk({"content": ""} if self.plan.chat else {"text": ""}, done))

    def error(self) -> bytes:
        fields = {"message": "the engine failed, as asked", "type": "InternalServerError", "code": 500}
        return self.event(json.dumps({"error": fields}))

    def tail(self) -> bytes:
        """After the last token: ``usage``, ``[DONE]``."""
        parts = []
        if self.plan.usage:
            parts.append(self.event(json.dumps({"choices": [], "usage": self._usage(self.plan.tokens)})))
        if not self.options.no_done:
            parts.append(self.event("[DONE]"))
        return b"".join(parts)

    def whole(self) -> dict[str, Json]:
        """The reply to a request without ``stream``."""
        text = "".join(self.token_text(token) for token in range(self.plan.tokens))
        inner: dict[str, Json] = {"message": {"role": "assistant", "content": text}}
        choice = {
            "index": 0,
            "finish_reason": self.plan.finish_reason,
            **(inner if self.plan.chat else {"text": text}),
        }
        kind = "chat.completion" if self.plan.chat else "text_completion"
        usage = self._usage(self.plan.tokens)
        head: JsonObject = {"id": "truth", "object": kind, "created": 0, "model": self.options.model}
        return {**head, "choices": [choice], "usage": usage}

    def _delta(self, token: int, text: str) -> dict[str, str]:
        if not self.plan.chat:
            return {"text": text}
        field, upto = self.options.reasoning_field, self.options.reasoning_tokens
        return {field: text} if field and (upto < 0 or token < upto) else {"content": text}

    def _chunk(self, delta: Mapping[str, str], done: int, last: bool = False) -> str:
        choice: dict[str, Json] = {"index": 0, "finish_reason": self.plan.finish_reason if last else None}
        choice.update({"delta": delta} if self.plan.chat else delta)
        kind = "chat.completion.chunk" if self.plan.chat else "text_completion"
        chunk: dict[str, Json] = {"id": "truth", "object": kind, "choices": [choice]}
        if self.plan.usage_per_chunk:
            chunk["usage"] = self._usage(done)
        return json.dumps(chunk, ensure_ascii=False)

    def _usage(self, done: int) -> dict[str, int]:
        prompt = self.plan.prompt_tokens
        return {"prompt_tokens": prompt, "completion_tokens": done, "total_tokens": prompt + done}


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def cut_in_character(event: bytes) -> int:
    """Index at which to cut an event within a character of its text; 0 if it has no character of several
    bytes."""
    for position in range(len(event) - 1, 0, -1):
        if event[position] & 0xC0 == 0x80:
            return position
    return 0


def render(plan: ReplyPlan, options: ReferenceOptions) -> tuple[tuple[bytes, int], ...]:
    """Every chunk of a reply: (bytes to send, number of tokens in them)."""
    writer = ReplyWriter(plan, options)
    parts: list[tuple[bytes, int]] = []
    for first in range(0, plan.tokens, options.tokens_per_chunk):
        count = min(options.tokens_per_chunk, plan.tokens - first)
        event = writer.tokens(first, count)
        if options.empty_deltas:
            event += writer.empty(first + count)
        parts.append((event, count))
    if options.split_utf8:
        parts = _overlapped(parts)
    opening = writer.role() if options.role_chunk == "first" else b""
    wired = [(http_chunk(event), count) for event, count in parts]
    if wired:
        wired[0] = (http_chunk(opening) + wired[0][0], wired[0][1])
    return tuple(wired)


def _overlapped(parts: Sequence[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
    """Move the beginning of each event into the chunk before it, cut within a character."""
    moved: list[tuple[bytes, int]] = []
    rest = parts[0][0] if parts else b""
    for index, (_, count) in enumerate(parts):
        following = parts[index + 1][0] if index + 1 < len(parts) else b""
        cut = cut_in_character(following)
        moved.append((rest + following[:cut], count))
        rest = following[cut:]
    return moved
