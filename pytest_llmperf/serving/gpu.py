"""NVIDIA devices: what there is, how full, and whether a server's memory came back.

The only file that imports ``pynvml``, and only when a device is asked for. Without the library, the driver
or a device, everything here answers with "no devices" and never with an error.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pytest_llmperf.serving import processes
from pytest_llmperf.serving.telemetry import Question

GIB = 1024**3
# What a driver keeps for itself after a process has ended, at most.
SLACK_BYTES = 256 * 1024**2
_CLASSES = (
    (re.compile(r"\bT4\b"), "T4"),
    (re.compile(r"\bL40S\b"), "L40S"),
    (re.compile(r"\bL40\b"), "L40"),
    (re.compile(r"\bL4\b"), "L4"),
    (re.compile(r"\bA100\b"), "A100"),
    (re.compile(r"\bA10G?\b"), "A10"),
    (re.compile(r"\bRTX 3090\b"), "RTX 3090"),
    (re.compile(r"\bRTX 4090\b"), "RTX 4090"),
    (re.compile(r"\bG?H200\b"), "H200"),
    (re.compile(r"\bG?H100\b"), "H100"),
    (re.compile(r"\bB200\b"), "B200"),
    (re.compile(r"\bOrin\b|nvgpu"), "Jetson Orin"),
)


@dataclass(frozen=True)
class Device:
    """One GPU that CUDA would see."""

    index: int
    """NVML's number of it (``nvidia-smi``'s), not CUDA's."""
    name: str
    uuid: str
    total_bytes: int
    used_bytes: int
    free_bytes: int

    @property
    def device_class(self) -> str:
        return device_class(self.name)


@dataclass(frozen=True)
class GpuProcess:
    """A process that has memory on a device."""

    pid: int
    used_bytes: int | None
    """None where the driver doesn't tell (some containers)."""
    device: int


class Nvml(Protocol):
    """What this room asks of NVML; a test passes an object of its own."""

    def devices(self) -> list[Device]:
        """Every device that CUDA would see, in CUDA's order of visibility; empty without any."""

    def processes(self) -> list[GpuProcess]:
        """Every process with memory on one of those devices; a process on two devices is there twice."""


def device_class(name: str) -> str:
    """The class of a device by its NVML name, as ``budgets.toml`` calls it; the name itself when unknown.

    >>> device_class("NVIDIA A100-SXM4-80GB")
    'A100'
    """
    for pattern, short in _CLASSES:
        if pattern.search(name):
            return short
    return name.removeprefix("NVIDIA ").strip()


def first_device() -> tuple[str | None, str]:
    """Class and full name of the first CUDA device that this process may use; (None, "CPU") without one."""
    devices = open_nvml().devices()
    return (devices[0].device_class, devices[0].name) if devices else (None, "CPU")


def open_nvml() -> Nvml:
    """NVML, or an object without devices where there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        # No library, no driver, no permission: for every purpose here the same.
        return NoDevices()
    return RealNvml(pynvml)


@dataclass(frozen=True)
class Driver:
    """What stands between the devices and CUDA."""

    version: str
    cuda: str
    """The newest CUDA that it can serve, as ``nvidia-smi`` shows it."""


def driver() -> Driver | None:
    """The NVIDIA driver of this machine; None without one."""
    try:
        import pynvml

        pynvml.nvmlInit()
        cuda = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
        return Driver(_text(pynvml.nvmlSystemGetDriverVersion()), f"{cuda // 1000}.{cuda % 1000 // 10}")
    except Exception:
        return None  # as for open_nvml


class NoDevices:
    """A machine without an NVIDIA GPU."""

    def devices(self) -> list[Device]:
        return []

    def processes(self) -> list[GpuProcess]:
        return []


class RealNvml:
    """NVML through ``pynvml``, restricted to what ``CUDA_VISIBLE_DEVICES`` leaves visible."""

    def __init__(self, pynvml: Any, environment: Mapping[str, str] | None = None) -> None:
        self._nvml = pynvml
        self._environment = os.environ if environment is None else environment

    def devices(self) -> list[Device]:
        every = []
        for index in range(self._nvml.nvmlDeviceGetCount()):
            with self._skipping():
                every.append(self._device(index))
        return visible(every, self._environment.get("CUDA_VISIBLE_DEVICES"))

    def processes(self) -> list[GpuProcess]:
        found = []
        for device in self.devices():
            handle = self._nvml.nvmlDeviceGetHandleByIndex(device.index)
            with self._skipping():
                for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(handle):
                    used = process.usedGpuMemory
                    found.append(GpuProcess(process.pid, None if used is None else int(used), device.index))
        return found

    def questions(self, index: int) -> Mapping[str, Question]:
        """Of the device with NVML's number ``index``: memory, power, energy, clocks; None for what it does not tell."""
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)

        def asked(question: Callable[[], float]) -> Question:
            def ask() -> float | None:
                try:
                    return question()
                except nvml.NVMLError:
                    return None

            return ask

        return {
            "energy_j": asked(
                lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
            ),  # millijoules
            "power_w": asked(lambda: float(nvml.nvmlDeviceGetPowerUsage(handle)) / 1e3),  # milliwatts
            "lowered": asked(lambda: int(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))),
            "sm_clock_mhz": asked(lambda: int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))),
            "used_bytes": asked(lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).used)),
        }

    def _device(self, index: int) -> Device:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return Device(
            index=index,
            name=_text(self._nvml.nvmlDeviceGetName(handle)),
            uuid=_text(self._nvml.nvmlDeviceGetUUID(handle)),
            total_bytes=int(memory.total),
            used_bytes=int(memory.used),
            free_bytes=int(memory.free),
        )

    @contextlib.contextmanager
    def _skipping(self) -> Iterator[None]:
        # Jetson and MIG don't answer every question; what they leave out must not end a run.
        with contextlib.suppress(self._nvml.NVMLError):
            yield


