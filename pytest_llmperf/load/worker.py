"""One process of a load that is shared by several; ``fleet.py`` starts it.

A load worker is a plain function of its shard, :func:`run_shard`: what it is given says where to send, what, in which
rhythm, and when to begin. Times are of CLOCK_MONOTONIC, which all processes of one Linux machine share; a worker tells
the clock when it is ready, so that its parent can see that it is the same one.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import IO, Any

from pytest_llmperf.client import loop
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import now
from pytest_llmperf.load.client_health import ClientHealth, Watch, no_collector
from pytest_llmperf.load.sending import Sent, in_flight, on_schedule

BEAT_S = 1.0
_WRITING = threading.Lock()
"""The loop's beats and another thread's news go through one pipe."""


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
class Ready:
    """Connections are open; the answer to it is when to begin, in seconds of the clock."""

    clock_s: float


@dataclass(frozen=True)
class Beat:
    """The worker's loop runs: said every `BEAT_S` seconds, so that one that is stopped is not waited for."""


@dataclass(frozen=True)
class Silent:
    """The server has sent this worker no byte for too long."""

    why: str


@dataclass(frozen=True)
class Done:
    """What came back, in the order of the shard's requests."""

    sent: tuple[Sent, ...] = field(repr=False)
    client: ClientHealth
    opened: int


def run_shard(
    shard: Shard, begin: Callable[[Ready], float], say: Callable[[Beat | Silent], None] = lambda _: None
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
            start_s = await asyncio.to_thread(begin, Ready(now()))
            with no_collector():
                watch = Watch()
                if shard.offsets_s is None:
                    sent = await in_flight(pool, shard.wire, shard.concurrency, start_s=start_s)
                else:
                    sent = await on_schedule(pool, shard.wire, shard.offsets_s, start_s=start_s)
                health = watch.stop()
            beating.cancel()
            return Done(tuple(sent), health, pool.opened)

    return loop.run(main)


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
    # Both ends are this program: nobody else writes to these pipes.
    return pickle.loads(stream.read(int.from_bytes(head, "big")))


def main() -> None:
    asked, told = sys.stdin.buffer, sys.stdout.buffer

    def begin(ready: Ready) -> float:
        write(told, ready)
        start_s = float(read(asked))
        # Nothing more comes through this pipe but its end.
        threading.Thread(target=_end_with, args=[asked], daemon=True).start()
        return start_s

    try:
        write(told, run_shard(read(asked), begin, lambda news: write(told, news)))
    except (EOFError, BrokenPipeError):
        # Whoever wanted this load is gone.
        os._exit(1)
    except Exception as error:
        write(told, f"{type(error).__name__}: {error}")


def _end_with(pipe: IO[bytes]) -> None:
    # Not through the buffer, whose lock the end of the interpreter would wait for.
    os.read(pipe.fileno(), 1)
    os._exit(1)
