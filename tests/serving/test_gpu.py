"""Devices through a stand-in for NVML: classes, visibility, and memory that comes back or doesn't."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmperf.errors import GpuUnreadable
from pytest_llmperf.serving import gpu, placement
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
    assert gpu.wait_released(nvml, {7}, {"GPU-0abc": GIB}, timeout_s=0.0) is None


def test_a_driver_that_names_no_process_is_judged_by_the_memory_before() -> None:
    said = gpu.wait_released(Story([], used_gib=41.0), {7}, {"GPU-0abc": GIB}, timeout_s=0.0)
    assert said is not None
    assert "40.0 GiB more than before on GPU 0" in said
    assert gpu.wait_released(Story([], used_gib=1.1), {7}, {"GPU-0abc": GIB}, timeout_s=0.0) is None


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
    nvml = gpu.RealNvml(library)
    assert [seen.device_class for seen in nvml.devices()] == ["H100"]
    assert nvml.processes() == [GpuProcess(7, None, 1)]


# A GPU that fails is not the absence of one


def nvml_error(kind: str, text: str) -> Exception:
    error: Exception = type(f"NVMLError_{kind}", (Refused,), {})(text)
    return error


def library(init: Exception | None = None, **functions: Any) -> SimpleNamespace:
    def start() -> None:
        if init is not None:
            raise init

    plain = {"NVMLError": Refused, "nvmlInit": start, "nvmlDeviceGetCount": lambda: 0}
    return SimpleNamespace(**plain | functions)


SIGNS = {
    "a device file": "dev/nvidia0",
    "the control file": "dev/nvidiactl",
    "a driver": "proc/driver/nvidia/version",
    "a Jetson": "dev/nvmap",
}
FAILURES = [
    ("LibRmVersionMismatch", "Driver/library version mismatch", "reboot"),
    ("NoPermission", "Insufficient Permissions", "/dev/nvidia*"),
    ("LibraryNotFound", "NVML Shared Library Not Found", "--gpus all"),
    ("DriverNotLoaded", "Driver Not Loaded", "modprobe"),
    ("Unknown", "Unknown Error", "nvidia-smi"),
    ("GpuIsLost", "GPU is lost", "reboot"),
    ("SomethingNew", "", "nvidia-smi"),
]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root directory of a machine without any NVIDIA hardware."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "dev").mkdir()
    return tmp_path


def put(root: Path, file: str, text: str = "") -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("sign", SIGNS.values(), ids=SIGNS.keys())
@pytest.mark.parametrize(("kind", "text", "remedy"), FAILURES, ids=[kind for kind, _, _ in FAILURES])
def test_nvml_that_fails_beside_a_gpu_or_a_driver_is_an_error_with_a_remedy(
    machine: Path, monkeypatch: pytest.MonkeyPatch, sign: str, kind: str, text: str, remedy: str
) -> None:
    put(machine, sign)
    monkeypatch.setitem(sys.modules, "pynvml", library(nvml_error(kind, text)))
    with pytest.raises(GpuUnreadable) as raised:
        gpu.open_nvml(machine)
    assert f"/{sign} is there, and NVML fails: {text or f'NVMLError_{kind}'}" == raised.value.cause
    assert remedy in raised.value.remedy


def test_a_machine_without_library_and_driver_has_no_gpu(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(machine, "sys/bus/pci/devices/0000:00:02.0/vendor", "0x8086\n")
    put(machine, "sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n")
    # A network card of NVIDIA is no GPU.
    put(machine, "sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    put(machine, "sys/bus/pci/devices/0000:01:00.0/class", "0x020700\n")
    absent = library(nvml_error("LibraryNotFound", "NVML Shared Library Not Found"))
    for module in (None, absent):
        monkeypatch.setitem(sys.modules, "pynvml", module)
        assert isinstance(gpu.open_nvml(machine), gpu.NoDevices)


def test_an_installed_library_whose_driver_is_gone_is_not_a_machine_without_a_gpu(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library(nvml_error("DriverNotLoaded", "Driver Not Loaded")))
    with pytest.raises(GpuUnreadable, match="libnvidia-ml is installed, and NVML fails: Driver Not Loaded"):
        gpu.open_nvml(machine)


def test_a_gpu_on_the_bus_without_a_driver_is_an_error(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(machine, "sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    put(machine, "sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(GpuUnreadable, match=r"the PCI device 0000:01:00.0 is an NVIDIA GPU"):
        gpu.open_nvml(machine)


@pytest.mark.parametrize(("setting", "asks"), [("0", True), ("GPU-1a", True), ("", False), ("-1", False)])
def test_a_setting_that_asks_for_a_gpu_is_a_sign_of_one(
    machine: Path, monkeypatch: pytest.MonkeyPatch, setting: str, asks: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    assert bool(gpu.signs_of_a_gpu(machine)) == asks


def h100(count: int, *, fails: Exception | None = None, mig: int = 0) -> SimpleNamespace:
    def handle(index: int) -> str:
        if fails is not None:
            raise fails
        return f"GPU-{index}"

    def slice_of(of: str, number: int) -> str:
        if number >= mig:
            raise nvml_error("NotFound", "Not Found")
        return f"MIG-{of}-{number}"

    return library(
        nvmlDeviceGetCount=lambda: count,
        nvmlDeviceGetHandleByIndex=handle,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=80 * GIB, used=GIB, free=79 * GIB),
        nvmlDeviceGetName=lambda handle: (
            "NVIDIA H100 80GB HBM3" + (" MIG 1g.10gb" if handle.startswith("MIG") else "")
        ),
        nvmlDeviceGetUUID=lambda handle: handle,
        nvmlDeviceGetMigMode=lambda handle: (int(bool(mig)), int(bool(mig))),
        nvmlDeviceGetMaxMigDeviceCount=lambda handle: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=slice_of,
    )


@pytest.mark.parametrize(
    ("nvml", "setting", "cause"),
    [
        (h100(2), "", "CUDA_VISIBLE_DEVICES='' names none of the GPUs of this machine"),
        (h100(2), "-1", "CUDA_VISIBLE_DEVICES='-1' names none"),
        (h100(2), "7", "CUDA_VISIBLE_DEVICES='7' names none"),
        (h100(2), "GPU-9", "CUDA_VISIBLE_DEVICES='GPU-9' names none"),
        (h100(1), "MIG-1234", "CUDA_VISIBLE_DEVICES='MIG-1234' names none"),
        (h100(0), None, "the NVIDIA driver is loaded and shows no GPU"),
        (h100(1, fails=nvml_error("GpuIsLost", "GPU is lost")), None, "and NVML fails: GPU is lost"),
        (
            h100(1, fails=nvml_error("NoPermission", "Insufficient Permissions")),
            None,
            "Insufficient Permissions",
        ),
    ],
)
def test_a_driver_without_a_usable_gpu_is_an_error(
    machine: Path, monkeypatch: pytest.MonkeyPatch, nvml: SimpleNamespace, setting: str | None, cause: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    if setting is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    with pytest.raises(GpuUnreadable) as raised:
        placement.first_device()
    assert cause in raised.value.cause


def test_a_divided_gpu_is_seen_as_its_slices_and_is_not_judged_as_a_whole_one(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", h100(1, mig=2))
    assert [seen.uuid for seen in gpu.open_nvml(machine).devices()] == ["MIG-GPU-0-0", "MIG-GPU-0-1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-0-1")
    assert placement.first_device() == ("H100 MIG 1g.10gb", "NVIDIA H100 80GB HBM3 MIG 1g.10gb")


def test_a_gpu_that_shares_the_machines_memory_is_a_device(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: str) -> None:
        raise nvml_error("NotSupported", "Not Supported")

    shared = h100(1)
    shared.nvmlDeviceGetMemoryInfo = refuse
    shared.nvmlDeviceGetName = lambda handle: "NVIDIA GB10"
    (seen,) = gpu.RealNvml(shared).devices()
    assert seen.total_bytes == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < seen.free_bytes <= seen.total_bytes


def test_a_driver_that_stops_answering_in_a_run_is_an_error_and_not_an_empty_machine() -> None:
    def gone() -> int:
        raise nvml_error("GpuIsLost", "GPU is lost")

    with pytest.raises(GpuUnreadable, match="GPU is lost"):
        gpu.RealNvml(library(nvmlDeviceGetCount=gone)).devices()
