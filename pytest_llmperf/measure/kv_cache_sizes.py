"""Sizes of key-value caches that earlier starts were given, kept in the user's cache directory.

An engine that is told a share of the GPU's memory loads the model, measures what is left of that share, and makes it
the key-value cache. Two such servers must start one after the other: each would take the other's memory for its own.
Once a start has measured the size, later ones are given it, and both servers of a comparison start at once.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_llmperf.engines.vllm_arguments import option
from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.home import cached_lines, own_cache, write_cache
from pytest_llmperf.measure.looks import row_fingerprint
from pytest_llmperf.measure.served import Served
from pytest_llmperf.serving.engine_probe import EngineProbeError, engine_version
from pytest_llmperf.serving.preflight import gpu_memory_needed

KEPT_S = 7 * 24 * 3600.0
"""Measured anew after a week: a size that was measured beside another process must not stay for good."""
_ROUNDING_BYTES = 0.005 * 2**30
"""Engines log GiB with two decimals; a cache must not grow by the rounding."""


@dataclass(frozen=True)
class SizedServer:
    """Everything that the size of the KV cache depends on."""

    devices: tuple[str, ...]
    """Name and bytes of each GPU."""
    entry: str
    """Fingerprints of the catalogue's row, which holds share, arguments and name of the weights, and of its guests."""
    engine: str
    """Name and version."""
    weights_bytes: int
    """0: no tensor is on this machine yet, or ever (dummy weights)."""


class KvCacheSizes:
    """The sizes that starts of the last week have measured. ``path``: the file, by default in the user's cache."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._new: dict[SizedServer, tuple[float, int]] = {}
        self._forgotten: set[SizedServer] = set()

    def fix(self, sides: Sequence[Served]) -> bool:
        """Give the next start of each side the size that an earlier one measured, so that all can start at once.

        False, and all measure: one of them is not known, or together they need more than is free.
        """
        known = self._all()
        sizes = [
            known.get(server, (0.0, None))[1] if (server := _server_of(side)) else None for side in sides
        ]
        if any(
            size is None and not _says_its_size(side) for side, size in zip(sides, sizes, strict=True)
        ) or not _fit(sides):
            for side in sides:
                side.kv_cache_bytes = None
            return False
        for side, size in zip(sides, sizes, strict=True):
            side.kv_cache_bytes = None if _says_its_size(side) else size
        return True

    def known(self, side: Served) -> int | None:
        """Bytes that an earlier start of this row has measured on each GPU; None if there was none."""
        server = _server_of(side)
        return None if server is None else self._all().get(server, (0.0, None))[1]

    def learn(self, sides: Iterable[Served]) -> None:
        """Remember the sizes that the servers of these rows, which run, have measured; :meth:`keep` writes them."""
        for side in sides:
            if (
                side.model.gpus
                and side.kv_cache_bytes is None
                and (milestones := side.milestones()) is not None
            ):
                server, measured = _server_of(side), milestones.kv_cache_bytes
                known = server is not None and server not in self._forgotten
                if server is not None and known and measured is not None and not _says_its_size(side):
                    self._new[server] = (time.time(), math.floor(measured - _ROUNDING_BYTES))

    def forget(self, sides: Iterable[Served]) -> None:
        """A start with the remembered size failed."""
        for side in sides:
            if (server := _server_of(side)) is not None:
                self._new.pop(server, None)
                self._forgotten.add(server)

    def keep(self) -> None:
        """Write what was noted and forgotten."""
        if self._new or self._forgotten:
            lines = [
                json.dumps({**asdict(server), "time": when, "bytes": size})
                for server, (when, size) in self._all().items()
            ]
            write_cache(self._file(), "".join(f"{line}\n" for line in lines))

    def _all(self) -> dict[SizedServer, tuple[float, int]]:
        known = {**dict(_read(self._file())), **self._new}
        return {server: size for server, size in known.items() if server not in self._forgotten}

    def _file(self) -> Path:
        return self._path or own_cache(os.environ) / "kv-cache-sizes.jsonl"


def _server_of(side: Served) -> SizedServer | None:
    """None where the engine has no option for the size, or something that it depends on cannot be known."""
    if side.engine.kv_cache_option is None:
        return None
    try:
        devices = side.nvml().devices()
        engine = engine_version(side.model.engine_python or sys.executable, tuple(side.engine.distributions))
        weights_bytes = side.weights_bytes() or 0
    except (LlmperfError, EngineProbeError):
        return None  # The start explains it.
    if engine is None:
        return None
    names = tuple(f"{device.name}, {device.total_bytes} bytes" for device in devices)
    entry = " ".join(row_fingerprint(row) for row in (side.model, *side.guests))
    return SizedServer(names, entry, str(engine), weights_bytes)


def _says_its_size(side: Served) -> bool:
    name = side.engine.kv_cache_option
    return name is not None and option(side.model.arguments, name) is not None


def _fit(sides: Sequence[Served]) -> bool:
    """True if the GPUs have as much memory free as all sides together may fill."""
    needed: Counter[str] = Counter()
    free: dict[str, int] = {}
    for side in sides:
        argv = side.next_spec().argv
        for device in side.nvml().devices():
            needed[device.uuid] += gpu_memory_needed(side.model, argv, device)
            free[device.uuid] = device.free_bytes
    return all(needed[uuid] <= free[uuid] for uuid in free)


def _read(path: Path) -> Iterator[tuple[SizedServer, tuple[float, int]]]:
    """The entries of the file that are not too old; what is not ours is left out."""
    for line in cached_lines(path):
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            entry = json.loads(line)
            when, size = float(entry.pop("time")), int(entry.pop("bytes"))
            if size > 0 and 0 <= time.time() - when < KEPT_S:
                yield SizedServer(**{**entry, "devices": tuple(map(str, entry["devices"]))}), (when, size)
