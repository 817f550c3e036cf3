"""Observation of the device and the server's processes while a load runs, for the benchmarks on a GPU."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from pytest_llmperf.load.device_limits import limits_of
from pytest_llmperf.load.roofline import Roofline, architecture_of
from pytest_llmperf.serving import gpu, processes
from pytest_llmperf.serving.telemetry import DeviceSampler


class Beside:
    """Power of the device and processor time of the server's processes while a load runs.

    The processor share is that of the busiest second: a load's warm-up and preparation are not in it.
    """

    def __init__(self, nvml: gpu.Nvml, root: int) -> None:
        self._sampler = (
            DeviceSampler(nvml, nvml.devices()[0].index)
            if isinstance(nvml, gpu.RealNvml) and nvml.devices()
            else None
        )
        self._root = root
        self._busiest: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Beside:
        if self._sampler is not None:
            self._sampler.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._sampler is not None:
            self._sampler.__exit__()

    def told(self, window: tuple[float, float] | None, tokens: int) -> dict[str, Any]:
        """Energy within ``window`` (seconds of the client's clock; None: unknown), and the busiest processes."""
        found: dict[str, Any] = {
            "server_busiest_processes": sorted(
                (round(share, 2) for share in self._busiest.values()), reverse=True
            )[:8]
        }
        if self._sampler is None:
            return found
        telemetry = self._sampler.telemetry
        energy = telemetry.energy_between_j(*window) if window is not None else None
        return found | {
            "energy_j": energy,
            "mean_power_w": energy / (window[1] - window[0]) if energy and window else None,
            "j_per_token": energy / tokens if energy and tokens else None,
            "sm_clock_mhz": telemetry.sm_clock_mhz,
            "lowered": telemetry.lowered_share,
            "readings": len(telemetry.readings),
            "telemetry_s": telemetry.window_s,
            "sampler_cpu_share": telemetry.cpu_share,
        }

    def _watch(self) -> None:
        before: dict[int, float] = {}
        began = time.perf_counter()
        while not self._ended.wait(1.0):
            now = {pid: processes.cpu_s([pid]) for pid in processes.tree(self._root)}
            ended = time.perf_counter()
            for pid, used in now.items():
                if pid in before:
                    share = (used - before[pid]) / (ended - began)
                    self._busiest[pid] = max(share, self._busiest.get(pid, 0.0))
            before, began = now, ended


def limit_of(weights: Path, nvml: gpu.Nvml, concurrency: int, context: int) -> float | None:
    """Tokens a second that the first device cannot exceed with these weights; None if either is not known."""
    devices = nvml.devices()
    limits = limits_of(devices[0].name) if devices else None
    config = weights / "config.json"
    if limits is None or not config.is_file():
        return None
    model = architecture_of(json.loads(config.read_text()))
    return Roofline(model, limits).throughput(concurrency, context)
