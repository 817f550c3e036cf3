"""One line below pytest's own, for whoever watches: it overwrites itself, and is gone when there is something to say.

pytest does not learn of it: its cursor is put back where it was, so that dots, names and percentages stand where they
would have stood.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from pytest_llmperf.report.encoding import fitting

_AT_MOST_EVERY_S = 0.1
"""A client that is told of a thousand answers a second has better things to do than to write them all."""

_CLEAR, _UP = "\r\x1b[K", "\x1b[A"


class Writer(Protocol):
    """What is used of pytest's ``TerminalWriter``."""

    @property
    def fullwidth(self) -> int: ...

    @property
    def width_of_current_line(self) -> int: ...

    def write_raw(self, msg: str, *, flush: bool = False) -> None: ...


class LiveLine:
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
        """When the line was last drawn, None if it is not there."""

    def show(self, text: str) -> None:
        """Draw ``text``, cut to the width of the terminal; nothing if it was drawn a moment ago."""
        with self._lock:
            now = self._clock()
            if self._drawn_at is not None and now - self._drawn_at < _AT_MOST_EVERY_S:
                return
            begin = "\n" if self._drawn_at is None else ""
            cut = fitting(text.replace("\n", " "), self._encoding)[: self._writer.fullwidth - 1]
            self._drawn_at = now
            with self._uncaptured():
                self._writer.write_raw(f"{begin}{_CLEAR}{cut}", flush=True)

    def clear(self) -> None:
        """Take the line away, if it is there, and go back to where pytest was."""
        with self._lock:
            if self._drawn_at is None:
                return
            self._drawn_at = None
            right = self._writer.width_of_current_line
            back = f"\x1b[{right}C" if right else ""
            with self._uncaptured():
                self._writer.write_raw(f"{_CLEAR}{_UP}{back}", flush=True)
