"""Progress: a line below pytest's own that overwrites itself, and how fast a phase goes in words.

pytest does not learn of the line: its cursor is put back where it was, so that dots, names and percentages stand where
they would have stood.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from pytest_llmperf.report.encoding import fitting
from pytest_llmperf.visible_text import printable

_AT_MOST_EVERY_S = 0.1
"""Answers may come a thousand times a second."""

_CLEAR, _UP = "\r\x1b[K", "\x1b[A"


class Writer(Protocol):
    """The part of pytest's ``TerminalWriter`` that is used."""

    @property
    def fullwidth(self) -> int: ...

    @property
    def width_of_current_line(self) -> int: ...

    def write_raw(self, msg: str, *, flush: bool = False) -> None: ...


class ProgressLine:
    """Draws with ``writer`` while ``uncaptured()`` is entered; may be called from several threads."""

    def __init__(
        self,
        writer: Writer,
        uncaptured: Callable[[], AbstractContextManager[object]],
        encoding: str = "utf-8",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._uncaptured = uncaptured
        self._encoding = encoding
        self._clock = clock
        self._lock = threading.Lock()
        self._drawn_at: float | None = None
        """Time of the last drawing, None if the line is not there."""

    def show(self, text: str) -> None:
        """Draw ``text``, cut to the width of the terminal; nothing if it was drawn a moment ago."""
        with self._lock:
            now = self._clock()
            if self._drawn_at is not None and now - self._drawn_at < _AT_MOST_EVERY_S:
                return
            begin = "\n" if self._drawn_at is None else ""
            cut = fitting(printable(text.replace("\n", " ")), self._encoding)[: self._writer.fullwidth - 1]
            self._drawn_at = now
            with self._uncaptured():
                self._writer.write_raw(f"{begin}{_CLEAR}{cut}", flush=True)

    def clear(self) -> None:
        """Remove the line, if it is there, and put the cursor back to where pytest left it."""
        with self._lock:
            if self._drawn_at is None:
                return
            self._drawn_at = None
            right = self._writer.width_of_current_line
            back = f"\x1b[{right}C" if right else ""
            with self._uncaptured():
                self._writer.write_raw(f"{_CLEAR}{_UP}{back}", flush=True)


class Pace:
    """The speed of a phase of ``total`` pieces of work, of which ``before`` were done when this was made."""

    def __init__(self, total: int, before: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._before = before
        self._clock = clock
        self._began = clock()

    def describe(self, done: int) -> str:
        """Return ``120 of 400, 31.5/s, 9 s left at most`` for ``done`` pieces, those of before included."""
        gone_s = self._clock() - self._began
        new = done - self._before
        if new <= 0 or gone_s <= 0.0:
            return f"{done:,} of {self._total:,}"
        rate = new / gone_s
        left_s = max(0, self._total - done) / rate
        speed = f"{rate:.1f}/s" if rate >= 1.0 else f"{1.0 / rate:.1f} s each"
        return f"{done:,} of {self._total:,}, {speed}, {duration(left_s)} left at most"


def duration(seconds: float) -> str:
    """Return ``seconds`` as ``8 s``, ``3 min 20 s`` or ``2 h 5 min``.

    >>> duration(7.6), duration(200), duration(7500)
    ('8 s', '3 min 20 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest_s = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s"
    hours, rest_min = divmod(minutes, 60)
    return f"{hours} h {rest_min} min"
