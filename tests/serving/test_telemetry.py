"""The sampler against an instrument whose answers are known, and the arithmetic of what was read."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmperf.serving.gpu import RealNvml
from pytest_llmperf.serving.telemetry import Reading, Sampler, Telemetry, joules_per_token


class Instrument:
    """Counts its questions, and says when enough were asked."""

    def __init__(self, enough: int) -> None:
        self.asked: list[int] = []
        self.enough = threading.Event()
        self._wanted = enough

    def reading(self, index: int) -> Reading:
        self.asked.append(index)
        if len(self.asked) >= self._wanted:
            self.enough.set()
        return Reading(time_s=time.perf_counter(), energy_j=100.0 + len(self.asked))


def test_a_device_is_read_at_the_begin_at_the_end_and_in_between() -> None:
    instrument = Instrument(enough=6)
    with Sampler(instrument, 3, period_s=0.01) as sampler:
        begun = time.perf_counter()
        assert instrument.enough.wait(10)
        ended = time.perf_counter()
    telemetry = sampler.telemetry
    assert set(instrument.asked) == {3}
    assert len(telemetry.readings) == len(instrument.asked) >= 7
    assert telemetry.readings[0].time_s <= begun
    assert telemetry.readings[-1].time_s >= ended
    assert telemetry.energy_j == len(instrument.asked) - 1
    assert ended - begun >= 4 * 0.01, "five more readings of 10 ms each cannot take less than four periods"
    assert 0 < telemetry.cpu_share < 1


def test_a_sampler_that_still_reads_tells_nothing() -> None:
    with Sampler(Instrument(enough=1), 0) as sampler, pytest.raises(RuntimeError, match="after the `with`"):
        _ = sampler.telemetry


@pytest.mark.parametrize("period_s", [0.0, -1.0, float("nan")])
def test_a_period_must_be_positive(period_s: float) -> None:
    with pytest.raises(ValueError, match="need more than 0"):
        Sampler(Instrument(enough=1), 0, period_s)


def telemetry(*readings: dict[str, Any]) -> Telemetry:
    return Telemetry(tuple(Reading(time_s=float(second), **one) for second, one in enumerate(readings)), 0.02)


def test_energy_is_the_counter_s_and_else_the_integral_of_the_power() -> None:
    counted = telemetry(
        {"energy_j": 500.0, "power_w": 1.0}, {"power_w": 1.0}, {"energy_j": 740.0, "power_w": 1.0}
    )
    assert counted.energy_j == 240.0
    assert counted.mean_power_w == 120.0
    assert telemetry({"power_w": 100.0}, {"power_w": 300.0}, {"power_w": 300.0}).energy_j == 200.0 + 300.0
    # A reading that failed leaves a longer trapezoid, not a hole.
    assert telemetry({"power_w": 100.0}, {}, {"power_w": 300.0}).energy_j == 400.0


def test_what_a_device_does_not_tell_is_none_and_not_zero() -> None:
    silent = telemetry({}, {}, {})
    assert (silent.energy_j, silent.mean_power_w, silent.peak_bytes, silent.sm_clock_mhz) == (None,) * 4
    assert silent.lowered_share == {}
    assert joules_per_token(silent, 100) is None
    assert telemetry({"power_w": 100.0}).energy_j is None


def test_peak_clocks_and_reasons() -> None:
    seen = telemetry(
        {"used_bytes": 5, "sm_clock_mhz": 1980, "lowered": 1},
        {"used_bytes": 9, "sm_clock_mhz": 1755, "lowered": 4 | 2},
        {"used_bytes": 7, "sm_clock_mhz": 1900, "lowered": 4 | 64},
        {},
    )
    assert seen.peak_bytes == 9
    assert seen.sm_clock_mhz == (1755, 1980)
    assert seen.lowered_share == {
        "power cap": pytest.approx(2 / 3),
        "thermal slowdown by hardware": pytest.approx(1 / 3),
    }


def test_energy_per_token_leaves_out_what_the_device_takes_idle() -> None:
    busy = telemetry({"energy_j": 0.0}, {"energy_j": 300.0}, {"energy_j": 600.0})
    assert joules_per_token(busy, 1000) == 0.6
    assert joules_per_token(busy, 1000, idle_w=100.0) == 0.4
    assert joules_per_token(busy, 0) is None


class NvmlError(Exception):
    pass


def test_nvml_s_units_are_converted_and_a_refused_question_leaves_the_others() -> None:
    def refuse(*_: object) -> int:
        raise NvmlError

    library = SimpleNamespace(
        NVMLError=NvmlError,
        NVML_CLOCK_SM=1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=7 * 2**30),
        nvmlDeviceGetPowerUsage=lambda handle: 281_500,
        nvmlDeviceGetTotalEnergyConsumption=refuse,
        nvmlDeviceGetClockInfo=lambda handle, clock: 1980 if clock == 1 else 0,
        nvmlDeviceGetCurrentClocksEventReasons=lambda handle: 4,
    )
    told = RealNvml(library).reading(0)
    assert (told.used_bytes, told.power_w, told.energy_j) == (7 * 2**30, 281.5, None)
    assert (told.sm_clock_mhz, told.lowered) == (1980, 4)
