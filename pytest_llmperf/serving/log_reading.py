"""Read the log of an engine, however long: both ends, and the errors in between.

A log of 100 MB (debug level, a request's dump in every line) must neither fill the memory nor cost the user half a
minute, and its cause may stand anywhere. The middle is searched for the words that errors are written with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

HEAD_BYTES = 512 * 1024
TAIL_BYTES = 1024 * 1024
MIDDLE_BYTES = 1024 * 1024
"""Most that is kept of the errors between the ends."""
_CHUNK_BYTES = 4 * 1024 * 1024
_OVERLAP_BYTES = 16 * 1024
_LINE_BYTES = 4096
_TRACEBACK_BYTES = 12 * 1024
_GAP = b"\n[...]\n"
# Searched one by one: bytes.find is ten times faster than one expression with all of them.
_TRACEBACK = b"Traceback (most recent call last)"
_FATAL_WORDS = (
    _TRACEBACK,
    b"terminate called",
    b"panicked at",
    b"Fatal Python error",
    b"Segmentation fault",
    b"failed to start",
    b"exit code",
    b"CRITICAL",
    b"FATAL",
)
_ERROR_WORDS = (b"ERROR", b"Error:", b"Error\n", b"Exception:", b"Exception\n", b'"error"')
# One kind of line that is repeated for every request must not crowd out the others.
_REPEATS = 3
# Most lines with a common word that are looked at: a log may be full of them.
_COMMON_LINES = 200_000


def read_log(log: Path, offset: int = 0) -> str:
    """The log from ``offset`` on; of a very long one, its two ends and the errors between them."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(min(offset, size))
            if size - offset <= HEAD_BYTES + TAIL_BYTES:
                data = file.read()
            else:
                head = file.read(HEAD_BYTES)
                middle = _errors(file, size - TAIL_BYTES)
                file.seek(size - TAIL_BYTES)
                data = _GAP.join([head, middle, file.read(TAIL_BYTES)])
    except OSError:
        return ""
    return data.decode("utf-8", errors="replace")


def tail(log: Path, count: int) -> str:
    """The last lines of a file, or nothing when it can't be read."""
    return "\n".join(read_log(log).splitlines()[-count:])


def _errors(file: BinaryIO, end: int) -> bytes:
    """The errors from the file's position to ``end``: each line that looks like one, each traceback as a whole.

    Of more than `MIDDLE_BYTES` the first and the last are kept.
    """
    first: list[bytes] = []
    last: deque[bytes] = deque()
    room = {"first": MIDDLE_BYTES // 2, "last": MIDDLE_BYTES // 2}
    seen: dict[bytes, int] = {}
    common_left = _COMMON_LINES
    position = done = file.tell()
    while position < end:
        file.seek(position)
        chunk = file.read(min(_CHUNK_BYTES + _OVERLAP_BYTES, end - position))
        if not chunk:
            break
        places = _places(chunk, _FATAL_WORDS, len(chunk))
        common = _places(chunk, _ERROR_WORDS, common_left)
        common_left -= len(common)
        for place in sorted(places | common):
            if place >= _CHUNK_BYTES:
                break
            if position + place < done:
                continue
            key = chunk[place : place + 300].partition(b"\n")[0].translate(None, b"0123456789 ")
            if b"Traceback(most" not in key:
                seen[key] = seen.get(key, 0) + 1
                if seen[key] > _REPEATS:
                    continue
            block = _block(chunk, place)
            done = position + place + len(block)
            if room["first"] >= len(block):
                first.append(block)
                room["first"] -= len(block)
                continue
            last.append(block)
            room["last"] -= len(block)
            while room["last"] < 0:
                room["last"] += len(last.popleft())
        position += _CHUNK_BYTES
    return _GAP.join([*first, *last])


def _places(chunk: bytes, words: Iterable[bytes], most: int) -> set[int]:
    """Where lines begin that hold one of the words; at most ``most`` of them."""
    places: set[int] = set()
    for word in words:
        place = chunk.find(word)
        while place >= 0 and len(places) < most:
            begin = chunk.rfind(b"\n", max(0, place - _LINE_BYTES), place)
            places.add(begin + 1 if begin >= 0 else max(0, place - _LINE_BYTES))
            end = chunk.find(b"\n", place)
            place = chunk.find(word, end) if end >= 0 else -1
    return places


def _block(chunk: bytes, begin: int) -> bytes:
    """The line at ``begin`` and the two behind it, or a whole traceback."""
    end = chunk.find(b"\n", begin, begin + _LINE_BYTES)
    if end < 0:
        return chunk[begin : begin + _LINE_BYTES]
    for _ in range(2):
        following = chunk.find(b"\n", end + 1, end + _LINE_BYTES)
        end = following if following >= 0 else end
    if _TRACEBACK in chunk[begin:end]:
        end = max(end, chunk.rfind(b"\n", begin, begin + _TRACEBACK_BYTES))
    return chunk[begin:end]
