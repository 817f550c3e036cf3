"""A load that is shared by several worker processes, when one core is not enough for it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pytest_llmperf.client.reply import now
from pytest_llmperf.errors import InfrastructureError
from pytest_llmperf.load.client_health import ClientHealth
from pytest_llmperf.load.sending import Sent
from pytest_llmperf.load.worker import Done, Ready, Shard, read, write

T = TypeVar("T")
_LEAD_S = 0.05
"""From the word to the begin: longer than a pipe takes to carry it to the last worker."""
ENOUGH_BELOW = 0.6
"""Share of a core up to which one process is enough: above it waits of the client's own begin to show."""
_AIM = 0.4


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
    base_url: str,
    api_key: str | None,
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
            base_url,
            api_key,
            tuple(wire[number::count]),
            concurrency // count + (number < concurrency % count),
            timeout_s,
            None if offsets_s is None else tuple(offsets_s[number::count]),
        )
        for number in range(count)
    ]


def run_fleet(parts: Sequence[Shard]) -> Fleet:
    """Run every shard in a process of its own, all from one moment on; the results are in the order of the load.

    Raises ``InfrastructureError`` if a worker fails, or its clock is not this process's.
    """
    born_s = now()
    with ExitStack() as stack:
        processes = [stack.enter_context(_process()) for _ in parts]
        stack.callback(_end, processes)
        for process, part in zip(processes, parts, strict=True):
            _tell(process, part)
        for number, process in enumerate(processes):
            ready = _hear(process, Ready)
            # It read the clock after it was born, and before we heard of it.
            if not born_s <= ready.clock_s <= now():
                raise InfrastructureError(
                    f"load worker {number} says {ready.clock_s:.3f} s, here it is {now():.3f} s: the processes do not "
                    "share a clock, and their times cannot be merged"
                )
        start_s = now() + _LEAD_S
        for process in processes:
            _tell(process, start_s)
        done = [_hear(process, Done) for process in processes]
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
    command = [sys.executable, "-m", "pytest_llmperf.load.worker"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()


def _tell(process: subprocess.Popen[bytes], value: Any) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        # Who cannot be told has died, and is found out when it is heard.
        write(process.stdin, value)


def _hear(process: subprocess.Popen[bytes], kind: type[T]) -> T:
    assert process.stdout is not None
    try:
        value = read(process.stdout)
    except EOFError:
        raise InfrastructureError(f"a load worker ended with exit code {process.wait()}") from None
    if not isinstance(value, kind):
        raise InfrastructureError(f"a load worker failed: {value}; is the server alive?")
    return value
