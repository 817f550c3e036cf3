"""One answer of the known-truth server on its way out, on an absolute schedule."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_llmperf.client.reply import now
from pytest_llmperf.load.truth_options import TruthOptions
from pytest_llmperf.load.truth_stream import END, HEADERS, Plan, Writer, cut_in_character, http_chunk

if TYPE_CHECKING:
    from pytest_llmperf.load.truth_connection import TruthConnection


@dataclass
class Told:
    """The truth of one request."""

    request_id: str
    connection: int
    received_s: float
    tokens_s: array[float] = field(default_factory=lambda: array("d"))
    """When the bytes of chunk i were handed to the kernel."""
    counts: array[int] = field(default_factory=lambda: array("I"))
    """Tokens in chunk i."""


def rendered(plan: Plan, options: TruthOptions) -> tuple[tuple[bytes, int], ...]:
    """(bytes to hand over, tokens in them) of every chunk."""
    writer = Writer(plan, options)
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
    """Each event's beginning is moved to the part before; the first one's stays."""
    moved: list[tuple[bytes, int]] = []
    rest = parts[0][0] if parts else b""
    for index, (_, count) in enumerate(parts):
        following = parts[index + 1][0] if index + 1 < len(parts) else b""
        cut = cut_in_character(following)
        moved.append((rest + following[:cut], count))
        rest = following[cut:]
    return moved


class Stream:
    """One answer on its way out."""

    def __init__(
        self, connection: TruthConnection, plan: Plan, told: Told, *, slow: bool, whole: bool
    ) -> None:
        self.connection, self.plan, self.told = connection, plan, told
        self.server = connection.server
        self.options = options = self.server.options
        self.parts = self.server.rendered(plan)
        self.writer = Writer(plan, options)
        self.next = 0
        self.sent_tokens = 0
        self.whole = whole
        self.extra_s = options.slow_ms / 1e3 if slow else 0.0
        self.start_s = 0.0

    def begin(self, start_s: float) -> None:
        if not self.whole:
            opening = self.writer.role() if self.options.role_chunk == "early" else b""
            if self.options.empty_deltas:
                opening += self.writer.empty(0)
            self.connection.write(HEADERS + http_chunk(opening))
        self.start_s = start_s
        if self.whole:
            self.server.clock.at(self._due(self.plan.tokens - 1), self._send_whole)
        else:
            self.server.clock.at(self._due(0), self._send)

    def _due(self, token: int) -> float:
        options = self.options
        frozen = options.freeze_ms if token >= options.freeze_at else 0.0
        return self.start_s + self.extra_s + (options.ttft_ms + token * options.gap_ms + frozen) / 1e3

    def _send(self) -> None:
        if self.connection.closed:
            self.server.left()
            return
        if self.options.cut_after == self.sent_tokens:
            self.connection.cut()
            self.server.left()
            return
        if self.options.error_after == self.sent_tokens:
            self._finish(self.writer.error() + self.writer.event("[DONE]"))
            return
        data, count = self.parts[self.next]
        self.next += 1
        # Before the call: the reader may run on another core before it returns.
        self.told.tokens_s.append(now())
        self.told.counts.append(count)
        self.connection.write(data)
        self.sent_tokens += count
        if self.next < len(self.parts):
            self.server.clock.at(self._due(self.sent_tokens), self._send)
        else:
            self._finish(self.writer.tail())

    def _send_whole(self) -> None:
        self.connection.reply_json(200, self.writer.whole())
        self.server.left()

    def _finish(self, tail: bytes) -> None:
        self.connection.write(http_chunk(tail) + END)
        self.server.left()
