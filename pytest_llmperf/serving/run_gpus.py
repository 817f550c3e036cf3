"""The GPUs of one run: chosen and leased at its first start, the same for all its processes.

*Together*, all rows share the first GPUs of one kind that are free. *Apart*, both sides of a comparison stand on GPUs
of their own, of one kind, and change places between starts: a crossover, so that a better chip is not taken for a
better model. A row whose own environment names its GPUs takes those.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import LlmperfError, StartError
from pytest_llmperf.serving import gpu
from pytest_llmperf.serving.gpu import Device
from pytest_llmperf.serving.gpu_leases import GpuLeases, holder_of
from pytest_llmperf.serving.placement import VISIBLE, Placement, named, visible
from pytest_llmperf.serving.state import write_json
from pytest_llmperf.units import format_value

_LOOK_S = 0.5

Places = Mapping[str, Sequence[Device]]
"""The devices of each row at one start; a row that needs more than are visible has none."""


class RunGpus:
    """Where the servers of a run stand. Safe to use from several threads."""

    def __init__(
        self,
        rows: Callable[[], Sequence[Model]],
        state_root: Path,
        progress: Callable[[str], None],
        *,
        apart: bool = False,
        seed: int = 0,
        wait_s: float,
    ) -> None:
        """``rows``: those that the run will start, all of them, the candidate before the baseline.

        ``seed`` draws which side of a pair that stands apart has the first GPUs; ``wait_s`` is the longest wait for
        GPUs that other runs hold.
        """
        self._rows = rows
        self._state_root = state_root
        self._progress = progress
        self._apart = apart
        self._heads = random.Random(f"{seed} places").random() < 0.5
        self._wait_s = wait_s
        self._leases = GpuLeases(str(state_root.absolute()))
        self._places: Places | None = None
        self._divided = False
        self._refusal: LlmperfError | None = None
        self._lock = threading.RLock()
        self._closed = threading.Event()

    def placement(self, row: Model) -> Placement:
        """The devices of ``row`` at the current start, leased for this run; empty if it needs more than are visible.

        Raises :class:`StartError` for GPUs that cannot be had, :class:`GpuUnreadable`.
        """
        with self._lock:
            if self._refusal is not None:
                raise self._refusal
            try:
                if self._places is None:
                    self._places = self._decided()
                devices = self._places.get(row.name)
                if devices is None:
                    # Not among those that the run expected.
                    taken = [each.uuid for others in self._places.values() for each in others]
                    every = gpu.open_nvml().devices()
                    devices = self._chosen([row], every, taken if self._apart else ())[row.name]
                    self._lease({row.name: devices})
                    self._places = {**self._places, row.name: devices}
            except LlmperfError as error:
                self._refusal = error
                raise
            return Placement(tuple(devices), self._divided)

    def descriptors(self, row: Model) -> tuple[int, ...]:
        """Descriptors that hold the row's GPUs, for the keeper of its server."""
        return self._leases.descriptors(self.placement(row).uuids)

    def exchange(self) -> None:
        """Before the next start of a pair that stands apart: each side takes the other's GPUs."""
        with self._lock:
            if self._apart and self._places is not None and len(self._places) == 2:
                self._places = exchanged(self._places)

    def close(self) -> None:
        """Give the GPUs back."""
        self._closed.set()
        self._leases.close()

    def _decided(self) -> Places:
        """The places of the run's first start, as the first of its processes decides them."""
        every = gpu.open_nvml().devices()
        self._divided = any(device.mig is not None for device in every)
        rows = [row for row in self._rows() if row.gpus]
        if not every:
            return {row.name: [] for row in rows}
        known = {device.uuid: device for device in every}
        decided = self._state_root / "gpus.json"
        deadline = time.monotonic() + self._wait_s
        with _alone(decided.with_suffix(".lock")):
            while True:
                if decided.exists():
                    told = json.loads(decided.read_text(encoding="utf-8"))
                    places: Places = {row: [known[uuid] for uuid in uuids] for row, uuids in told.items()}
                    held = self._leases.take(uuid for uuids in told.values() for uuid in uuids)
                else:
                    places, held = self._first_free(rows, every)
                if held is None:
                    uuids = {row: [device.uuid for device in devices] for row, devices in places.items()}
                    write_json(decided, uuids)
                    return places
                self._wait_for(known[held], deadline)

    def _first_free(self, rows: Sequence[Model], every: Sequence[Device]) -> tuple[Places, str | None]:
        """Places on GPUs that are leased now; or the UUID of a GPU that another run holds, and none is leased."""
        busy: list[str] = []
        wanted = self._chosen(rows, every)
        while True:
            try:
                places = self._chosen(rows, every, busy)
            except StartError:
                return {}, busy[0]
            if any(len(places[row]) < len(wanted[row]) for row in places):
                return {}, busy[0]
            held = self._leases.take(device.uuid for devices in places.values() for device in devices)
            if held is None:
                return places, None
            busy.append(held)

    def _lease(self, places: Places) -> None:
        deadline = time.monotonic() + self._wait_s
        known = {device.uuid: device for devices in places.values() for device in devices}
        while held := self._leases.take(known):
            self._wait_for(known[held], deadline)

    def _wait_for(self, device: Device, deadline: float) -> None:
        holder = holder_of(device.uuid)
        who = f"process {holder.pid}" if holder else "another run"
        left_s = deadline - time.monotonic()
        if left_s <= 0 or self._closed.is_set():
            raise StartError(
                f"no GPU is free: {who} holds GPU {device.label} ({device.name}) for its run, and "
                f"{format_value(self._wait_s, 's')} were waited for it",
                remedy="run again when it has ended, wait longer (--llmperf-gpu-wait 8h), or name other GPUs in "
                "CUDA_VISIBLE_DEVICES",
            )
        self._progress(f"waiting for GPU {device.label}, which {who} holds, at most {left_s:.0f} s more")
        self._closed.wait(min(_LOOK_S, left_s))

    def _chosen(
        self, rows: Sequence[Model], devices: Sequence[Device], busy: Collection[str] = ()
    ) -> dict[str, list[Device]]:
        places = choose(rows, devices, os.environ, apart=self._apart, busy=busy)
        pinned = any(VISIBLE in row.environment for row in rows)
        return exchanged(places) if self._apart and self._heads and not pinned and len(rows) == 2 else places


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process of the run at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def choose(
    rows: Sequence[Model],
    devices: Sequence[Device],
    environment: Mapping[str, str],
    *,
    apart: bool,
    busy: Collection[str] = (),
) -> dict[str, list[Device]]:
    """The devices of each row: its own, or the first of one kind that ``environment`` leaves visible.

    Those with a UUID among ``busy`` are left out. A row that needs more than there are has none. Raises
    :class:`StartError` for rows that shall stand apart and cannot.
    """
    own = {
        row.name: _free(visible(devices, {**environment, **row.environment}), busy)[: row.gpus]
        for row in rows
        if VISIBLE in row.environment
    }
    seen = visible(devices, environment)
    if apart and len(rows) == 2:
        return _apart(rows, own, seen, busy)
    shared = [row for row in rows if row.name not in own]
    pool = _free(_of_one_kind(seen, max((row.gpus for row in shared), default=0)), busy)
    places = own | {row.name: pool[: row.gpus] for row in shared}
    return {row.name: places[row.name] if len(places[row.name]) == row.gpus else [] for row in rows}


