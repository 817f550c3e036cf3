"""Devices through a stand-in for NVML: classes, visibility, and memory that comes back or doesn't."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmperf.serving import gpu
from pytest_llmperf.serving.gpu import GIB, Device, GpuProcess


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Tesla T4", "T4"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A10G", "A10"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("NVIDIA GH200 480GB", "H200"),
        ("NVIDIA H200", "H200"),
        ("Orin (nvgpu)", "Jetson Orin"),
        ("NVIDIA Jetson AGX Orin", "Jetson Orin"),
        ("NVIDIA RTX A1000", "RTX A1000"),
        ("Quadro P400", "Quadro P400"),
    ],
)
def test_a_device_has_the_class_that_budgets_call_it_by(name: str, short: str) -> None:
    assert gpu.device_class(name) == short


def device(index: int, used_gib: float = 1.0) -> Device:
    used = int(used_gib * GIB)
    return Device(index, "NVIDIA H100 80GB HBM3", f"GPU-{index}abc", 80 * GIB, used, 80 * GIB - used)


@pytest.mark.parametrize(
    ("setting", "indices"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("2,0", [2, 0]),
        ("GPU-1", [1]),
        ("1,7,0", [1]),
        ("-1", []),
    ],
)
def test_only_the_devices_that_cuda_would_see_count(setting: str | None, indices: list[int]) -> None:
    devices = [device(index) for index in range(3)]
    assert [seen.index for seen in gpu.visible(devices, setting)] == indices


class Story:
    """NVML whose answers change from call to call; the last one stays."""

    def __init__(self, *lists: list[GpuProcess], used_gib: float = 1.0) -> None:
        self.lists: Iterator[list[GpuProcess]] = iter(lists)
        self.last: list[GpuProcess] = []
        self.used_gib = used_gib

    def devices(self) -> list[Device]:
        return [device(0, self.used_gib)]

    def processes(self) -> list[GpuProcess]:
        self.last = next(self.lists, self.last)
        return self.last


def test_memory_that_comes_back_late_is_waited_for() -> None:
    held = [GpuProcess(7, GIB, 0)]
    assert gpu.wait_released(Story(held, held, []), {7}, timeout_s=5.0) is None


def test_memory_that_does_not_come_back_is_said_with_its_holder() -> None:
    said = gpu.wait_released(Story([GpuProcess(999_999_999, 3 * GIB, 0)]), {999_999_999}, timeout_s=0.0)
    assert said == "GPU memory was not released within 0 s: pid 999999999 holds 3.0 GiB on GPU 0"


def test_somebody_elses_memory_is_not_waited_for() -> None:
    nvml = Story([GpuProcess(8, GIB, 0)], used_gib=40.0)
    assert gpu.wait_released(nvml, {7}, {0: GIB}, timeout_s=0.0) is None


def test_a_driver_that_names_no_process_is_judged_by_the_memory_before() -> None:
    said = gpu.wait_released(Story([], used_gib=41.0), {7}, {0: GIB}, timeout_s=0.0)
    assert said is not None
    assert "40.0 GiB more than before on GPU 0" in said
    assert gpu.wait_released(Story([], used_gib=1.1), {7}, {0: GIB}, timeout_s=0.0) is None


def test_the_memory_of_processes_is_summed_over_devices() -> None:
    listed = [GpuProcess(7, GIB, 0), GpuProcess(7, GIB, 1), GpuProcess(8, GIB, 0)]
    assert gpu.memory_of(Story(listed), {7}) == 2 * GIB
    assert gpu.memory_of(Story([GpuProcess(7, None, 0)]), {7}) is None
    assert gpu.memory_of(Story([]), {7}) is None


def test_a_machine_without_nvml_has_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    nvml = gpu.open_nvml()
    assert nvml.devices() == []
    assert nvml.processes() == []
    assert gpu.wait_released(nvml, {7}, {}, timeout_s=0.0) is None


class Refused(Exception):
    """Stands for NVMLError."""


def test_a_question_that_a_device_does_not_answer_leaves_it_out() -> None:
    def memory(handle: int) -> Any:
        if handle == 0:
            raise Refused
        return SimpleNamespace(total=80 * GIB, used=GIB, free=79 * GIB)

    library = SimpleNamespace(
        NVMLError=Refused,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=memory,
        nvmlDeviceGetName=lambda handle: b"NVIDIA H100 PCIe",
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}",
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [SimpleNamespace(pid=7, usedGpuMemory=None)],
    )
    nvml = gpu.RealNvml(library, {})
    assert [seen.device_class for seen in nvml.devices()] == ["H100"]
    assert nvml.processes() == [GpuProcess(7, None, 1)]
