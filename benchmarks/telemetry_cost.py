"""Cost of reading a GPU's state: each question alone, several in one call, and the sampler as it is used.

    python -m benchmarks.telemetry_cost [--seconds 5] [--out FILE]

On a machine with an NVIDIA device. Prints one line of JSON: processor and wall time of a call in microseconds (median
and mean), and the share of one core that :class:`pytest_llmperf.serving.telemetry.Sampler` takes in ``seconds``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.serving import gpu
from pytest_llmperf.serving.telemetry import DeviceSampler

CALLS = 200
ENERGY, INSTANT, POWER_CAP_NS, THERMAL_NS = 83, 186, 74, 75
"""Fields of ``nvmlDeviceGetFieldValues``: millijoules, milliwatts, and for how long two limits were in force."""


def cost(ask: Callable[[], Any]) -> dict[str, Any]:
    """Microseconds of one call, paced as a sampler would: a call just after another may be answered from a cache."""
    try:
        ask()
    except Exception as error:
        return {"error": str(error)[:200]}
    processor, wall = [], []
    for _ in range(CALLS):
        time.sleep(0.005)
        cpu, began = time.thread_time(), time.perf_counter()
        ask()
        wall.append(time.perf_counter() - began)
        processor.append(time.thread_time() - cpu)
    return {
        "cpu_us_median": round(statistics.median(processor) * 1e6, 1),
        "cpu_us_mean": round(statistics.fmean(processor) * 1e6, 1),
        "wall_us_median": round(statistics.median(wall) * 1e6, 1),
    }


def fields_of(nvml: Any, handle: Any, fields: Sequence[int]) -> list[tuple[int, int]]:
    """(NVML's return code, latency in microseconds as NVML tells it) of each field."""
    values = nvml.nvmlDeviceGetFieldValues(handle, list(fields))
    return [(int(value.nvmlReturn), int(value.latencyUsec)) for value in values]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    opened = gpu.open_nvml()
    if not isinstance(opened, gpu.RealNvml) or not opened.devices():
        print("no NVIDIA device here", file=sys.stderr)
        return 1
    import pynvml

    device = opened.devices()[0]
    handle = pynvml.nvmlDeviceGetHandleByIndex(device.index)
    asked = {name: cost(question) for name, question in opened.questions(device.index).items()}
    batches = {
        "energy": (ENERGY,),
        "energy, instant power": (ENERGY, INSTANT),
        "energy, time at the power cap, thermal": (ENERGY, POWER_CAP_NS, THERMAL_NS),
    }
    in_one_call = {
        name: cost(lambda fields=fields: fields_of(pynvml, handle, fields))  # type: ignore[misc]
        | {"fields": fields_of(pynvml, handle, fields)}
        for name, fields in batches.items()
    }
    others = {
        "handle": cost(lambda: pynvml.nvmlDeviceGetHandleByIndex(device.index)),
        "memory, second version": cost(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2)),
        "processes": cost(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle)),
    }
    with DeviceSampler(opened, device.index) as sampler:
        time.sleep(given.seconds)
    telemetry = sampler.telemetry
    told = {
        name: sum(getattr(one, name) is not None for one in telemetry.readings)
        for name in ("energy_j", "power_w", "sm_clock_mhz", "lowered", "used_bytes")
    }
    line = {
        "device": device.name,
        "at": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        "questions": asked,
        "in_one_call": in_one_call,
        "others": others,
        "sampler": {
            "seconds": telemetry.window_s,
            "cpu_share": telemetry.cpu_share,
            "readings": len(telemetry.readings),
            "told": told,
            "mean_power_w": telemetry.mean_power_w,
        },
    }
    print(json.dumps(line))
    if given.out is not None:
        given.out.write_text(json.dumps(line, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
