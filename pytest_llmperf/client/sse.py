"""Server-sent events out of timed chunks of bytes; pure, and used after the run.

Follows the event stream format of the HTML standard (section 9.2.6): lines end in LF, CR or CRLF, a line that
begins with a colon is a comment, one space after ``data:`` is dropped, several ``data`` lines are joined by
LF, and a blank line completes the event.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    time_s: float
    """Time of the read that brought the byte which completed the event."""
    data: str


@dataclass(frozen=True)
class EventStream:
    events: tuple[Event, ...]
    rest: str
    """Data of an event that no blank line completed: ``""`` unless the stream was cut (or ends
    carelessly)."""


def parse(chunks: Iterable[tuple[float, bytes]]) -> EventStream:
    """All events of a stream that came as ``(time of the read in seconds, bytes)``.

    How the bytes were split has no influence on the events, only on their times. Bytes that are not UTF-8
    become U+FFFD, as the standard says. Event names, ids and retry hints are read over.
    """
    events: list[Event] = []
    data: list[bytes] = []
    pending: list[bytes] = []
    at_start, after_cr = True, False
    for time_s, chunk in chunks:
        if after_cr and chunk:
            # The CR was a line's end already; an LF that follows it in another read belongs to it.
            after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if not chunk:
            continue
        if b"\n" not in chunk and b"\r" not in chunk:
            pending.append(chunk)
            continue
        lines = _LINE_END.split(b"".join([*pending, chunk]))
        after_cr = chunk.endswith(b"\r")
        tail = lines.pop()
        pending = [tail] if tail else []
        if at_start:
            at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        for line in lines:
            if line:
                _take(line, data)
            elif data:
                events.append(Event(time_s, b"\n".join(data).decode("utf-8", errors="replace")))
                data.clear()
    tail = b"".join(pending)
    _take(tail.removeprefix(_BOM) if at_start else tail, data)
    return EventStream(tuple(events), b"\n".join(data).decode("utf-8", errors="replace"))


def _take(line: bytes, data: list[bytes]) -> None:
    name, _, value = line.partition(b":")
    if name == b"data" and line != b"data":
        data.append(value.removeprefix(b" "))
    elif line == b"data":
        data.append(b"")
