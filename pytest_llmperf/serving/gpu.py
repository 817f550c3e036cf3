"""NVIDIA devices: what there is, how full, and whether a server's memory came back.

The only file that imports ``pynvml``, and only when a device is asked for. A machine without NVIDIA GPU and driver
has no devices. Where there are signs of either and NVML fails (a driver that was updated beneath a running kernel
module, no permission, a container without the library), `GpuUnreadable` is raised: a nightly GPU job must not go on as
if it ran on a laptop.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pytest_llmperf.errors import GpuUnreadable
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
    """One GPU, or one slice of a divided one."""

    index: int
    """NVML's number of it (``nvidia-smi``'s), not CUDA's."""
    name: str
    uuid: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    mig: int | None = None
    """Number of a MIG slice within the GPU ``index``; None for a whole GPU."""

    @property
    def device_class(self) -> str:
        return device_class(self.name)

    @property
    def label(self) -> str:
        """Its number, and for a slice its UUID: what ``CUDA_VISIBLE_DEVICES`` calls it."""
        return str(self.index) if self.mig is None else self.uuid


@dataclass(frozen=True)
class GpuProcess:
    """A process that has memory on a device."""

    pid: int
    used_bytes: int | None
    """None where the driver doesn't tell (some containers)."""
    device: int


class Nvml(Protocol):
    """The queries that this package makes to NVML; tests pass an object of their own."""

    def devices(self) -> list[Device]:
        """Every device of this machine, in the order of the PCI bus; empty without any."""

    def processes(self) -> list[GpuProcess]:
        """Every process with memory on one of those devices; a process on two devices is there twice."""


def device_class(name: str) -> str:
    """The class of a device by its NVML name, as ``budgets.toml`` calls it; the name itself when unknown.

    >>> device_class("NVIDIA A100-SXM4-80GB")
    'A100'
    """
    whole, mig, slice_ = name.partition(" MIG ")
    if mig:
        # A seventh of a GPU keeps none of the bounds of a whole one.
        return f"{device_class(whole)} MIG {slice_}"
    for pattern, short in _CLASSES:
        if pattern.search(name):
            return short
    return name.removeprefix("NVIDIA ").strip()


def signs_of_a_gpu(root: Path = Path("/"), environment: Mapping[str, str] | None = None) -> str:
    """The signs that this machine has an NVIDIA GPU or driver, whatever NVML says; empty if there are none."""
    environment = os.environ if environment is None else environment
    for pattern in ("dev/nvidia[0-9]*", "dev/nvidiactl", "dev/nvmap", "proc/driver/nvidia/version"):
        if match := next(iter(sorted(root.glob(pattern))), None):
            return f"{Path('/') / match.relative_to(root)} is there"
    for vendor in sorted(root.glob("sys/bus/pci/devices/*/vendor")):
        with contextlib.suppress(OSError):
            # PCI class 03: display and 3D controllers; NVIDIA makes network cards and bridges as well.
            kind = (vendor.with_name("class")).read_text(encoding="ascii").strip()
            if vendor.read_text(encoding="ascii").strip() == "0x10de" and kind.startswith("0x03"):
                return f"the PCI device {vendor.parent.name} is an NVIDIA GPU"
    wanted = environment.get("CUDA_VISIBLE_DEVICES", "").strip()
    if wanted.lower() not in ("", "-1", "none", "void", "nodevfiles"):
        return f"CUDA_VISIBLE_DEVICES={wanted} asks for one"
    return ""


_REMEDIES = {
    "LibraryNotFound": "install the driver's libnvidia-ml.so.1; start a container with the NVIDIA runtime (--gpus all)",
    "LibRmVersionMismatch": "reboot, or reload the kernel modules: the driver was updated while the old one was loaded",
    "DriverNotLoaded": "load the driver (modprobe nvidia); after a new kernel, build its module again",
    "NoPermission": "let this user read and write /dev/nvidia*",
    "InsufficientPower": "attach the power cables of the GPU",
    "GpuIsLost": "reset the GPU or reboot: it has fallen off the bus",
}
_LOOK = "nvidia-smi should show the same error"


