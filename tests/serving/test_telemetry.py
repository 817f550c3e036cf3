"""The sampler against an instrument whose answers are known, and the arithmetic of what was read."""

from __future__ import annotations

import threading
import time
from collections import Counter
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmperf.serving.gpu import RealNvml
from pytest_llmperf.serving.telemetry import DeviceSampler, Question, Reading, Telemetry, joules_per_token


class Instrument:
    """Counts its questions, and says when enough were asked; a device that tells what it is given."""

    def __init__(self, enough: int, **answers: float | None) -> None:
        self.asked: Counter[str] = Counter()
        self.devices: set[int] = set()
        self.enough = threading.Event()
        self.in_thread_s = 0.0
        """Processor time that the questions of the sampling thread would have taken."""
        self.price_s: dict[str, float] = {}
        self._wanted = enough
        self._answers = answers

    def questions(self, index: int) -> dict[str, Question]:
        self.devices.add(index)
        return {name: partial(self._answer, name) for name in ("energy_j", *self._answers)}

    def _answer(self, name: str) -> float | None:
        self.asked[name] += 1
        if threading.current_thread().name == "llmperf-telemetry":
            self.in_thread_s += self.price_s.get(name, 0.0)
        if self.asked["energy_j"] >= self._wanted:
            self.enough.set()
        return self._answers.get(name, 100.0 + self.asked["energy_j"])

    def spent(self) -> float:
        return self.in_thread_s


def test_a_device_is_read_at_the_begin_at_the_end_and_in_between() -> None:
    instrument = Instrument(enough=6)
    with DeviceSampler(instrument, 3, period_s=0.01) as sampler:
        begun = time.perf_counter()
        assert instrument.enough.wait(10)
        ended = time.perf_counter()
    telemetry = sampler.telemetry
    assert instrument.devices == {3}
    assert len(telemetry.readings) == instrument.asked["energy_j"] >= 7
    assert telemetry.readings[0].time_s <= begun
    assert telemetry.readings[-1].time_s >= ended
    assert telemetry.energy_j == instrument.asked["energy_j"] - 1
    assert ended - begun >= 4 * 0.01, "five more readings of 10 ms each cannot take less than four periods"
    assert 0 < telemetry.cpu_share < 1


def test_where_questions_are_dear_fewer_are_asked_and_the_share_of_a_core_is_kept() -> None:
    # The prices are ten times those of an H100 (docs/evidence/), the period a tenth: 1 ms a question at 100 Hz.
    instrument = Instrument(40, sm_clock_mhz=1980, lowered=4, used_bytes=7)
    instrument.price_s = dict.fromkeys(("energy_j", "sm_clock_mhz", "lowered", "used_bytes"), 1e-3)
    with DeviceSampler(instrument, 0, period_s=0.01, most_share=0.15, spent=instrument.spent) as sampler:
        assert instrument.enough.wait(10)
    telemetry = sampler.telemetry
    assert telemetry.cpu_share <= 0.15 + 4e-3 / telemetry.window_s, "at most one reading too many"
    others = [instrument.asked[name] for name in ("sm_clock_mhz", "lowered", "used_bytes")]
    assert max(others) < instrument.asked["energy_j"] / 2
    assert max(others) - min(others) <= 1, "they take turns"


def test_the_dearest_question_is_still_asked_once_a_second() -> None:
    instrument = Instrument(1, used_bytes=7)
    sampler = DeviceSampler(instrument, 0, most_share=0.001, spent=instrument.spent)
    with sampler:
        pass
    now = time.perf_counter()
    assert sampler._affordable(now, left=-5.0) == []
    assert sampler._affordable(now + 1.1, left=-5.0) == ["energy_j", "used_bytes"]


def test_what_a_device_did_not_answer_at_first_is_not_asked_again() -> None:
    instrument = Instrument(4, sm_clock_mhz=None)
    with DeviceSampler(instrument, 0, period_s=0.01) as sampler:
        assert instrument.enough.wait(10)
    assert instrument.asked["sm_clock_mhz"] == 1
    assert all(one.sm_clock_mhz is None for one in sampler.telemetry.readings)


