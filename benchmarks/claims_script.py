"""The record that ``gpu_claims`` and ``cpu_claims`` grow, written anew after each measurement, and their clock."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pytest_llmperf.load.workload import Workload
from pytest_llmperf.record.store import write_record
from pytest_llmperf.serving import gpu


class Script:
    """The record that grows, and the clock."""

    def __init__(self, out: Path, minutes: float, workload: Workload, onto: Path | None = None) -> None:
        self.out, self.workload = out, workload
        self.began = time.monotonic()
        self.deadline = self.began + 60.0 * minutes
        self.nvml = gpu.open_nvml()
        devices = self.nvml.devices()
        self.record: dict[str, Any] = {
            "profile": "gpu",
            "device": {
                "class": devices[0].device_class if devices else "CPU",
                "name": devices[0].name if devices else "CPU",
            },
            "candidates": ["distill"],
            "baseline": "math",
            "verdicts": [],
            "servers": [],
            "load": [],
            "memory": [],
            "contexts": [],
            "refused_starts": [],
            "served_ids": [],
            "failed": [],
        }
        if onto is not None:
            self._go_on_with(json.loads(onto.read_text(encoding="utf-8")))
        self._writing = threading.Lock()

    def _go_on_with(self, earlier: dict[str, Any]) -> None:
        if earlier["device"] != self.record["device"]:
            raise SystemExit(
                f"the record is of {earlier['device']['name']}, this is {self.record['device']['name']}: "
                "starts on two kinds of devices are not one sample; give a record made on such a device"
            )
        self.record = earlier

    def started_alone(self, row: str) -> int:
        """Starts that the record has of the plain model on an otherwise empty device."""
        return sum(one["row"] == row and one["alone"] for one in self.record["servers"])

    def say(self, text: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self.began:6.1f} s] {text}\n")
        sys.stdout.flush()

    def add(self, key: str, **entry: Any) -> None:
        """One line more in the record, which is written."""
        with self._writing:
            self.record[key].append(entry)
            self.record["seconds"] = round(time.monotonic() - self.began, 1)
            write_record(self.out / "claims-record.json", self.record)
        self.say(f"{key}: {json.dumps(entry)[:300]}")

    def failed(self, row: str, error: BaseException) -> None:
        text = str(error)
        self.add("failed", row=row, error=text.splitlines()[0] if text else repr(error), more=text[-3000:])

    def used_bytes(self) -> int | None:
        devices = self.nvml.devices()
        return devices[0].used_bytes if devices else None

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()
