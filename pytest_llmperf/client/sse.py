"""Server-sent events out of the bytes of a body; pure, and used after the run.

Follows the event stream format of the HTML standard (section 9.2.6): lines end in LF, CR or CRLF, a line that begins
with a colon is a comment, one space after ``data:`` is dropped, several ``data`` lines are joined by LF, and a blank
line completes the event. Two things go beyond it, because servers tell their failures so: a field ``error:`` is an
event named ``error`` (llama.cpp until late 2025), and a line that begins with a brace is an event of its own.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r)")
_BOM = b"\xef\xbb\xbf"
ERROR = "error"
_ERROR_NAMES = re.compile(r"error|exception|^err$|^fail|^abort|^fault", re.IGNORECASE)
"""Names of events that tell of a failure, whatever their data look like."""
BARE = "bare"
"""Name of an event that is a line of JSON without a field's name."""


@dataclass(frozen=True, slots=True)
class SseEvent:
    time_s: float
    """Time of the read that brought the byte which completed the event."""
    data: str
    name: str = ""


@dataclass(frozen=True)
class EventStream:
    events: tuple[SseEvent, ...]
    rest: str
    """Data of an event that no blank line completed: ``""`` unless the stream was cut (or ends
    carelessly)."""


@dataclass(slots=True)
class Block:
    """One event within a body."""

    name: str
    data: bytes
    complete: int
    """Number of bytes of the body that had to come for it to be complete."""
    after: int
    """Offset at which the next one begins."""


class Clock:
    """Arrival time of a byte of the body; must be called in the order of the bytes."""

    def __init__(self, times: Sequence[float], ends: Sequence[int]) -> None:
        self.times, self.ends = times, ends
        self.read = 0
        """The read that was asked about last."""

    def at(self, count: int) -> float:
        """Time of the read with which the first ``count`` bytes had come."""
        ends, read = self.ends, self.read
        while ends[read] < count:
            read += 1
        self.read = read
        return self.times[read]


def begin(body: bytes) -> int:
    """Offset at which the first event may begin: after a byte order mark."""
    return len(_BOM) if body.startswith(_BOM) else 0


def next_block(body: bytes, start: int) -> Block | None:
    """The first event at or after ``start``, which is the beginning of one; None where no further one is complete."""
    data: list[bytes] = []
    name = ""
    at = start
    while (match := _LINE.match(body, at)) is not None:
        line = match[1]
        # The first byte of CRLF ends the line already.
        complete, at = match.start(2) + 1, match.end()
        if not line:
            if data or name == ERROR:
                return Block(name, b"\n".join(data), complete, at)
            name = ""
        elif line.startswith(b"{") and not data and not name:
            return Block(BARE, line, complete, at)
        else:
            name = _take(line, data, name)
    return None


def rest(body: bytes, start: int) -> tuple[str, str]:
    """(name, data) of what no blank line completed."""
    data: list[bytes] = []
    name = ""
    for line in re.split(rb"\r\n|\n|\r", body[start:]):
        if not line:
            name = name if data else ""
        elif line.startswith(b"{") and not data and not name:
            name, data = BARE, [line]
        else:
            name = _take(line, data, name)
    return name, text(b"\n".join(data))


def text(data: bytes) -> str:
    """Bytes that are not UTF-8 become U+FFFD, as the standard says."""
    return data.decode("utf-8", errors="replace")


def parse(chunks: Iterable[tuple[float, bytes]]) -> EventStream:
    """All events of a stream that came as ``(time of the read in seconds, bytes)``.

    How the bytes were split has no influence on the events, only on their times. Ids and retry hints are read over.
    """
    body, times, ends = bytearray(), array("d"), array("Q")
    for time_s, chunk in chunks:
        body += chunk
        times.append(time_s)
        ends.append(len(body))
    whole, clock = bytes(body), Clock(times, ends)
    events: list[SseEvent] = []
    at = begin(whole)
    while (block := next_block(whole, at)) is not None:
        events.append(SseEvent(clock.at(block.complete), text(block.data), block.name))
        at = block.after
    return EventStream(tuple(events), rest(whole, at)[1])


def _take(line: bytes, data: list[bytes], name: str) -> str:
    """Add a line's data, and return the name that the event now has."""
    field, colon, value = line.partition(b":")
    value = value.removeprefix(b" ")
    if field == b"data":
        data.append(value if colon else b"")
    elif field == b"event":
        named = text(value).strip().lower()
        return ERROR if _ERROR_NAMES.search(named) else named
    elif field == b"error":
        data.append(value)
        return ERROR
    return name
