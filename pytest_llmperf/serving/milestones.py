"""What vLLM's own log says about a start: durations and the split of its memory."""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.serving.state import TITLE

_GIB = 2**30
_START_BYTES = 8 * 1024 * 1024

# The lines as vLLM 0.26 and 0.32 write them; each pattern has one group.
_WEIGHTS_S = re.compile(r"Loading weights took ([\d.]+) seconds")
_MODEL_S = re.compile(r"Model loading took [\d.]+ GiB(?: memory)? and ([\d.]+) seconds")
_MODEL_GIB = re.compile(r"Model loading took ([\d.]+) GiB(?: memory)? and")
_KV_GIB = re.compile(r"Available KV cache memory: ([\d.]+) GiB")
_KV_TOKENS = re.compile(r"KV cache size: ([\d,]+) tokens")
_ENGINE_S = re.compile(r"init engine \(profile, create kv cache, warmup model\) took ([\d.]+)\s*s")
_GRAPHS_S = re.compile(r"Graph capturing finished in (\d+) secs")
_GRAPHS_GIB = re.compile(r"Graph capturing finished in \d+ secs, took ([\d.]+) GiB")
_ACTIVATION_GIB = re.compile(r"([\d.]+)\s*GiB for peak activation")
_NON_TORCH_GIB = re.compile(r"([\d.]+)\s*GiB for non-torch memory")
_DESIRED_GIB = re.compile(r"Desired GPU memory utilization is \([\d.]+, ([\d.]+) GiB\)")


@dataclass(frozen=True)
class Milestones:
    """Seconds and bytes from the log; None where the log has no such line.

    Several workers write the same line: these are the figures of the first one.
    """

    weights_loaded_s: float | None = None
    model_loaded_s: float | None = None
    model_bytes: float | None = None
    kv_cache_bytes: float | None = None
    kv_cache_tokens: int | None = None
    engine_init_s: float | None = None
    graphs_captured_s: float | None = None
    graphs_bytes: float | None = None
    activation_bytes: float | None = None
    """Peak of one step of the largest size, as profiled at the start."""
    non_torch_bytes: float | None = None
    """What CUDA, NCCL and others take beside PyTorch; some versions count it with the weights."""
    desired_bytes: float | None = None
    """The device's memory times ``gpu_memory_fraction``: what the engine may fill."""


def read_milestones(log: Path) -> Milestones:
    """Read the last start in a file; all are None if there is no such file.

    Only the first megabytes of the start are looked at: what follows are requests, gigabytes of them at worst.
    """
    try:
        with log.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            begin = max(0, data.rfind(TITLE.encode()))
            text = data[begin : begin + _START_BYTES].decode("utf-8", errors="replace")
    except (OSError, ValueError):  # mmap raises ValueError for an empty file
        return Milestones()
    return milestones(text)


def milestones(log: str) -> Milestones:
    """Read a vLLM log (the last start in it, if it holds several)."""
    # The keeper's own line: vLLM's banner is worded differently from version to version.
    start = log.rfind(TITLE)
    text = log[max(start, 0) :]

    def number(pattern: re.Pattern[str]) -> float | None:
        match = pattern.search(text)
        return float(match.group(1).replace(",", "")) if match else None

    def size(pattern: re.Pattern[str]) -> float | None:
        gib = number(pattern)
        return None if gib is None else gib * _GIB

    tokens = number(_KV_TOKENS)
    return Milestones(
        weights_loaded_s=number(_WEIGHTS_S) if number(_WEIGHTS_S) is not None else number(_MODEL_S),
        model_loaded_s=number(_MODEL_S),
        model_bytes=size(_MODEL_GIB),
        kv_cache_bytes=size(_KV_GIB),
        kv_cache_tokens=None if tokens is None else int(tokens),
        engine_init_s=number(_ENGINE_S),
        graphs_captured_s=number(_GRAPHS_S),
        graphs_bytes=size(_GRAPHS_GIB),
        activation_bytes=size(_ACTIVATION_GIB),
        non_torch_bytes=size(_NON_TORCH_GIB),
        desired_bytes=size(_DESIRED_GIB),
    )