def _free(devices: Sequence[Device], busy: Collection[str]) -> list[Device]:
    return [device for device in devices if device.uuid not in busy]


def exchanged(places: Places) -> dict[str, list[Device]]:
    """Both rows on each other's devices, as far as they take as many."""
    (first, ours), (second, theirs) = places.items()
    # The second row's devices come first: with as many on both sides, each takes the other's.
    pool = [*theirs, *ours]
    return {first: pool[: len(ours)], second: pool[len(ours) :]}


def _of_one_kind(devices: Sequence[Device], wanted: int) -> list[Device]:
    """The devices like the first, if there are enough of them, else all."""
    alike = [device for device in devices if device.name == devices[0].name]
    return alike if len(alike) >= wanted else list(devices)


def _apart(
    rows: Sequence[Model], own: Mapping[str, list[Device]], seen: Sequence[Device], busy: Collection[str]
) -> dict[str, list[Device]]:
    """Devices of one kind for two rows, none in common."""
    what = " and ".join(row.name for row in rows)
    named_ones = [device for devices in own.values() for device in devices]
    left = [device for device in seen if device not in named_ones]
    kind = next((device.name for device in [*named_ones, *left]), "")
    pool = _free([device for device in left if device.name == kind], busy)
    places: dict[str, list[Device]] = {}
    for row in rows:
        places[row.name] = own[row.name] if row.name in own else pool[: row.gpus]
        pool = [device for device in pool if device not in places[row.name]]
    taken = [device for devices in places.values() for device in devices]
    if [len(places[row.name]) for row in rows] != [row.gpus for row in rows]:
        count = sum(row.gpus for row in rows)
        raise StartError(
            f'{what}: placement = "apart" needs {count} GPUs of one kind, there are: '
            f"{named([*named_ones, *left]) or 'none'}",
            remedy='run where there are enough, or set placement = "together" in models.toml',
        )
    if len({device.uuid for device in taken}) < len(taken):
        raise StartError(
            f'{what}: placement = "apart", and their own {VISIBLE} name a GPU twice: {named(taken)}',
            remedy="name other GPUs in one of the rows, or in neither",
        )
    if len({device.name for device in taken}) > 1:
        raise StartError(
            f'{what}: placement = "apart" compares on GPUs of one kind, these differ: {named(taken)}',
            remedy=f"name GPUs of one kind in the rows' {VISIBLE}, or in neither",
        )
    return places