def test_power_is_asked_only_of_a_device_that_does_not_count_its_energy() -> None:
    counting = Instrument(3, power_w=1e9)
    with DeviceSampler(counting, 0, period_s=0.01) as sampler:
        assert counting.enough.wait(10)
    assert counting.asked["power_w"] == 1
    _, *later = sampler.telemetry.readings
    for before, after in pairwise(sampler.telemetry.readings):
        assert after.power_w == pytest.approx(1.0 / (after.time_s - before.time_s)), "a joule in between"
    assert later

    silent = Instrument(3, energy_j=None, power_w=300.0)
    with DeviceSampler(silent, 0, period_s=0.01) as sampler:
        while silent.asked["power_w"] < 4:
            silent.enough.wait(0.01)
    telemetry = sampler.telemetry
    assert telemetry.energy_j == pytest.approx(300.0 * telemetry.window_s)


def test_a_sampler_that_still_reads_tells_nothing() -> None:
    with (
        DeviceSampler(Instrument(enough=1), 0) as sampler,
        pytest.raises(RuntimeError, match="after the `with`"),
    ):
        _ = sampler.telemetry


@pytest.mark.parametrize("period_s", [0.0, -1.0, float("nan")])
def test_a_period_must_be_positive(period_s: float) -> None:
    with pytest.raises(ValueError, match="need more than 0"):
        DeviceSampler(Instrument(enough=1), 0, period_s)


def telemetry(*readings: dict[str, Any]) -> Telemetry:
    return Telemetry(tuple(Reading(time_s=float(second), **one) for second, one in enumerate(readings)), 0.02)


def test_energy_is_the_counter_s_and_else_the_integral_of_the_power() -> None:
    counted = telemetry(
        {"energy_j": 500.0, "power_w": 1.0}, {"power_w": 1.0}, {"energy_j": 740.0, "power_w": 1.0}
    )
    assert counted.energy_j == 240.0
    assert counted.mean_power_w == 120.0
    assert telemetry({"power_w": 100.0}, {"power_w": 300.0}, {"power_w": 300.0}).energy_j == 200.0 + 300.0
    # A question that was not asked leaves a longer trapezoid, not a hole.
    assert telemetry({"power_w": 100.0}, {}, {"power_w": 300.0}).energy_j == 400.0


def test_what_a_device_does_not_tell_is_none_and_not_zero() -> None:
    silent = telemetry({}, {}, {})
    assert (silent.energy_j, silent.mean_power_w, silent.peak_bytes, silent.sm_clock_mhz) == (None,) * 4
    assert silent.lowered_share == {}
    assert joules_per_token(silent, 100) is None
    assert telemetry({"power_w": 100.0}).energy_j is None


def test_the_energy_of_a_part_is_linear_between_readings_and_unknown_outside_of_them() -> None:
    counted = telemetry({"energy_j": 500.0}, {}, {"energy_j": 700.0}, {"energy_j": 1000.0})
    assert counted.energy_between_j(0.5, 1.5) == 100.0
    assert counted.energy_between_j(1.0, 2.5) == 100.0 + 150.0
    assert counted.energy_between_j(0.0, 3.0) == counted.energy_j == 500.0
    assert counted.energy_between_j(2.0, 2.0) == 0.0
    assert counted.energy_between_j(-0.1, 1.0) is None
    assert counted.energy_between_j(1.0, 3.1) is None
    by_power = telemetry({"power_w": 100.0}, {"power_w": 300.0}, {"power_w": 300.0})
    assert by_power.energy_between_j(1.0, 1.5) == 150.0
    assert telemetry({}, {}).energy_between_j(0.0, 1.0) is None


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
    questions = RealNvml(library).questions(0)
    assert {name: ask() for name, ask in questions.items()} == {
        "energy_j": None,
        "power_w": 281.5,
        "lowered": 4,
        "sm_clock_mhz": 1980,
        "used_bytes": 7 * 2**30,
    }
