"""Telemetry of the GPUs during every measurement: energy of a load and of its rounds, power, clocks, memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.errors import GpuUnreadable
from pytest_llmperf.json_values import Json
from pytest_llmperf.measure.served import Served
from pytest_llmperf.serving import gpu
from pytest_llmperf.serving.telemetry import DeviceSampler, Telemetry

COLUMNS = ("time_s", "used_bytes", "power_w", "sm_clock_mhz", "lowered", "energy_j")
_NAMES = {
    "used_bytes": "memory",
    "power_w": "power",
    "sm_clock_mhz": "clock",
    "lowered": "reasons of lowered clocks",
    "energy_j": "energy",
}
TOLD_ABOVE = 0.05
"""Share of readings with lowered clocks above which the report says so."""


@dataclass(frozen=True)
class Watched:
    """Telemetry of the devices of some servers during one measurement."""

    rows: tuple[str, ...]
    what: str
    concurrency: int | None
    devices: Mapping[str, Telemetry]
    """By ``NVML's number, name`` of each device."""
    devices_of: Mapping[str, frozenset[str]]
    """Devices of each row, by the same names."""

    def energy_between_j(self, row: str, begin_s: float, end_s: float) -> float | None:
        """Joules of all devices of ``row`` together; None where one does not report its energy."""
        every = [
            telemetry.energy_between_j(begin_s, end_s)
            for name, telemetry in self.devices.items()
            if name in self.devices_of.get(row, ())
        ]
        known = [energy_j for energy_j in every if energy_j is not None]
        return sum(known) if known and len(known) == len(every) else None

    @property
    def energy_j(self) -> float | None:
        every = [telemetry.energy_j for telemetry in self.devices.values()]
        known = [energy_j for energy_j in every if energy_j is not None]
        return sum(known) if known and len(known) == len(every) else None


class Devices:
    """Samples the GPUs of servers while they are measured; without a GPU it does nothing."""

    def __init__(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """``tell`` reports an event of the run to its user."""
        self.watched: list[Watched] = []
        self._tell = tell

    @contextlib.contextmanager
    def beside(self, *sides: Served, what: str, concurrency: int | None = None) -> Iterator[None]:
        """Sample from here to the end of the block. The servers must have been started."""
        nvml, devices_of = self._devices_of(sides)
        samplers = {
            name: DeviceSampler(nvml, device.index)
            for devices in devices_of.values()
            for name, device in devices.items()
        }
        if not samplers:
            yield
            return
        try:
            with contextlib.ExitStack() as stack:
                for sampler in samplers.values():
                    stack.enter_context(sampler)
                yield
        finally:
            # Also after a failure: the rounds before it are in the record, and so is their energy.
            found = {name: sampler.telemetry for name, sampler in samplers.items() if sampler.has_ended}
            rows = tuple(dict.fromkeys(side.name for side in sides))
            of_rows = {row: frozenset(devices) for row, devices in devices_of.items()}
            self.watched.append(Watched(rows, what, concurrency, found, of_rows))
            for device, telemetry in found.items():
                if lost := [_NAMES.get(name, name) for name in COLUMNS if name in telemetry.lost]:
                    self._tell(
                        f"GPU {device} stopped telling its {' and '.join(lost)} during {what} of "
                        f"{' and '.join(rows)}: nothing is judged by them there (nvidia-smi shows how it is)"
                    )

    def _devices_of(self, sides: Sequence[Served]) -> tuple[Any, dict[str, dict[str, gpu.Device]]]:
        try:
            return gpu.open_nvml(), {side.name: _devices_of(side) for side in sides}
        except GpuUnreadable as error:
            self._tell(f"no energy and no clocks are read: {error.cause}")
            return None, {}

    def energy_between_j(self, row: str, begin_s: float, end_s: float) -> float | None:
        """Joules of the devices of ``row`` that were watched then; None if none was, or one reports no energy."""
        for watched in self.watched:
            if (energy := watched.energy_between_j(row, begin_s, end_s)) is not None:
                return energy
        return None

    def answering_j(self, row: str, what: str) -> float | None:
        """Joules of all requests to ``row`` under the name ``what``; None if those of a part are not known."""
        every = [
            watched.energy_j for watched in self.watched if watched.rows == (row,) and watched.what == what
        ]
        known = [energy_j for energy_j in every if energy_j is not None]
        return sum(known) if known and len(known) == len(every) else None

    def facts(self, zero_s: float | None = None) -> dict[str, Json]:
        """For the record: the readings by column, their times from ``zero_s`` on (None: from the first reading)."""
        every = [telemetry for watched in self.watched for telemetry in watched.devices.values()]
        if zero_s is None:
            zero_s = min((telemetry.readings[0].time_s for telemetry in every), default=0.0)
        entries = [
            _facts(watched, device, telemetry, zero_s)
            for watched in self.watched
            for device, telemetry in watched.devices.items()
        ]
        return {"telemetry": entries} if entries else {}

    def notes(self) -> list[str]:
        """Sentences for the report: the timed loads during which a device lowered its clocks."""
        found: dict[str, list[str]] = {}
        for watched in self.watched:
            for device, telemetry in watched.devices.items():
                for reason, share in telemetry.lowered_share.items():
                    if watched.concurrency is not None and share > TOLD_ABOVE:
                        where = f"{' and '.join(watched.rows)} at {watched.concurrency}: {share:.0%}"
                        found.setdefault(f"GPU {device} lowered its clocks, {reason}", []).append(where)
        return [f"{what} ({'; '.join(where)} of the readings)" for what, where in found.items()]


def _devices_of(side: Served) -> dict[str, gpu.Device]:
    """The devices of a server that this machine runs, by their names in the record."""
    # A server by its URL may run on another machine.
    if not side.model.gpus or side.server.root_pid is None:
        return {}
    # Power and energy are known of a whole GPU only: beside a MIG slice, they are the neighbours' as well.
    return {
        f"{device.index}, {device.name}": device for device in side.placement.devices if device.mig is None
    }


def _facts(watched: Watched, device: str, telemetry: Telemetry, zero_s: float) -> dict[str, Json]:
    readings = {name: [getattr(reading, name) for reading in telemetry.readings] for name in COLUMNS}
    readings["time_s"] = [round(time_s - zero_s, 4) for time_s in readings["time_s"]]
    readings["power_w"] = [None if watts is None else round(watts, 1) for watts in readings["power_w"]]
    return {
        "row": watched.rows[0],
        "rows": list(watched.rows),
        "what": watched.what,
        "concurrency": watched.concurrency,
        "device": device,
        "energy_j": telemetry.energy_j,
        "mean_power_w": telemetry.mean_power_w,
        "peak_bytes": telemetry.peak_bytes,
        "sm_clock_mhz": telemetry.sm_clock_mhz,
        "lowered": telemetry.lowered_share,
        "sampler_cpu_share": telemetry.cpu_share,
        "readings": readings,
    }
