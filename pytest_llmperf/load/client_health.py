"""Load of the client's own process while it measures."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pytest_llmperf.client import loop
from pytest_llmperf.client.reply import now
from pytest_llmperf.stats.order_statistics import quantile

_LAG_EVERY_S = 0.05
"""At one stream every timer is a wake-up beside a hundred reads a second: at 20 ms they cost a third of the client."""


@dataclass(frozen=True)
class ClientHealth:
    """CPU time and timer lag of the client."""

    cpu_s: float
    cpu_share: float
    """Share of one core over the window; the client's loop is one thread."""
    lag_p99_s: float
    """p99 of the loop's lateness to a timer; a millisecond of it is the timers' own resolution."""
    lag_max_s: float
    loop: str
    """``uvloop`` or ``asyncio``."""
    late_share: float = 0.0
    """Share of the window for which the loop was late to a timer."""


@contextmanager
def no_collector() -> Iterator[None]:
    """A collection among pytest's objects takes tens of milliseconds: none during the window."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class ClientWatch:
    """CPU time of this thread and lag of its loop, from now to :meth:`stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._cpu_s, self._began = time.thread_time(), now()
        self._lags: list[float] = []
        self._arm()

    def _arm(self) -> None:
        self._due = now() + _LAG_EVERY_S
        self._timer = self._loop.call_later(_LAG_EVERY_S, self._ring)

    def _ring(self) -> None:
        self._lags.append(max(0.0, now() - self._due))
        self._arm()

    def stop(self) -> ClientHealth:
        self._timer.cancel()
        # After a standstill, the end of the load may run before the timer does.
        if (late_s := now() - self._due) > 0:
            self._lags.append(late_s)
        cpu_s, wall_s = time.thread_time() - self._cpu_s, now() - self._began
        lags = self._lags or [0.0]
        return ClientHealth(
            cpu_s,
            cpu_s / wall_s,
            quantile(lags, 0.99),
            max(lags),
            loop.loop_name(),
            late_share=sum(lags) / wall_s,
        )