def open_nvml(root: Path = Path("/")) -> Nvml:
    """NVML; an object without devices on a machine that has neither an NVIDIA GPU nor a driver.

    Raises `GpuUnreadable` where there is one of them, or NVML's library, and NVML cannot be opened. ``root`` is the
    directory below which ``/dev``, ``/proc`` and ``/sys`` are looked at.
    """
    signs = signs_of_a_gpu(root)
    try:
        import pynvml
    except ImportError as error:
        if not signs:
            return NoDevices()
        raise GpuUnreadable(
            f"{signs}, and pynvml cannot be imported ({error})", "pip install nvidia-ml-py"
        ) from None
    try:
        pynvml.nvmlInit()
    except Exception as error:
        if _kind(error) == "LibraryNotFound" and not signs:
            return NoDevices()
        there = signs or "NVIDIA's libnvidia-ml is installed"
        raise _unreadable(there, error) from error
    return RealNvml(pynvml)


def _kind(error: Exception) -> str:
    """``NoPermission`` for pynvml's ``NVMLError_NoPermission``."""
    return type(error).__name__.removeprefix("NVMLError_")


def _unreadable(there: str, error: Exception) -> GpuUnreadable:
    said = " ".join(str(error).split()) or type(error).__name__
    return GpuUnreadable(f"{there}, and NVML fails: {said}", _REMEDIES.get(_kind(error), _LOOK))


@dataclass(frozen=True)
class Driver:
    """The settings that hide devices from CUDA."""

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
        return None  # the caller that needs a device reports why there is none


class NoDevices:
    """A machine without an NVIDIA GPU."""

    def devices(self) -> list[Device]:
        return []

    def processes(self) -> list[GpuProcess]:
        return []


class RealNvml:
    """NVML through ``pynvml``."""

    def __init__(self, pynvml: Any) -> None:
        self._nvml = pynvml

    def devices(self) -> list[Device]:
        """Raises `GpuUnreadable` where the driver no longer answers at all."""
        return self._every()[0]

    def why_none(self) -> GpuUnreadable:
        """The reason why `devices` is empty although there is a driver."""
        trouble = self._every()[1]
        if trouble is not None:
            return _unreadable("the driver shows a GPU", trouble)
        return GpuUnreadable(
            "the NVIDIA driver is loaded and shows no GPU", "look at nvidia-smi -L and dmesg"
        )

    def processes(self) -> list[GpuProcess]:
        found = []
        for device in self.devices():
            with self._skipping():
                for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle(device)):
                    used = process.usedGpuMemory
                    found.append(GpuProcess(process.pid, None if used is None else int(used), device.index))
        return found

    def _every(self) -> tuple[list[Device], Exception | None]:
        """All devices that answer, a GPU in MIG mode as its slices; and the error of one that does not."""
        every: list[Device] = []
        trouble: Exception | None = None
        try:
            count = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            raise _unreadable("the NVIDIA driver was there", error) from error
        for index in range(count):
            try:
                handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
                slices = self._slices(handle)
                every += [self._device(index, handle, number) for number, handle in slices.items()]
                if not slices:
                    every.append(self._device(index, handle))
            except self._nvml.NVMLError as error:
                # One GPU that fails must not end a run on another; with none left, it is the reason.
                trouble = error
        return every, trouble

    def _slices(self, handle: Any) -> dict[int, Any]:
        """Handles of the MIG slices of a GPU by their number; empty for a GPU that is not divided."""
        slices: dict[int, Any] = {}
        if not hasattr(self._nvml, "nvmlDeviceGetMigMode"):
            return slices
        with self._skipping():
            if self._nvml.nvmlDeviceGetMigMode(handle)[0]:
                for number in range(self._nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                    with self._skipping():  # numbers may have gaps
                        slices[number] = self._nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        return slices

    def _handle(self, device: Device) -> Any:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(device.index)
        if device.mig is None:
            return handle
        return self._nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, device.mig)

    def questions(self, index: int) -> Mapping[str, Question]:
        """Memory, power, energy and clocks of the device with NVML's number ``index``; None where unknown."""
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

    def _device(self, index: int, handle: Any, mig: int | None = None) -> Device:
        total, used, free = self._memory(handle)
        return Device(
            index=index,
            name=_text(self._nvml.nvmlDeviceGetName(handle)),
            uuid=_text(self._nvml.nvmlDeviceGetUUID(handle)),
            total_bytes=total,
            used_bytes=used,
            free_bytes=free,
            mig=mig,
        )

    def _memory(self, handle: Any) -> tuple[int, int, int]:
        """Total, used and free bytes: of the device, or of the machine where both share one memory (Jetson, GB10)."""
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        except self._nvml.NVMLError as error:
            if _kind(error) != "NotSupported":
                raise
            page = os.sysconf("SC_PAGE_SIZE")
            total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
            return total, total - free, free
        return int(memory.total), int(memory.used), int(memory.free)

    @contextlib.contextmanager
    def _skipping(self) -> Iterator[None]:
        # Jetson and MIG slices don't answer every question; what they leave out must not end a run.
        with contextlib.suppress(self._nvml.NVMLError):
            yield


