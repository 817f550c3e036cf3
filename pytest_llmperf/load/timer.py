"""Calls at exact times on an event loop.

Event loops round timers to milliseconds, a tenth of the gaps that are measured. A Linux timerfd in absolute time is
exact to about ten microseconds, and a single one serves all streams.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import itertools
import os
import sys
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_ABSOLUTE = 1
_TURN_S = 0.0005
"""After so long, whatever is still due waits for a turn of the loop: sockets must be read in time, too."""


class _Spec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class AbsoluteTimer:
    """``at(due_s, call)`` with ``due_s`` in seconds of ``time.perf_counter``; calls of one time keep their
    order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._armed = float("inf")
        self._fd = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._fd >= 0:
            loop.add_reader(self._fd, self._ring)

    def at(self, due_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (due_s, next(self._order), call))
        if due_s < self._armed:
            self._arm(due_s)

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _arm(self, due_s: float) -> None:
        self._armed = due_s
        if self._fd < 0:
            self._loop.call_later(max(0.0, due_s - time.perf_counter()), self._ring)
            return
        # A time in the past rings at once; zero would disarm.
        nanoseconds = max(1, int(due_s * 1e9))
        spec = _Spec(0, 0, nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000)
        self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(spec), None)

    def _ring(self) -> None:
        if self._fd >= 0:
            try:
                os.read(self._fd, 8)
            except BlockingIOError:
                return
        self._armed = float("inf")
        heap = self._heap
        until = time.perf_counter() + _TURN_S
        while heap and heap[0][0] <= time.perf_counter() < until:
            heapq.heappop(heap)[2]()
        if heap and heap[0][0] < self._armed:
            self._arm(heap[0][0])
