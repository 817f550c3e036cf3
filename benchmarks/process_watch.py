"""Processor time and memory of a process and all its descendants, over time."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from bisect import bisect_right

from pytest_llmperf.serving import processes

PERIOD_S = 0.02
"""Between two readings of known processes: what a tool does before its load and after it must not be taken for the
load's, and at a hundred tokens a second a tenth of a second of it would be half of the load's own."""
LOOKS_EVERY = 5
"""Readings from one search for new processes to the next."""


class ProcessWatch:
    """Reads the tree under ``root``, from ``with`` to its end.

    Processes that begin and end between two searches are missed; those that end count with what was read last.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._used: dict[processes.ProcessKey, float] = {}
        self._readings: list[tuple[float, float]] = []
        """(moment on the clock of ``time.perf_counter``, processor time so far)."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._began = time.perf_counter()
        self.peak_bytes = 0
        """Peak resident memory of all processes together; pages that they share count for each."""
        self.wall_s = 0.0

    def __enter__(self) -> ProcessWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s = time.perf_counter() - self._began
        self._ended.set()
        self._thread.join()

    @property
    def cpu_s(self) -> float:
        return self._readings[-1][1] if self._readings else 0.0

    def cpu_between(self, begin_s: float, end_s: float) -> float:
        """Processor time between two moments of ``time.perf_counter``, linear between readings."""
        return self._at(end_s) - self._at(begin_s)

    def kill(self) -> None:
        for pid in processes.tree(self._root):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _at(self, moment_s: float) -> float:
        if not self._readings:
            return 0.0
        right = bisect_right(self._readings, (moment_s, float("inf")))
        if right == 0:
            return self._readings[0][1]
        if right == len(self._readings):
            return self._readings[-1][1]
        (before, low), (after, high) = self._readings[right - 1], self._readings[right]
        return low + (high - low) * (moment_s - before) / (after - before)

    def _watch(self) -> None:
        number, tree = 0, list[processes.Process]()
        while True:
            over = self._ended.wait(PERIOD_S)
            if over or number % LOOKS_EVERY == 0:
                # The root before its descendants: when it has ended and nobody has waited for it, it is still there.
                root = processes.read(self._root)
                tree = [*([root] if root else []), *processes.descendants(self._root)]
                self.peak_bytes = max(self.peak_bytes, processes.rss_bytes(one.pid for one in tree))
            else:
                again = (processes.read(one.pid) for one in tree)
                tree = [one for one in again if one is not None]
            number += 1
            for one in tree:
                self._used[one.key] = max(one.cpu_s, self._used.get(one.key, 0.0))
            self._readings.append((time.perf_counter(), sum(self._used.values())))
            if over:
                return
