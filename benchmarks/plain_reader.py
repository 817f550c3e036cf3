"""The least that a client of a stream can do, for scale: read, look at the clock, keep the bytes.

    python -m benchmarks.plain_reader URL MODEL CONCURRENCY REQUESTS RESULT.json

The same event loop and the same requests as our client's, one callback of Python for each read, no HTTP parser, no
JSON, no checks. Its processor time is the floor under any client on this loop and machine; its times are those of
reads, the first of which brings the headers.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.rivals import INPUT, OUTPUT
from pytest_llmperf.client import loop
from pytest_llmperf.stats.order_statistics import quantile

_END = b"0\r\n\r\n"


class PlainReader(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.reads: list[tuple[float, bytes]] = []
        self.done: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        self.reads.append((time.perf_counter(), data))
        if data.endswith(_END) and self.done is not None:
            self.done.set_result(None)


def _request(host: str, model: str, number: int) -> bytes:
    body = {
        "model": model,
        "prompt": " ".join([f"{number:08d}", *["word"] * (INPUT - 8)]),
        "max_tokens": OUTPUT,
        "min_tokens": OUTPUT,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    content = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(content)}\r\n\r\n".encode() + content


async def _load(url: str, model: str, concurrency: int, requests: int) -> list[tuple[float, list[float]]]:
    place = urlsplit(url)
    host, port = place.hostname, place.port
    assert host is not None
    assert port is not None
    running = asyncio.get_running_loop()
    numbers = iter(range(requests))
    results: list[tuple[float, list[float]]] = []

    async def worker() -> None:
        transport, reader = await running.create_connection(PlainReader, host, port)
        for number in numbers:
            reader.done = running.create_future()
            sent_s = time.perf_counter()
            transport.write(_request(place.netloc, model, number))
            await reader.done
            results.append((sent_s, [read_s for read_s, _ in reader.reads]))
            reader.reads = []
        transport.close()

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return results


def main(url: str, model: str, concurrency: str, requests: str, result: str) -> None:
    # A wave to warm up, as the tools have one.
    loop.run(lambda: _load(url, model, int(concurrency), int(concurrency)))
    began = time.perf_counter()
    answers = loop.run(lambda: _load(url, model, int(concurrency), int(requests)))
    took_s = time.perf_counter() - began
    ttft = [1e3 * (reads[0] - sent_s) for sent_s, reads in answers]
    gaps = [1e3 * (late - early) for _, reads in answers for early, late in pairwise(reads[1:])]
    said = {
        "requests": len(answers),
        "ttft_mean_ms": sum(ttft) / len(ttft),
        "ttft_p99_ms": quantile(ttft, 0.99),
        "itl_mean_ms": sum(gaps) / len(gaps),
        "itl_p99_ms": quantile(gaps, 0.99),
        "throughput": len(answers) * OUTPUT / took_s,
    }
    Path(result).write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
