"""Energy and clocks of a device beside what is measured, with a stand-in for NVML that counts joules by the clock."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_llmperf.errors import GpuUnreadable
from pytest_llmperf.json_values import list_of
from pytest_llmperf.load.device_limits import limits_of
from pytest_llmperf.load.results import Metrics
from pytest_llmperf.load.roofline import Roofline, architecture_of
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.measure.devices import Devices
from pytest_llmperf.measure.on_device import on_device
from pytest_llmperf.measure.served import Served
from pytest_llmperf.record.model import Record
from pytest_llmperf.serving import gpu
from pytest_llmperf.serving.gpu import GIB, Device, GpuProcess
from pytest_llmperf.serving.placement import Placement
from pytest_llmperf.serving.telemetry import Question
from tests.architectures import DISTILL_CONFIG

WATTS = 250.0


class Nvml:
    """Two devices that take 250 W each."""

    def __init__(self, lowered: int = 0) -> None:
        self.lowered = lowered
        self.asked: set[int] = set()
        self.lost = False
        """Whether the driver has stopped answering."""

    def devices(self) -> list[Device]:
        names = ("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3")
        return [Device(i, name, f"GPU-{i}", 80 * GIB, GIB, 79 * GIB) for i, name in enumerate(names)]

    def processes(self) -> list[GpuProcess]:
        return [GpuProcess(os.getpid(), GIB, 0)]

    def questions(self, index: int) -> dict[str, Question]:
        self.asked.add(index)
        return {
            "energy_j": lambda: None if self.lost else WATTS * time.perf_counter(),
            "lowered": lambda: self.lowered,
        }


def served(
    name: str, gpus: int = 1, root_pid: int | None = None, on: tuple[int, ...] = (1,), mig: int | None = None
) -> Served:
    pid = os.getpid() if root_pid is None else root_pid
    every = Nvml().devices()
    placed = tuple(replace(every[index], mig=mig) for index in on)
    return cast(
        Served,
        SimpleNamespace(
            name=name,
            model=SimpleNamespace(gpus=gpus),
            server=SimpleNamespace(root_pid=pid or None),
            placement=Placement(placed),
        ),
    )


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    instrument = Nvml()
    monkeypatch.setattr(gpu, "open_nvml", lambda: instrument)
    return instrument


def test_the_devices_that_the_row_takes_are_watched_and_no_others(nvml: Nvml) -> None:
    devices = Devices()
    with devices.beside(served("distill"), what="load", concurrency=8):
        pass
    assert nvml.asked == {1}
    with devices.beside(served("distill", gpus=2, on=(1, 0)), what="load", concurrency=8):
        pass
    assert nvml.asked == {0, 1}


def test_a_slice_is_not_watched_since_its_neighbours_take_power_as_well(nvml: Nvml) -> None:
    with Devices().beside(served("distill", mig=0), what="load", concurrency=8):
        pass
    assert nvml.asked == set()


def test_the_energy_of_a_row_is_that_of_its_own_devices(nvml: Nvml) -> None:
    devices = Devices()
    with devices.beside(
        served("distill", on=(0,)), served("math", gpus=2, on=(1, 0)), what="load", concurrency=8
    ):
        begin_s = time.perf_counter()
        time.sleep(0.1)
        end_s = time.perf_counter()
    alone, both = (devices.energy_between_j(row, begin_s, end_s) for row in ("distill", "math"))
    assert alone == pytest.approx(WATTS * (end_s - begin_s), rel=0.02)
    assert both == pytest.approx(2 * WATTS * (end_s - begin_s), rel=0.02)
    assert devices.energy_between_j("third", begin_s, end_s) is None


def test_the_energy_of_a_round_is_what_the_device_took_between_its_two_moments(nvml: Nvml) -> None:
    devices = Devices()
    with devices.beside(served("distill"), served("math"), what="load", concurrency=8):
        begin_s = time.perf_counter()
        time.sleep(0.25)
        end_s = time.perf_counter()
    assert devices.energy_between_j("distill", begin_s, end_s) == pytest.approx(
        WATTS * (end_s - begin_s), rel=0.02
    )
    assert devices.energy_between_j("distill", begin_s - 10, end_s) is None
    (told,) = Record.of(devices.facts(zero_s=begin_s)).telemetry
    assert (told.row, told.rows, told.concurrency) == ("distill", ("distill", "math"), 8)
    assert told.readings is not None
    first_s, *_, last_s = told.readings.time_s
    assert first_s is not None
    assert last_s is not None
    assert first_s <= 0 < 0.25 <= last_s
    readings = told.readings.as_json().values()
    assert {len(list_of(column)) for column in readings} == {len(told.readings.time_s)}
    assert told.mean_power_w == pytest.approx(WATTS, rel=0.02)


def test_what_fails_half_way_was_still_watched(nvml: Nvml) -> None:
    devices = Devices()
    with pytest.raises(KeyError), devices.beside(served("distill"), what="load", concurrency=1):
        raise KeyError
    assert len(devices.watched) == 1
    assert devices.watched[0].energy_j is not None


@pytest.mark.parametrize("side", [served("cpu", gpus=0), served("by url", root_pid=0)])
def test_a_server_without_a_gpu_of_ours_is_not_watched(nvml: Nvml, side: Served) -> None:
    devices = Devices()
    with devices.beside(side, what="load", concurrency=1):
        pass
    assert (nvml.asked, devices.watched, devices.facts()) == (set(), [], {})


def test_lowered_clocks_beside_a_timed_load_make_themselves_heard(nvml: Nvml) -> None:
    devices = Devices()
    nvml.lowered = 4
    with devices.beside(served("distill"), what="load", concurrency=32):
        pass
    with devices.beside(served("distill"), what="answers"):
        pass
    assert devices.notes() == [
        "GPU 1, NVIDIA H100 80GB HBM3 lowered its clocks, power cap (distill at 32: 100% of the readings)"
    ]


def test_joules_a_token_and_the_share_of_the_limit_are_those_of_each_round(nvml: Nvml) -> None:
    devices = Devices()
    with devices.beside(served("distill"), what="load", concurrency=1):
        begin_s = time.perf_counter()
        time.sleep(0.1)
        end_s = time.perf_counter()
    run: Any = SimpleNamespace(
        start_s=begin_s, end_s=end_s, window_s=end_s - begin_s, workload=Workload(64, 128)
    )
    lost: Any = SimpleNamespace(start_s=0.0, end_s=1.0, window_s=1.0, workload=Workload(64, 128))
    rounds: list[Any] = [SimpleNamespace(output_tokens=50), SimpleNamespace(output_tokens=None)]
    h100 = limits_of("NVIDIA H100 80GB HBM3")
    assert h100 is not None
    limit = Roofline(architecture_of(DISTILL_CONFIG), h100)
    found = on_device(
        devices, "distill", limit, 1, cast(list[LoadRun], [run, lost]), cast(list[Metrics], rounds)
    )
    assert found.joules_per_token[0] == pytest.approx(WATTS * (end_s - begin_s) / 50, rel=0.02)
    # 64 tokens of prompt and half of 128 of answer are read for each token, beside the weights.
    step_s = (3_087_428_608 + 128 * 28_672 - 50 * 2**20) / 3.35e12
    assert found.share == [pytest.approx(50 / (end_s - begin_s) * step_s), None]
    assert found.joules_per_token[1] is None
    unknown = on_device(
        devices, "distill", "no data sheet", 1, cast(list[LoadRun], [run]), cast(list[Metrics], rounds[:1])
    )
    assert unknown.share == [None]
    assert "no data sheet" in unknown.no_share


def test_a_device_that_stops_telling_its_energy_is_told_and_its_energy_is_not_a_part_of_it(
    nvml: Nvml,
) -> None:
    told: list[str] = []
    devices = Devices(told.append)
    with devices.beside(served("distill"), what="load", concurrency=8):
        nvml.lost = True
    (watched,) = devices.watched
    assert watched.energy_j is None
    assert len(told) == 1
    assert "stopped telling its" in told[0]
    assert "energy" in told[0]
    assert "load of distill" in told[0]


def test_a_driver_that_is_gone_in_the_middle_of_a_run_is_told_once_per_load_and_breaks_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone() -> Any:
        raise GpuUnreadable("the NVIDIA driver was there, and NVML fails: GPU is lost", "reboot")

    monkeypatch.setattr(gpu, "open_nvml", gone)
    told: list[str] = []
    with Devices(told.append).beside(served("distill"), what="load", concurrency=8):
        pass
    assert told == [
        "no energy and no clocks are read: the NVIDIA driver was there, and NVML fails: GPU is lost"
    ]
