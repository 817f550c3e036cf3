"""The client's own error at the load of a test, measured once a machine and cached: it does not depend on the server.

What the client costs depends on how many streams it reads and how fast their tokens come, so the reference server
runs at the concurrency of the test and at a pace that is no slower than the one that was seen.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.client import loop
from pytest_llmperf.home import own_cache, write_cache
from pytest_llmperf.json_values import Json, JsonObject, finite
from pytest_llmperf.load.calibration import ClientError, calibrate
from pytest_llmperf.load.metrics import BUILT_IN, request_metrics
from pytest_llmperf.load.reference_server.options import ReferenceOptions

_PACES_MS = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0)
"""Gaps to choose from, so that two runs of one suite ask for the same calibration. A slower server is no harder."""
_TTFT_MS = 50.0
_STREAM_S = 0.6
"""Longest stream of one answer: more of the same adds nothing."""
_ATTEMPTS = 3
_CALM_S = 0.005
"""p99 of the loop's lateness above which other processes had the processor: the error would be theirs."""
_KEEP_S = 30 * 86400.0
_SCHEMA = 1


@dataclass(frozen=True)
class CalibrationLoad:
    """The properties of a load on which the client's error depends."""

    concurrency: int
    output_tokens: int
    gap_ms: float
    workers: int = 1
    """Processes that send and read."""

    @classmethod
    def like(cls, concurrency: int, output_tokens: int, gap_s: float, workers: int = 1) -> CalibrationLoad:
        """The load to calibrate at for one with that typical gap between tokens, in seconds."""
        gap_ms = max([pace for pace in _PACES_MS if pace <= gap_s * 1e3], default=_PACES_MS[0])
        most = max(8, round(_STREAM_S * 1e3 / gap_ms))
        return cls(concurrency, min(output_tokens, most), gap_ms, workers)


@dataclass(frozen=True)
class Calibration:
    """One calibration and its origin."""

    load: CalibrationLoad
    error: ClientError
    made: float
    """Seconds since the epoch."""
    kept: bool
    """True: measured earlier on this machine, and read from the cache."""
    attempts: int
    """Times that it was measured; others had the processor in all but the last, or in all, and the calmest counts."""

    @property
    def calm(self) -> bool:
        return self.error.lag_p99_s <= _CALM_S

    def facts(self) -> dict[str, Json]:
        """For the record."""
        return {
            **dataclasses.asdict(self.load),
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.made)),
            "from_cache": self.kept,
            "attempts": self.attempts,
            "calm": self.calm,
            "error": dataclasses.asdict(self.error),
        }


def cached_calibration(
    load: CalibrationLoad, measure: Callable[[CalibrationLoad], ClientError] | None = None
) -> Calibration:
    """The client's error at ``load``: from the cache, if it was measured on this machine within 30 days, else now.

    Takes one to three seconds, and up to three times as long where others keep the processor busy; then the result is
    used and not kept. Raises ``NotMeasured`` or ``StartError`` as :func:`calibrate` does.
    """
    path, key = cache_file(), machine_key(load)
    if (known := _read(path).get(key)) is not None:
        from pydantic import TypeAdapter

        with suppress(ValueError):
            kept = TypeAdapter(_Kept).validate_python(known)
            if time.time() - kept.made <= _KEEP_S:
                return Calibration(load, kept.error, kept.made, True, 0)
    tried: list[ClientError] = []
    while len(tried) < _ATTEMPTS and not (tried and tried[-1].lag_p99_s <= _CALM_S):
        tried.append((measure or _measure)(load))
    best = min(tried, key=lambda error: error.lag_p99_s)
    made = Calibration(load, best, time.time(), False, len(tried))
    if made.calm:
        _write(path, key, _Kept(made.made, best))
    return made


def _measure(load: CalibrationLoad) -> ClientError:
    options = ReferenceOptions(ttft_ms=_TTFT_MS, gap_ms=load.gap_ms)
    return calibrate(
        load.concurrency, output_tokens=load.output_tokens, options=options, workers=load.workers
    )


def cache_file() -> Path:
    """``pytest-llmperf/calibration.json`` in the user's cache directory."""
    return own_cache(os.environ) / "calibration.json"


def machine_key(load: CalibrationLoad) -> str:
    """Everything that the error depends on, in words."""
    from importlib import metadata

    try:
        plugin = metadata.version("pytest-llmperf")
    except metadata.PackageNotFoundError:
        plugin = "not installed"
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
        else:
            processor = platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    shape = " ".join(f"{name}={value:g}" for name, value in dataclasses.asdict(load).items())
    own = "".join(f" {metric.name}" for metric in request_metrics() if metric not in BUILT_IN)
    return (
        f"{_SCHEMA} | {platform.node()} | {processor}, {cores} cores | {platform.python_implementation()} "
        f"{platform.python_version()}, {loop.loop_name()} | {platform.release()} | {plugin} | {shape}{own}"
    )


@dataclass(frozen=True)
class _Kept:
    """One calibration in the cache's file; ``made`` in seconds since the epoch."""

    made: float
    error: ClientError


def _read(path: Path) -> dict[str, JsonObject]:
    """The cached entries; none if the file is missing or is not ours."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in entries.items() if isinstance(v, dict)} if isinstance(entries, dict) else {}


def _write(path: Path, key: str, entry: _Kept) -> None:
    """Add an entry; those that are too old go."""
    entries = {
        k: v for k, v in _read(path).items() if time.time() - (finite(v.get("made")) or 0.0) <= _KEEP_S
    }
    write_cache(path, json.dumps({**entries, key: dataclasses.asdict(entry)}))