def visible(devices: Sequence[Device], setting: str | None) -> list[Device]:
    """The devices that a value of ``CUDA_VISIBLE_DEVICES`` leaves, in its order; numbers or UUID beginnings.

    As in CUDA, the first entry that names nothing ends the list.
    """
    if setting is None:
        return list(devices)
    chosen: list[Device] = []
    for entry in (part.strip() for part in setting.split(",")):
        if entry.isdigit():
            match = [device for device in devices if device.index == int(entry)]
        else:
            match = [device for device in devices if entry and device.uuid.startswith(entry)]
        if not match:
            break
        chosen += match[:1]
    return chosen


def memory_of(nvml: Nvml, pids: Collection[int]) -> int | None:
    """Device memory of these processes, bytes over all devices; None when the driver doesn't say."""
    ours = [process.used_bytes for process in nvml.processes() if process.pid in pids]
    known = [used for used in ours if used is not None]
    if len(known) < len(ours) or not ours:
        return None
    return sum(known)


def wait_released(
    nvml: Nvml, pids: Collection[int], before_bytes: Mapping[int, int] | None = None, timeout_s: float = 60.0
) -> str | None:
    """Wait until the devices have forgotten these (ended) processes; None then, else who holds what.

    The driver gives memory back some time after a process is gone. ``before_bytes`` is the used memory by
    device index before the server started: it decides where the driver names no processes.
    """
    deadline = time.monotonic() + timeout_s
    while (held := _held(nvml, pids, before_bytes)) is not None:
        if time.monotonic() > deadline:
            return f"GPU memory was not released within {timeout_s:.0f} s: {held}"
        time.sleep(0.25)
    return None


def used_bytes(nvml: Nvml) -> dict[int, int]:
    """Used memory by device index, as `wait_released` wants it."""
    return {device.index: device.used_bytes for device in nvml.devices()}


def describe_holders(nvml: Nvml) -> str:
    """Who has memory on the devices, in one line, the largest first; empty when nobody is named."""
    holders = sorted(nvml.processes(), key=lambda process: -(process.used_bytes or 0))
    return ", ".join(_describe(process) for process in holders[:4])


def _held(nvml: Nvml, pids: Collection[int], before_bytes: Mapping[int, int] | None) -> str | None:
    listed = nvml.processes()
    ours = [process for process in listed if process.pid in pids]
    if ours:
        return ", ".join(_describe(process) for process in ours)
    if before_bytes is None or listed:
        # Others are listed and ours aren't: they are gone, and the rest is somebody else's.
        return None
    for device in nvml.devices():
        more = device.used_bytes - before_bytes.get(device.index, device.used_bytes)
        if more > SLACK_BYTES:
            size = f"{more / GIB:.1f} GiB more than before"
            return f"{size} on GPU {device.index}, by a process that NVML doesn't name"
    return None


def _describe(process: GpuProcess) -> str:
    known = processes.read(process.pid)
    name = f" ({known.name})" if known else ""
    size = f"{process.used_bytes / GIB:.1f} GiB" if process.used_bytes is not None else "memory"
    return f"pid {process.pid}{name} holds {size} on GPU {process.device}"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
