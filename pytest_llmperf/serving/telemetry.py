"""What a device did while a load ran: memory, power, energy, clocks and why they were lowered, ten times a second."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

PERIOD_S = 0.1

# Bits of NVML's clocks event reasons (nvml.h, nvmlClocksEventReasons) that lower the clock of a busy device.
# Idle (1), a clock that somebody set (2), sync boost (16) and display (256) are not among them.
LOWERED = {
    4: "power cap",
    8: "hardware slowdown",
    32: "thermal slowdown by software",
    64: "thermal slowdown by hardware",
    128: "power brake",
}


@dataclass(frozen=True)
class Reading:
    """One device at one moment; None for what it does not tell."""

    time_s: float
    """Of ``time.perf_counter``, the clock of the requests."""
    used_bytes: int | None = None
    power_w: float | None = None
    energy_j: float | None = None
    """Since the driver was loaded."""
    sm_clock_mhz: int | None = None
    lowered: int | None = None
    """Bits of :data:`LOWERED`, and others that do not count."""


class Instrument(Protocol):
    """Who can read a device; :class:`pytest_llmperf.serving.gpu.RealNvml` does."""

    def reading(self, index: int) -> Reading:
        """Of the device with NVML's number ``index``, now; never raises for what it does not tell."""


@dataclass(frozen=True)
class Telemetry:
    """Readings of one device from begin to end of a load."""

    readings: tuple[Reading, ...]
    cpu_s: float
    """Processor time of the sampling thread itself."""

    @property
    def window_s(self) -> float:
        return self.readings[-1].time_s - self.readings[0].time_s

    @property
    def cpu_share(self) -> float:
        """Of one core, used by the sampling."""
        return self.cpu_s / self.window_s if self.window_s > 0 else 0.0

    @property
    def peak_bytes(self) -> int | None:
        return max((one.used_bytes for one in self.readings if one.used_bytes is not None), default=None)

    @property
    def energy_j(self) -> float | None:
        """Joules between the first reading and the last.

        By the device's own counter; where it has none, the power integrated by trapezoids. None if it tells neither.
        """
        counted = [one.energy_j for one in self.readings if one.energy_j is not None]
        if len(counted) > 1:
            return counted[-1] - counted[0]
        known = [(one.time_s, one.power_w) for one in self.readings if one.power_w is not None]
        if len(known) < 2:
            return None
        pairs = pairwise(known)
        return sum((after - before) * (p + q) / 2 for (before, p), (after, q) in pairs)

    @property
    def mean_power_w(self) -> float | None:
        energy = self.energy_j
        return None if energy is None or self.window_s <= 0 else energy / self.window_s

    @property
    def sm_clock_mhz(self) -> tuple[int, int] | None:
        """Lowest and highest clock that was seen."""
        clocks = [one.sm_clock_mhz for one in self.readings if one.sm_clock_mhz is not None]
        return (min(clocks), max(clocks)) if clocks else None

    @property
    def lowered_share(self) -> dict[str, float]:
        """Reason → share of the readings at which it lowered the clocks; empty if none ever did."""
        told = [one.lowered for one in self.readings if one.lowered is not None]
        shares = {
            name: sum(bool(bits & bit) for bits in told) / max(len(told), 1) for bit, name in LOWERED.items()
        }
        return {name: share for name, share in shares.items() if share}


class Sampler:
    """Reads one device in a thread of its own, from ``with`` to its end; then ``telemetry`` is there.

    Five questions ten times a second cost 3 to 5 % of one core on a virtual machine with an H100 (docs/evidence/):
    ``cpu_share`` tells what they cost here.
    """

    def __init__(self, instrument: Instrument, index: int, period_s: float = PERIOD_S) -> None:
        if not period_s > 0:
            raise ValueError(f"period_s is {period_s}; need more than 0")
        self._instrument = instrument
        self._index = index
        self._period_s = period_s
        self._readings: list[Reading] = []
        self._cpu_s = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="llmperf-telemetry", daemon=True)

    def __enter__(self) -> Sampler:
        # The first reading here and the last in __exit__: the window is the caller's, whatever the thread does.
        self._readings.append(self._instrument.reading(self._index))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._readings.append(self._instrument.reading(self._index))

    @property
    def telemetry(self) -> Telemetry:
        """What was read. Raises ``RuntimeError`` before the end."""
        if not self._ended.is_set() or self._thread.is_alive():
            raise RuntimeError("the sampler still reads: ask after the `with` block")
        return Telemetry(tuple(self._readings), self._cpu_s)

    def _sample(self) -> None:
        due = time.perf_counter() + self._period_s
        while not self._ended.wait(max(0.0, due - time.perf_counter())):
            self._readings.append(self._instrument.reading(self._index))
            self._cpu_s = time.thread_time()
            # On an absolute schedule; moments that were missed are left out and not caught up.
            due = max(due + self._period_s, time.perf_counter())


def joules_per_token(telemetry: Telemetry, tokens: int, idle_w: float = 0.0) -> float | None:
    """Energy over the load by its output tokens, less what the device takes idle; None if energy is not told."""
    energy = telemetry.energy_j
    if energy is None or tokens < 1:
        return None
    return (energy - idle_w * telemetry.window_s) / tokens