def memory_of(nvml: Nvml, pids: Collection[int]) -> int | None:
    """Device memory of these processes, bytes over all devices; None when the driver doesn't say."""
    ours = [process.used_bytes for process in nvml.processes() if process.pid in pids]
    known = [used for used in ours if used is not None]
    if len(known) < len(ours) or not ours:
        return None
    return sum(known)


def wait_released(
    nvml: Nvml, pids: Collection[int], before_bytes: Mapping[str, int] | None = None, timeout_s: float = 60.0
) -> str | None:
    """Wait until the devices have forgotten these (ended) processes; None then, else who holds what.

    The driver gives memory back some time after a process is gone. ``before_bytes`` is the used memory by
    UUID of the device before the server started: it decides where the driver names no processes.
    """
    deadline = time.monotonic() + timeout_s
    while (held := _held(nvml, pids, before_bytes)) is not None:
        if time.monotonic() > deadline:
            return f"GPU memory was not released within {timeout_s:.0f} s: {held}"
        time.sleep(0.25)
    return None


def used_bytes(nvml: Nvml) -> dict[str, int]:
    """Used memory by UUID of the device, as `wait_released` wants it."""
    return {device.uuid: device.used_bytes for device in nvml.devices()}


def describe_holders(nvml: Nvml) -> str:
    """The processes that hold memory on the devices, in one line, the largest first; empty if NVML names none."""
    holders = sorted(nvml.processes(), key=lambda process: -(process.used_bytes or 0))
    return ", ".join(_describe(process) for process in holders[:4])


def _held(nvml: Nvml, pids: Collection[int], before_bytes: Mapping[str, int] | None) -> str | None:
    listed = nvml.processes()
    ours = [process for process in listed if process.pid in pids]
    if ours:
        return ", ".join(_describe(process) for process in ours)
    if before_bytes is None or listed:
        # Others are listed and ours aren't: they are gone, and the rest belongs to other processes.
        return None
    for device in nvml.devices():
        more = device.used_bytes - before_bytes.get(device.uuid, device.used_bytes)
        if more > SLACK_BYTES:
            size = f"{more / GIB:.1f} GiB more than before"
            return f"{size} on GPU {device.label}, by a process that NVML doesn't name"
    return None


def _describe(process: GpuProcess) -> str:
    known = processes.read(process.pid)
    name = f" ({known.name})" if known else ""
    size = f"{process.used_bytes / GIB:.1f} GiB" if process.used_bytes is not None else "memory"
    return f"pid {process.pid}{name} holds {size} on GPU {process.device}"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


BANDWIDTH_TIMEOUT_S = 120.0
_COPY = """
import json, torch
free, _ = torch.cuda.mem_get_info()
size = min(256 * 2**20, free // 4)
if size < 64 * 2**20:
    raise SystemExit(f"{free / 2**20:.0f} MiB of the device are free, 256 MiB are needed for a copy")
source = torch.empty(size, dtype=torch.uint8, device="cuda")
target = torch.empty_like(source)
best = 0.0
for _ in range(8):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(8):
        target.copy_(source)
    end.record()
    end.synchronize()
    best = max(best, 2 * 8 * size / (begin.elapsed_time(end) / 1e3))
print(json.dumps({"bytes_per_s": best}))
"""


def measured_bandwidth(
    python: str, environment: Mapping[str, str], timeout_s: float = BANDWIDTH_TIMEOUT_S
) -> float | str:
    """Bytes read and written a second on the first device that ``environment`` leaves visible, or why they are unknown.

    The best of eight copies of at least 64 MiB within the device's memory, made by PyTorch in a process of its own with
    the engine's interpreter, so that no setting of the device is touched. Takes the seconds that importing PyTorch
    takes. Not to be called beside a timed load, because it uses the bandwidth that it measures.
    """
    try:
        done = subprocess.run(
            [python, "-c", _COPY],
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"its bandwidth was not measured: {error}"
    try:
        value = float(json.loads(done.stdout.splitlines()[-1])["bytes_per_s"])
    except (IndexError, KeyError, TypeError, ValueError):
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return f"its bandwidth was not measured: {said[-1]}"
    return value if value > 0 else "its bandwidth was not measured: the copy took no time"
