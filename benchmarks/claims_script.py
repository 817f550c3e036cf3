"""The record that ``gpu_claims`` and ``cpu_claims`` grow, written anew after each measurement, and their clock."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from pathlib import Path

from contrib.claims.claim import Build
from contrib.claims.record import (
    ClaimsRecord,
    Device,
    Failure,
    Machine,
    Measured,
    as_json,
    key_of,
    read_claims_record,
)
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.record.store import read_record, write_record
from pytest_llmperf.serving import gpu


class Script:
    """The record that grows, and the clock.

    ``onto`` is a record of an earlier run, which is continued. Raises ``SystemExit`` where that is of another device,
    and :class:`~pytest_llmperf.errors.LlmperfError` where it is not such a record.
    """

    def __init__(self, out: Path, minutes: float, workload: Workload, onto: Path | None = None) -> None:
        self.out, self.workload = out, workload
        self.began = time.monotonic()
        self.deadline = self.began + 60.0 * minutes
        self.nvml = gpu.open_nvml()
        devices = self.nvml.devices()
        device = (
            Device(device_class=devices[0].device_class, name=devices[0].name)
            if devices
            else Device(device_class="CPU", name="CPU")
        )
        self.record = ClaimsRecord(profile="gpu", device=device, candidates=("distill",), baseline="math")
        if onto is not None:
            self._go_on_with(read_claims_record(read_record(onto).as_json(), onto))
        self._writing = threading.Lock()

    def _go_on_with(self, earlier: ClaimsRecord) -> None:
        if earlier.device != self.record.device:
            raise SystemExit(
                f"the record is of {earlier.device.name}, this is {self.record.device.name}: "
                "starts on two kinds of devices are not one sample; give a record made on such a device"
            )
        self.record = earlier

    def runs_on(self, machine: Machine) -> None:
        """Note the processor; written with the next measurement."""
        self.record = dataclasses.replace(self.record, machine=machine)

    def started_alone(self, row: str) -> int:
        """Starts that the record has of the plain model on an otherwise empty device."""
        return sum(start.alone for start in self.record.starts_of(Build(row)))

    def say(self, text: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self.began:6.1f} s] {text}\n")
        sys.stdout.flush()

    def add(self, entry: Measured) -> None:
        """One entry more in the record, which is written."""
        with self._writing:
            seconds = round(time.monotonic() - self.began, 1)
            self.record = dataclasses.replace(self.record.plus(entry), seconds=seconds)
            write_record(self.out / "claims-record.json", as_json(self.record))
        self.say(f"{key_of(entry)}: {json.dumps(as_json(entry))[:300]}")

    def failed(self, row: str, error: BaseException) -> None:
        text = str(error)
        self.add(Failure(row=row, error=text.splitlines()[0] if text else repr(error), more=text[-3000:]))

    def used_bytes(self) -> int | None:
        devices = self.nvml.devices()
        return devices[0].used_bytes if devices else None

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()
