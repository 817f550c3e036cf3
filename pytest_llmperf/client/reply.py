"""The response to one request, as bytes and times, not yet parsed."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

now = time.perf_counter
"""The package's one clock: seconds, monotonic. On Linux it is CLOCK_MONOTONIC, the same in every process."""


class Ending(StrEnum):
    """The end of the HTTP exchange, whatever the status."""

    COMPLETE = "complete"
    CUT = "cut"
    """The connection closed before the response was complete."""
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    """The bytes are not HTTP/1.1."""
    CONNECT_ERROR = "connect_error"


@dataclass(slots=True)
class Reply:
    """Filled in by the connection while it reads. Times in seconds of :data:`now`.

    The decoded body is one buffer; read ``i`` came at ``times[i]`` and ended at ``body[:ends[i]]``. Two flat
    arrays rather than a list of pairs: 256 streams of 1,000 chunks cost 4 MB of them instead of 40.
    """

    sent_s: float = 0.0
    headers_s: float | None = None
    end_s: float = 0.0
    status: int = 0
    head: dict[bytes, bytes] = field(default_factory=dict)
    """The headers as they came, once all of them had; no trailers."""
    body: bytearray = field(default_factory=bytearray)
    times: array[float] = field(default_factory=lambda: array("d"))
    ends: array[int] = field(default_factory=lambda: array("Q"))
    ending: Ending = Ending.CUT
    detail: str = ""
    received: bool = False
    """True if any byte of a response came: after that, nothing is ever sent again."""
    resent: bool = False
    """True if a stale keep-alive connection made a second sending necessary; ``sent_s`` is the second one."""

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case; the last one where a name came twice. Decoded when they are asked for: a stream that
        succeeds needs none of them."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.head.items()}

    def chunks(self) -> Iterator[tuple[float, bytes]]:
        """(time of the read, its bytes of the body), in order."""
        start = 0
        for time_s, end in zip(self.times, self.ends, strict=True):
            yield time_s, bytes(self.body[start:end])
            start = end

    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")
