"""The parsed record of one request: every timestamp, and what the server said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from pytest_llmperf.client.drafted import Drafted
from pytest_llmperf.client.tool_calls import ToolCall


class RequestOutcome(StrEnum):
    """The end of a request, seen from the client. Docs: what-counts.md."""

    OK = "ok"
    """A complete answer."""
    HTTP_ERROR = "http_error"
    """Status other than 200; ``error`` holds status and body."""
    STREAM_ERROR = "stream_error"
    """An error object inside the stream, or bytes that are not an event stream."""
    CUT = "cut"
    """The connection ended before ``[DONE]``, or the stream without a finish reason."""
    UNKNOWN_FINISH = "unknown_finish"
    """A finish reason that is not known to mean that the answer is whole."""
    EMPTY = "empty"
    """A finish reason, and not one visible token."""
    OTHER_LENGTH = "other_length"
    """Not the number of tokens that was asked for, in a load of fixed length."""
    TIMEOUT = "timeout"
    CONNECT_ERROR = "connect_error"


class Arrival(NamedTuple):
    """One streamed chunk that carried something visible: content, reasoning, or a tool's call (whose text is "").

    A tuple, because a load makes hundreds of thousands of them.
    """

    time_s: float
    """On the same monotonic clock as ``Trace.sent_s``; the time of the socket read that completed it."""
    text: str
    reasoning: bool = False
    """True if the text came in ``reasoning_content`` or ``reasoning``."""
    tokens: int | None = None
    """Tokens in this chunk, if the server said so (``usage`` in every chunk, or logprobs); None: unknown."""


@dataclass(frozen=True)
class Trace:
    """One request. All times in seconds on one monotonic clock of the client process."""

    index: int
    intended_s: float
    """Intended sending (equal to ``sent_s`` in a closed loop)."""
    sent_s: float
    """Time at which the last byte of the request was handed to the socket."""
    headers_s: float | None
    arrivals: tuple[Arrival, ...]
    end_s: float
    outcome: RequestOutcome
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    error: str = ""
    events: Sequence[str] = field(default=(), repr=False)
    """Raw ``data:`` payloads in order, for behaviour tests; may be empty."""
    last_token_s: float | None = None
    """Arrival of the chunk in which the server's own count of tokens last grew (it may have no text: a stop
    token); None if the server does not count in every chunk."""
    status: int = 0
    """HTTP status; 0 if no response came."""
    hidden_tokens: int = 0
    """Tokens of thinking that are in ``completion_tokens`` and were not sent (``reasoning_tokens`` in ``usage``)."""
    unseen_tokens: int = 0
    """Tokens that one chunk added to the count, after the first, and that its text cannot hold."""
    unread_field: str = ""
    """A field of the stream that held text which is not read here; empty if there was none."""
    drafted: Drafted | None = None
    """Draft tokens of speculative decoding; None if the server does not count them by request."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The tools that the model called, in the order in which the calls began."""

    @property
    def ok(self) -> bool:
        return self.outcome is RequestOutcome.OK

    @property
    def visible_tokens(self) -> int | None:
        """Tokens that were sent; None if the server did not count."""
        return None if self.completion_tokens is None else self.completion_tokens - self.hidden_tokens

    @property
    def text(self) -> str:
        """Content without separately streamed reasoning."""
        return "".join(a.text for a in self.arrivals if not a.reasoning)

    @property
    def reasoning_text(self) -> str:
        return "".join(a.text for a in self.arrivals if a.reasoning)

    @property
    def ttft_s(self) -> float | None:
        """Intended sending (in a closed loop: the sending) → first visible token; None if none came."""
        return self.arrivals[0].time_s - self.intended_s if self.arrivals else None

    @property
    def schedule_delay_s(self) -> float:
        """Intended sending → request written; 0 in a closed loop. Latencies count from the intended time,
        and so contain it."""
        return self.sent_s - self.intended_s
