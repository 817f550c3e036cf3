"""A load that several worker processes share, when one core is not enough for it.

A worker runs one shard, :func:`run_shard`: where to send what, in which rhythm, and when to begin. Times are of
CLOCK_MONOTONIC, which all processes of one Linux machine share; a worker reports its clock when it is ready, so that
the parent can check that it is the same one.
"""

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
from typing import IO, Any, TypeVar

from pytest_llmperf.client import loop
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import now
from pytest_llmperf.errors import InfrastructureError
from pytest_llmperf.load.client_health import ClientHealth, ClientWatch, no_collector
from pytest_llmperf.load.sending import Sent, in_flight, on_schedule
from pytest_llmperf.serving.server import Server

T = TypeVar("T")
_LEAD_S = 0.05
"""From the start signal to the start: longer than the signal takes to reach the last worker."""
ENOUGH_BELOW = 0.6
"""Share of a core up to which one process is enough; above it, the client's own queueing begins to show."""
_AIM = 0.4
WORKER_SILENCE_S = 30.0
"""A worker reports every second; later on an overloaded machine, or when it packs a long load's results."""

_SLICE_S = 0.2
_WORKER = (
    "from pytest_llmperf.serving.processes import end_with_parent; end_with_parent(); "
    "from pytest_llmperf.load.workers import worker_main; worker_main()"
)
"""Tied to the parent before any slow import: a worker may be stopped at any moment."""

BEAT_S = 1.0
_WRITING = threading.Lock()
"""The loop's beats and messages of other threads go through one pipe."""


@dataclass(frozen=True)
class Shard:
    """One worker's part of a load."""

    base_url: str
    api_key: str | None = field(repr=False)
    wire: tuple[bytes, ...] = field(repr=False)
    """Its requests, in the order of sending."""
    concurrency: int
    """Requests in flight of a closed loop; connections to open in advance of an open one."""
    timeout_s: float
    offsets_s: tuple[float, ...] | None = field(default=None, repr=False)
    """When each is to be sent, after the begin of the whole load; None: a closed loop."""
    silence_limit_s: float | None = None
    """See ``Endpoint``."""


@dataclass(frozen=True)
class WorkerReady:
    """Connections are open; the answer to it is when to begin, in seconds of the clock."""

    clock_s: float


@dataclass(frozen=True)
class Beat:
    """Sent every `BEAT_S` seconds while the worker's loop runs, so that a stopped worker is noticed."""


@dataclass(frozen=True)
class Silent:
    """The server has sent this worker no byte for too long."""

    why: str


@dataclass(frozen=True)
class Done:
    """The results, in the order of the shard's requests."""

    sent: tuple[Sent, ...] = field(repr=False)
    client: ClientHealth
    opened: int


def run_shard(
    shard: Shard, begin: Callable[[WorkerReady], float], say: Callable[[Beat | Silent], None] = lambda _: None
) -> Done:
    """Send the shard's requests from the moment on that ``begin`` returns (seconds of the clock).

    ``say`` gets the news that come before the end. Raises ``OSError`` or ``TimeoutError`` if the server takes no
    connection.
    """

    async def beat() -> None:
        while True:
            say(Beat())
            await asyncio.sleep(BEAT_S)

    async def main() -> Done:
        endpoint = replace(
            Endpoint.from_url(shard.base_url, shard.api_key),
            silence_limit_s=shard.silence_limit_s,
            on_silence=lambda why: say(Silent(why)),
        )
        beating = asyncio.create_task(beat())
        async with Pool(endpoint, timeout_s=shard.timeout_s) as pool:
            await pool.open(min(shard.concurrency, len(shard.wire)))
            start_s = await asyncio.to_thread(begin, WorkerReady(now()))
            with no_collector():
                watch = ClientWatch()
                if shard.offsets_s is None:
                    sent = await in_flight(pool, shard.wire, shard.concurrency, start_s=start_s)
                else:
                    sent = await on_schedule(pool, shard.wire, shard.offsets_s, start_s=start_s)
                health = watch.stop()
            beating.cancel()
            return Done(tuple(sent), health, pool.opened)

    return loop.run(main)


@dataclass(frozen=True)
class Fleet:
    """The results of all workers as those of one client, and each worker's own health."""

    sent: tuple[Sent, ...] = field(repr=False)
    client: ClientHealth
    workers: tuple[ClientHealth, ...]
    opened: int


def workers_for(cpu_share: float) -> int:
    """Processes needed for a load that used ``cpu_share`` of a core in one process; at most one per core."""
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
            ready = inbox.hear(WorkerReady)
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
    """Total CPU time, and the share and lag of the busiest worker."""
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
        # A worker that has died is noticed when its messages are read.
        write(process.stdin, value)


class _Inbox:
    """Messages of one worker, read by a thread: a worker that stops in the middle of one must not block its parent."""

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
        """The next message that is no beat."""
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


def write(stream: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    with _WRITING:
        stream.write(len(data).to_bytes(8, "big") + data)
        stream.flush()


def read(stream: IO[bytes]) -> Any:
    """The next value; ``EOFError`` where the other side has ended."""
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError("the other process has ended")
    # Trusted data: only this program writes to these pipes.
    return pickle.loads(stream.read(int.from_bytes(head, "big")))


def worker_main() -> None:
    """The worker process: read a shard from standard input, run it, write what came back."""
    asked, told = sys.stdin.buffer, sys.stdout.buffer

    def begin(ready: WorkerReady) -> float:
        write(told, ready)
        start_s = float(read(asked))
        # Nothing more comes through this pipe but its end.
        threading.Thread(target=_end_with, args=[asked], daemon=True).start()
        return start_s

    try:
        write(told, run_shard(read(asked), begin, lambda news: write(told, news)))
    except (EOFError, BrokenPipeError):
        # The parent has ended.
        os._exit(1)
    except Exception as error:
        write(told, f"{type(error).__name__}: {error}")


def _end_with(pipe: IO[bytes]) -> None:
    # Not through the buffer, whose lock the end of the interpreter would wait for.
    os.read(pipe.fileno(), 1)
    os._exit(1)
