"""A load that is shared by several worker processes, when one core is not enough for it."""

from __future__ import annotations

import asyncio
import math
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pytest_llmperf.client.reply import now
from pytest_llmperf.errors import InfrastructureError
from pytest_llmperf.load.client_health import ClientHealth
from pytest_llmperf.load.sending import Sent
from pytest_llmperf.load.worker import Beat, Done, Ready, Shard, Silent, read, write
from pytest_llmperf.serving.server import Server

T = TypeVar("T")
_LEAD_S = 0.05
"""From the word to the begin: longer than a pipe takes to carry it to the last worker."""
ENOUGH_BELOW = 0.6
"""Share of a core up to which one process is enough: above it waits of the client's own begin to show."""
_AIM = 0.4
WORKER_SILENCE_S = 30.0
"""A worker speaks every second; on a machine that is overloaded, or when it packs a long load's results, later."""

_SLICE_S = 0.2
_WORKER = (
    "from pytest_llmperf.serving.processes import end_with_parent; end_with_parent(); "
    "from pytest_llmperf.load.worker import main; main()"
)
"""Bound to this process before anything that takes long to import: a worker may be stopped at any moment."""


@dataclass(frozen=True)
class Fleet:
    """What the workers brought together: as of one client, and each worker's own health."""

    sent: tuple[Sent, ...] = field(repr=False)
    client: ClientHealth
    workers: tuple[ClientHealth, ...]
    opened: int


def workers_for(cpu_share: float) -> int:
    """Processes for a load that took one process so much of a core; at most one for each core."""
    if cpu_share <= ENOUGH_BELOW:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, math.ceil(cpu_share / _AIM)))


def shards(
    server: Server,
    wire: Sequence[bytes],
    workers: int,
    *,
    concurrency: int,
    timeout_s: float,
    offsets_s: Sequence[float] | None = None,
) -> list[Shard]:
    """Every ``workers``-th request to each, and the concurrency divided so that its sum is exact.

    A closed loop has no more workers than requests in flight. At its end a worker that is done does not help another:
    the ramp-down is a little longer than that of one process.
    """
    count = max(1, min(workers, concurrency, len(wire)))
    return [
        Shard(
            server.base_url,
            server.api_key,
            tuple(wire[number::count]),
            concurrency // count + (number < concurrency % count),
            timeout_s,
            None if offsets_s is None else tuple(offsets_s[number::count]),
            server.silence_limit_s,
        )
        for number in range(count)
    ]


async def sent_by_fleet(parts: Sequence[Shard], on_silence: Callable[[str], None] | None = None) -> Fleet:
    """:func:`run_fleet` beside a running loop; a cancelled call ends the workers at once."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(run_fleet, parts, on_silence, stop)
    finally:
        stop.set()


def run_fleet(
    parts: Sequence[Shard],
    on_silence: Callable[[str], None] | None = None,
    stop: threading.Event | None = None,
) -> Fleet:
    """Run every shard in a process of its own, all from one moment on; the results are in the order of the load.

    ``on_silence`` is called with one sentence if a worker hears nothing from the server for too long; ``stop``, set by
    another thread, ends the workers. Raises
    ``InfrastructureError`` if a worker fails or is not heard for `WORKER_SILENCE_S`, or its clock is not this
    process's.
    """
    born_s = now()
    with ExitStack() as stack:
        processes = [stack.enter_context(_process()) for _ in parts]
        stack.callback(_end, processes)
        inboxes = [_Inbox(process, number, on_silence, stop) for number, process in enumerate(processes)]
        for process, part in zip(processes, parts, strict=True):
            _tell(process, part)
        for number, inbox in enumerate(inboxes):
            ready = inbox.hear(Ready)
            # It read the clock after it was born, and before we heard of it.
            if not born_s <= ready.clock_s <= now():
                raise InfrastructureError(
                    f"load worker {number} says {ready.clock_s:.3f} s, here it is {now():.3f} s: the processes do not "
                    "share a clock, and their times cannot be merged"
                )
        start_s = now() + _LEAD_S
        for process in processes:
            _tell(process, start_s)
        done = [inbox.hear(Done) for inbox in inboxes]
    # A worker whose requests all failed has sent fewer than it was given.
    sent: list[Sent | None] = [None] * sum(len(part.wire) for part in parts)
    for number, one in enumerate(done):
        for each in one.sent:
            place = number + each.index * len(done)
            sent[place] = replace(each, index=place)
    return Fleet(
        tuple(one for one in sent if one is not None),
        together([one.client for one in done]),
        tuple(one.client for one in done),
        sum(one.opened for one in done),
    )


def together(workers: Sequence[ClientHealth]) -> ClientHealth:
    """Of the whole: its CPU time, and the share and lag of the worker that had it hardest."""
    return ClientHealth(
        cpu_s=sum(one.cpu_s for one in workers),
        cpu_share=max(one.cpu_share for one in workers),
        lag_p99_s=max(one.lag_p99_s for one in workers),
        lag_max_s=max(one.lag_max_s for one in workers),
        loop=workers[0].loop,
        late_share=max(one.late_share for one in workers),
    )


def _process() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _WORKER]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()


def _tell(process: subprocess.Popen[bytes], value: Any) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        # Who cannot be told has died, and is found out when it is heard.
        write(process.stdin, value)


class _Inbox:
    """What one worker says, read by a thread: a worker that stops in the middle of a word must not stop its parent."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        number: int,
        on_silence: Callable[[str], None] | None,
        stop: threading.Event | None,
    ) -> None:
        self._stop = stop
        self._process = process
        self._number = number
        self._on_silence = on_silence
        self._values: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._read, name=f"llmperf-worker-{number}", daemon=True).start()

    def hear(self, kind: type[T]) -> T:
        """The next value that is no beat."""
        deadline = now() + WORKER_SILENCE_S
        while True:
            try:
                value = self._values.get(timeout=_SLICE_S)
            except queue.Empty:
                if self._stop is not None and self._stop.is_set():
                    raise InfrastructureError("the load was called off") from None
                if now() > deadline:
                    raise InfrastructureError(
                        f"load worker {self._number} (process {self._process.pid}) has said nothing for "
                        f"{WORKER_SILENCE_S:g} s and was ended: was it stopped, or is the machine overloaded?"
                    ) from None
                continue
            deadline = now() + WORKER_SILENCE_S
            if isinstance(value, Silent) and self._on_silence is not None:
                self._on_silence(value.why)
            elif isinstance(value, EOFError):
                raise InfrastructureError(f"a load worker ended with exit code {self._process.wait()}")
            elif isinstance(value, kind):
                return value
            elif not isinstance(value, Beat | Silent):
                raise InfrastructureError(f"a load worker failed: {value}; is the server alive?")

    def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                self._values.put(read(self._process.stdout))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            # ValueError: the pipe was closed meanwhile, by the end of the load.
            self._values.put(error if isinstance(error, EOFError) else EOFError(str(error)))
