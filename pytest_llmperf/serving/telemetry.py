"""Sample a device during a load: memory, power, energy, clocks and why they were lowered, ten times a second."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

PERIOD_S = 0.1
MOST_SHARE = 0.008
"""Share of a core that sampling may use. On a machine whose driver answers slowly, it asks less often."""
AT_LEAST_EVERY_S = 1.0
"""Maximum age of the answer to a question, seconds, whatever it costs."""

# Bits of NVML's clocks event reasons (nvml.h, nvmlClocksEventReasons) that lower the clock of a busy device.
# Idle (1), a clock set by the user (2), sync boost (16) and display (256) are not among them.
LOWERED = {
    4: "power cap",
    8: "hardware slowdown",
    32: "thermal slowdown by software",
    64: "thermal slowdown by hardware",
    128: "power brake",
}


@dataclass(frozen=True)
class Reading:
    """One device at one moment; None for what it does not tell, or was not asked this time."""

    time_s: float
    """Time by ``time.perf_counter``, the clock of the requests."""
    used_bytes: int | None = None
    power_w: float | None = None
    """If the device counts its energy: the mean since the previous reading."""
    energy_j: float | None = None
    """Energy since the driver was loaded."""
    sm_clock_mhz: int | None = None
    lowered: int | None = None
    """Bits of :data:`LOWERED`, and others that do not count."""


Question = Callable[[], float | None]


class Instrument(Protocol):
    """Anything that can read a device, such as :class:`pytest_llmperf.serving.gpu.RealNvml`."""

    def questions(self, index: int) -> Mapping[str, Question]:
        """Functions that read the device with NVML's number ``index``, by field of :class:`Reading`.

        A question never raises for what the device does not tell: it answers None.
        """


@dataclass(frozen=True)
class Telemetry:
    """Readings of one device from begin to end of a load."""

    readings: tuple[Reading, ...]
    cpu_s: float
    """Processor time of the sampling thread itself."""
    lost: frozenset[str] = frozenset()
    """Fields of `Reading` that the device told at the beginning, and no longer at the end of the load."""

    @property
    def window_s(self) -> float:
        return self.readings[-1].time_s - self.readings[0].time_s

    @property
    def cpu_share(self) -> float:
        """Share of a core that the sampling used."""
        return self.cpu_s / self.window_s if self.window_s > 0 else 0.0

    @property
    def peak_bytes(self) -> int | None:
        """Highest reading; None without any, or where the readings ended before the load did."""
        if "used_bytes" in self.lost:
            return None
        return max(
            (reading.used_bytes for reading in self.readings if reading.used_bytes is not None), default=None
        )

    @property
    def energy_j(self) -> float | None:
        """Joules between the first reading and the last.

        By the device's own counter; where it has none, the power integrated by trapezoids. None if it tells neither, or
        stopped telling before the last reading: the energy of a part is not that of the load.
        """
        if self.lost & {"energy_j", "power_w"}:
            return None
        return self._joules[-1][1] - self._joules[0][1] if self._joules else None

    def energy_between_j(self, begin_s: float, end_s: float) -> float | None:
        """Joules within a part of the window, linear between readings; None where they are not known.

        ``begin_s`` and ``end_s`` are of ``time.perf_counter``.
        """
        if not self._joules or not self._joules[0][0] <= begin_s <= end_s <= self._joules[-1][0]:
            return None
        return self._joules_at(end_s) - self._joules_at(begin_s)

    @property
    def mean_power_w(self) -> float | None:
        energy = self.energy_j
        return None if energy is None or self.window_s <= 0 else energy / self.window_s

    @property
    def sm_clock_mhz(self) -> tuple[int, int] | None:
        """Lowest and highest clock that was seen."""
        clocks = [reading.sm_clock_mhz for reading in self.readings if reading.sm_clock_mhz is not None]
        return (min(clocks), max(clocks)) if clocks else None

    @property
    def lowered_share(self) -> dict[str, float]:
        """Reason → share of the readings at which it lowered the clocks; empty if none ever did."""
        told = [reading.lowered for reading in self.readings if reading.lowered is not None]
        shares = {
            name: sum(bool(bits & bit) for bits in told) / max(len(told), 1) for bit, name in LOWERED.items()
        }
        return {name: share for name, share in shares.items() if share}

    @cached_property
    def _joules(self) -> list[tuple[float, float]]:
        """(moment, joules so far) by the counter, or by the power; empty with fewer than two."""
        counted = [
            (reading.time_s, reading.energy_j) for reading in self.readings if reading.energy_j is not None
        ]
        if len(counted) > 1:
            return counted
        known = [
            (reading.time_s, reading.power_w) for reading in self.readings if reading.power_w is not None
        ]
        if len(known) < 2:
            return []
        sums = [(known[0][0], 0.0)]
        for (before, p), (after, q) in pairwise(known):
            sums.append((after, sums[-1][1] + (after - before) * (p + q) / 2))
        return sums

    def _joules_at(self, moment_s: float) -> float:
        right = min(
            bisect_right(self._joules, moment_s, key=lambda counted: counted[0]), len(self._joules) - 1
        )
        (before, low), (after, high) = self._joules[max(right - 1, 0)], self._joules[right]
        return high if after <= before else low + (high - low) * (moment_s - before) / (after - before)


class DeviceSampler:
    """Reads one device in a thread of its own, from ``with`` to its end; then ``telemetry`` is there.

    A question to the driver costs up to a millisecond of processor time (docs/evidence/), most of it in the kernel,
    and five of them ten times a second cost 3 to 5 % of a core. So energy, from which power follows, is asked ten
    times a second, and the other questions take turns as ``most_share`` of a core allows, each at least once a
    second; what they cost, the sampler measures itself.
    """

    def __init__(
        self,
        instrument: Instrument,
        index: int,
        period_s: float = PERIOD_S,
        most_share: float = MOST_SHARE,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        """``spent``: processor time of the calling thread, seconds."""
        if not period_s > 0:
            raise ValueError(f"period_s is {period_s}; need more than 0")
        self._instrument = instrument
        self._index = index
        self._period_s = period_s
        self._most_share = most_share
        self._spent = spent
        self._questions: dict[str, Question] = {}
        self._first = ""
        """Questions asked at every reading."""
        self._turns: deque[str] = deque()
        self._asked_s: dict[str, float] = {}
        self._cost_s: dict[str, float] = {}
        """Time at which each question was last asked."""
        self._readings: list[Reading] = []
        self._cpu_s = 0.0
        self._lost: frozenset[str] = frozenset()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="llmperf-telemetry", daemon=True)

    def __enter__(self) -> DeviceSampler:
        # The first reading here and the last in __exit__: the window is the caller's, whatever the thread does.
        self._questions = dict(self._instrument.questions(self._index))
        told = self._ask(self._questions)
        # A device that has no answer now has none later.
        self._questions = {name: self._questions[name] for name in told}
        if "energy_j" in told:
            self._questions.pop("power_w", None)
        self._first = next((name for name in ("energy_j", "power_w") if name in self._questions), "")
        self._turns.extend(name for name in self._questions if name != self._first)
        self._keep(told)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        told = self._ask(self._questions)
        self._lost = frozenset(self._questions) - frozenset(told)
        self._keep(told)

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set() and not self._thread.is_alive()

    @property
    def telemetry(self) -> Telemetry:
        """The readings. Raises ``RuntimeError`` before the end."""
        if not self.has_ended:
            raise RuntimeError("the sampler still reads: ask after the `with` block")
        return Telemetry(tuple(self._readings), self._cpu_s, self._lost)

    def _sample(self) -> None:
        begun, before = time.perf_counter(), self._spent()
        due = begun + self._period_s
        while not self._ended.wait(max(0.0, due - time.perf_counter())):
            now = time.perf_counter()
            # What may have been spent by now, less what was: the thread's own waking is in it.
            left = self._most_share * (now - begun) - (self._spent() - before)
            if names := self._affordable(now, left):
                self._keep(self._ask(names))
            self._cpu_s = self._spent() - before
            # On an absolute schedule; moments that were missed are left out and not caught up.
            due = max(due + self._period_s, time.perf_counter())

    def _affordable(self, now: float, left: float) -> list[str]:
        """Which questions to ask now, for ``left`` seconds of processor time."""
        names = []
        overdue = now - AT_LEAST_EVERY_S
        if self._first and (left > 0 or self._asked_s[self._first] <= overdue):
            names.append(self._first)
            left -= self._cost_s[self._first]
        for _ in range(len(self._turns)):
            name = self._turns[0]
            if left < self._cost_s[name] and self._asked_s[name] > overdue:
                break
            self._turns.rotate(-1)
            names.append(name)
            left -= self._cost_s[name]
        return names

    def _ask(self, names: Any) -> dict[str, Any]:
        """The answers by name, with the moment as ``time_s``; without those that the device does not give."""
        told: dict[str, Any] = {}
        for name in names:
            before = self._spent()
            answer = self._questions[name]()
            self._cost_s[name] = self._spent() - before
            self._asked_s[name] = time.perf_counter()
            if answer is not None:
                told[name] = answer
        return told

    def _keep(self, told: Mapping[str, Any]) -> None:
        now = self._asked_s.get(self._first) if self._first in told else None
        reading = Reading(time_s=time.perf_counter() if now is None else now, **told)
        before = next((reading for reading in reversed(self._readings) if reading.energy_j is not None), None)
        if reading.energy_j is not None and before is not None and before.energy_j is not None:
            passed = reading.time_s - before.time_s
            if passed > 0:
                reading = replace(reading, power_w=(reading.energy_j - before.energy_j) / passed)
        self._readings.append(reading)


def joules_per_token(telemetry: Telemetry, tokens: int, idle_w: float = 0.0) -> float | None:
    """Energy over the load by its output tokens, less what the device takes idle; None if energy is not told."""
    energy = telemetry.energy_j
    if energy is None or tokens < 1:
        return None
    return (energy - idle_w * telemetry.window_s) / tokens
