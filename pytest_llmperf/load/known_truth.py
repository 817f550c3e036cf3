"""A streaming server whose schedule is known: the truth that the client's clock is compared with.

    python -m pytest_llmperf.load.known_truth --port 0 --ttft-ms 50 --gap-ms 10

Token k is due at (request fully read) + ttft + k·gap on an absolute schedule, so that a late one delays no
other. ``GET /truth`` tells when the bytes were really handed to the kernel, on the clock of
``time.perf_counter``, which every process of one Linux machine shares; ``POST /truth/reset`` forgets it,
``POST /truth/options`` changes the behaviour. It writes ``{"port": …}`` to its standard output when it
listens, and ends when its standard input does: it cannot outlive the process that started it.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from pytest_llmperf.client import loop as loops
from pytest_llmperf.client.reply import now
from pytest_llmperf.load.truth_answer import Stream, Told, rendered
from pytest_llmperf.load.truth_clock import TruthClock
from pytest_llmperf.load.truth_connection import TruthConnection
from pytest_llmperf.load.truth_options import TruthOptions, parse
from pytest_llmperf.load.truth_stream import Plan
from pytest_llmperf.serving.processes import end_with_parent


class TruthServer:
    """State that all connections share."""

    def __init__(self, options: TruthOptions, loop: asyncio.AbstractEventLoop) -> None:
        self.options, self.loop = options, loop
        self.clock = TruthClock(loop)
        self.waiting: deque[Stream] = deque()
        self.seen: set[bytes] = set()
        self._rendered: dict[Plan, tuple[tuple[bytes, int], ...]] = {}
        self.connections = self.ordinal = self.active = 0
        self.cache_queries = self.cache_hits = 0
        self.reset()

    def reset(self) -> None:
        self.told: list[Told] = []
        self.peak = self.active
        self.ordinal = 0

    def change(self, options: TruthOptions) -> None:
        """Behave like that from now on, and forget everything; not while streams run."""
        self.options = options
        self._rendered.clear()
        self.seen.clear()
        self.cache_queries = self.cache_hits = 0
        self.reset()

    def admit(self, stream: Stream) -> None:
        if 0 < self.options.slots <= self.active:
            self.waiting.append(stream)
        else:
            self.begin(stream, stream.told.received_s)

    def begin(self, stream: Stream, start_s: float) -> None:
        self.active += 1
        self.peak = max(self.peak, self.active)
        stream.begin(start_s)

    def left(self) -> None:
        self.active -= 1
        if self.waiting:
            self.begin(self.waiting.popleft(), now())

    def count_cache(self, body: Mapping[str, Any], prompt_tokens: int) -> None:
        key = hashlib.blake2b(
            json.dumps([body.get("messages", body.get("prompt")), body.get("cache_salt")]).encode()
        ).digest()
        share = 1.0 if key in self.seen else self.options.warm_share
        self.seen.add(key)
        self.cache_queries += prompt_tokens
        self.cache_hits += int(prompt_tokens * share)

    def rendered(self, plan: Plan) -> tuple[tuple[bytes, int], ...]:
        """The same for all requests of one shape, and therefore made once."""
        if plan not in self._rendered:
            self._rendered[plan] = rendered(plan, self.options)
        return self._rendered[plan]

    def truth(self) -> dict[str, Any]:
        requests = [
            {
                "id": told.request_id,
                "connection": told.connection,
                "received_s": told.received_s,
                "tokens_s": list(told.tokens_s),
                "counts": list(told.counts),
            }
            for told in self.told
        ]
        return {
            "connections": self.connections,
            "active": self.active,
            "peak": self.peak,
            "cpu_s": time.process_time(),
            "requests": requests,
        }

    def metrics(self) -> str:
        labels = f'{{engine="0",model_name="{self.options.model}"}}'
        lines = []
        for name, value in (("queries", self.cache_queries), ("hits", self.cache_hits)):
            lines.append(f"# TYPE vllm:prefix_cache_{name}_total counter")
            lines.append(f"vllm:prefix_cache_{name}_total{labels} {float(value)}")
        for name, value in (("running", self.active), ("waiting", len(self.waiting))):
            lines.append(f"# TYPE vllm:num_requests_{name} gauge")
            lines.append(f"vllm:num_requests_{name}{labels} {float(value)}")
        return "\n".join(lines) + "\n"


async def serve(options: TruthOptions) -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    truth = TruthServer(options, loop)
    listener = await loop.create_server(
        lambda: TruthConnection(truth), "127.0.0.1", options.port, backlog=4096
    )
    port = listener.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"port": port}) + "\n")
    sys.stdout.flush()
    # A pause of the collector would be a pause of every stream.
    gc.freeze()
    gc.disable()
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    truth.clock.close()
    listener.close()


def main() -> None:
    options = parse()
    if not sys.stdin.isatty():
        # The end of standard input says the same, but not to a process that is stopped.
        end_with_parent()
    with asyncio.Runner(loop_factory=loops.new_loop) as runner:
        runner.run(serve(options))


if __name__ == "__main__":
    main()
