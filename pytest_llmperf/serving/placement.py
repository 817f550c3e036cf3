"""Which GPUs a server runs on: the devices that an environment leaves visible, and those that a row takes of them.

``CUDA_VISIBLE_DEVICES`` and ``CUDA_DEVICE_ORDER`` are read as CUDA reads them (CUDA C++ Programming Guide, «CUDA
environment variables»). What a row takes is told to its server by the same variables in a form that CUDA and NVML
understand alike, so that a server runs on the devices that are checked and measured.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.errors import GpuUnreadable
from pytest_llmperf.serving import gpu
from pytest_llmperf.serving.gpu import Device, GpuProcess, Nvml

VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
_BUS_ORDER = "PCI_BUS_ID"
"""NVML's order. CUDA's own default puts the fastest device first."""


@dataclass(frozen=True)
class Placement:
    """The devices of one server, in CUDA's order; empty for a server that uses none."""

    devices: tuple[Device, ...] = ()
    divided: bool = False
    """Some GPU of the machine is divided (MIG), so that numbers do not name a device."""

    @property
    def uuids(self) -> tuple[str, ...]:
        return tuple(device.uuid for device in self.devices)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make these devices, and no others, visible to a server.

        By number, because engines read the variable as well, and older ones know numbers alone; by UUID where numbers
        name no slice.
        """
        if not self.devices:
            return {}
        names = [device.uuid if self.divided else str(device.index) for device in self.devices]
        return {VISIBLE: ",".join(names), ORDER: _BUS_ORDER}

    def is_apart_from(self, other: Placement) -> bool:
        """True if both have devices, and none in common."""
        return bool(self.devices and other.devices) and not set(self.uuids) & set(other.uuids)

    def __str__(self) -> str:
        return ", ".join(device.label for device in self.devices)


def visible(devices: Sequence[Device], environment: Mapping[str, str]) -> list[Device]:
    """The devices of a machine that ``environment`` leaves visible to CUDA, in its order.

    As in CUDA, the first entry that names no device ends the list, and so do an entry that is the beginning of several
    UUIDs and one that names a device again. Raises `GpuUnreadable` for numbers where the GPUs differ and CUDA would
    count the fastest first, an order that NVML does not know.
    """
    setting = environment.get(VISIBLE)
    if setting is None:
        return list(devices)
    chosen: list[Device] = []
    for entry in (part.strip() for part in setting.split(",")):
        if entry.isascii() and entry.isdigit():
            _refuse_unknown_order(devices, environment)
            match = [device for device in devices if device.index == int(entry)][:1]
        else:
            match = [device for device in devices if entry and device.uuid.startswith(entry)]
        if len(match) != 1 or match[0] in chosen:
            break
        chosen += match
    return chosen


def _refuse_unknown_order(devices: Sequence[Device], environment: Mapping[str, str]) -> None:
    kinds = {device.index: device.name for device in devices if device.mig is None}
    if len(set(kinds.values())) < 2 or environment.get(ORDER) == _BUS_ORDER:
        return
    raise GpuUnreadable(
        f"{VISIBLE}={environment[VISIBLE]!r} counts GPUs of several kinds ({named(devices)}) in CUDA's own order, the "
        "fastest first, which the driver does not tell",
        f"set {ORDER}={_BUS_ORDER}, or name them by UUID (nvidia-smi -L)",
    )


def named(devices: Sequence[Device]) -> str:
    """``0: NVIDIA H100 PCIe, 1: NVIDIA A10``."""
    return ", ".join(f"{device.label}: {device.name}" for device in devices)


def devices_for(environment: Mapping[str, str], nvml: Nvml | None = None) -> list[Device]:
    """The devices of this machine that a process with ``environment`` sees. Raises `GpuUnreadable`."""
    return visible((gpu.open_nvml() if nvml is None else nvml).devices(), environment)


def of_row(gpus: int, own: Mapping[str, str], nvml: Nvml) -> Placement:
    """The first ``gpus`` devices that a row sees whose ``own`` environment is added to that of the run.

    Fewer where fewer are visible; the pre-flight refuses that. Raises `GpuUnreadable`.
    """
    if not gpus:
        return Placement()
    every = nvml.devices()
    return placement_of(visible(every, {**os.environ, **own})[:gpus], every)


def placement_of(devices: Sequence[Device], every: Sequence[Device]) -> Placement:
    """These ``devices`` of a machine that has ``every``."""
    return Placement(tuple(devices), any(device.mig is not None for device in every))


def first_device(environment: Mapping[str, str] | None = None) -> tuple[str | None, str]:
    """Class and full name of the first device that ``environment`` (default: this process's) leaves visible.

    (None, "CPU") on a machine without one. Raises `GpuUnreadable` where there is one that cannot be used or read.
    """
    environment = os.environ if environment is None else environment
    nvml = gpu.open_nvml()
    if devices := devices_for(environment, nvml):
        return devices[0].device_class, devices[0].name
    if not isinstance(nvml, gpu.RealNvml):
        return None, "CPU"
    if (every := nvml.devices()) and VISIBLE in environment:
        raise GpuUnreadable(
            f"{VISIBLE}={environment[VISIBLE]!r} names none of the GPUs of this machine ({named(every)})",
            f"unset it, or name one of them, as in {VISIBLE}={every[0].label}",
        )
    raise nvml.why_none()


class OnlyOn:
    """NVML restricted to the devices of a placement."""

    def __init__(self, nvml: Nvml, placement: Placement) -> None:
        self._nvml, self._placement = nvml, placement

    def devices(self) -> list[Device]:
        """The devices as they are now, in the placement's order."""
        now = {device.uuid: device for device in self._nvml.devices()}
        return [now[uuid] for uuid in self._placement.uuids if uuid in now]

    def processes(self) -> list[GpuProcess]:
        # By the numbers as they were: asking for the devices again would double what each reading of a watch costs.
        ours = {device.index for device in self._placement.devices}
        return [process for process in self._nvml.processes() if process.device in ours]
