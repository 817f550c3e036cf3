"""Check that the clock is the machine's own: tests replace clocks (freezegun, time-machine, monkeypatch)."""

from __future__ import annotations

import os
import time
import types

from pytest_llmperf.client import connection, pool, reply
from pytest_llmperf.errors import NotMeasured

_READ_BY_NAME = ("perf_counter", "monotonic", "thread_time")
"""Clocks of the ``time`` module that the client and its event loop read."""
_SLACK_S, _SLACK_SHARE = 0.1, 0.01
"""The system's other clock has a resolution of 10 ms, and is read a moment later."""
_APART_S = 1.0
_ALIKE = abs(time.monotonic() - time.perf_counter()) < _APART_S
"""On Linux and macOS both read the same clock. What replaces one of them beneath Python (time-machine) sets them
apart."""


class RealClock:
    """Made before times are taken, and asked after it."""

    def __init__(self) -> None:
        """Raises ``NotMeasured`` if a clock is replaced now."""
        _require_own()
        self._began = reply.now(), time.monotonic(), os.times().elapsed

    def check(self) -> None:
        """Raises ``NotMeasured`` if a clock was replaced meanwhile, or did not run as the system's own did."""
        _require_own()
        true_s = os.times().elapsed - self._began[2]
        for seen_s in (reply.now() - self._began[0], time.monotonic() - self._began[1]):
            # Windows has no elapsed time there.
            if self._began[2] and abs(seen_s - true_s) > _SLACK_S + _SLACK_SHARE * true_s:
                raise NotMeasured(
                    f"the clock went {seen_s:.3f} s while {true_s:.3f} s passed: something replaces the process's "
                    "clock; measure outside of it"
                )


def _require_own() -> None:
    clocks = {f"time.{name}": getattr(time, name) for name in _READ_BY_NAME}
    clocks |= {f"{module.__name__}.now": module.now for module in (reply, connection, pool)}
    for name, clock in clocks.items():
        if not isinstance(clock, types.BuiltinFunctionType):
            by = getattr(clock, "__module__", None) or type(clock).__module__
            raise NotMeasured(
                f"{name} is not the machine's clock but {clock!r} (of {by}): times cannot be measured while a test "
                "replaces the clock (freezegun, monkeypatch); measure models outside of it"
            )
    if _ALIKE and (apart_s := abs(time.monotonic() - reply.now())) > _APART_S:
        raise NotMeasured(
            f"time.monotonic and time.perf_counter are {apart_s:.3g} s apart, and read the same clock of the machine: "
            "something replaces one of them (time-machine); measure models outside of it"
        )
