"""The memory of a server's processes: device memory by pid where NVML can say it, resident memory otherwise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pytest_llmperf.errors import GpuUnreadable
from pytest_llmperf.measure.served import Served
from pytest_llmperf.serving import gpu, processes

_PERIOD_S = 0.1
_MOST_SHARE = 0.005
"""Share of one core that the watch may use. Finding the processes reads the whole process table: where that is long,
it is read less often."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes. ``peak`` is None when nothing could be read (a server that we did not start)."""

    peak: int | None
    kind: str
    """``device memory`` (NVML, our processes) or ``resident memory`` (peak of each process, summed)."""


class MemoryWatch:
    """Samples the device memory of one server from its first use on, at most ten times a second.

    Resident memory needs no watching: the kernel keeps each process's own peak.
    """

    def __init__(self, served: Served, tell: Callable[[str], None] = lambda _: None) -> None:
        self._served = served
        self._tell = tell
        self._broken = False
        """True if the device stopped answering: a peak that was seen before may not be the peak."""
        self._peak: int | None = None
        self._resident = 0
        """Peak of the earlier servers of the row, bytes."""
        self._nvml: gpu.Nvml = gpu.NoDevices()
        self._root: int | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if not self._served.model.gpus or (root := self._served.server.root_pid) is None:
            return
        if root != self._root:
            # Another start may be on other devices.
            self._root, self._nvml = root, self._served.nvml()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="llmperf-memory", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def keep(self) -> None:
        """Remember the peak of a server that is about to be ended for another start."""
        if not self._served.model.gpus and not (self._served.crashes or self._served.death()):
            self._resident = self.use().peak or 0
        self.pause()

    def pause(self) -> None:
        """Look at no process until the next start: the server is about to end, and its pids may become others'."""
        self._root = None

    def use(self) -> MemoryUse:
        """The peak so far; the server must have been started.

        Raises ``NotMeasured`` if it died in this run and was started again.
        """
        root = self._served.server.root_pid
        self._served.refuse_if_restarted("the peak of memory")
        if root is None:
            return MemoryUse(None, "not our process")
        if self._served.model.gpus:
            self.start()
            self._sample_or_tell()
            return MemoryUse(None if self._broken else self._peak, "device memory")
        now = processes.peak_rss_bytes(processes.tree(root))
        return MemoryUse(max(now, self._resident), "resident memory")

    def _watch(self) -> None:
        pause_s = _PERIOD_S
        while not self._stop.wait(pause_s):
            before = time.thread_time()
            self._sample_or_tell()
            pause_s = max(_PERIOD_S, (time.thread_time() - before) / _MOST_SHARE)

    def _sample_or_tell(self) -> None:
        try:
            self._sample()
        except GpuUnreadable as error:
            self._broken = True
            self._tell(f"{self._served.name}: its peak of device memory is not known: {error.cause}")

    def _sample(self) -> None:
        # Not through the server: asking for it would start a dead one again unnoticed.
        root = self._root
        if root is None:
            return
        used = gpu.memory_of(self._nvml, processes.tree(root))
        if used is not None:
            self._peak = max(self._peak or 0, used)
