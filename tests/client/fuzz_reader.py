"""The reader against bytes that nobody would send: whatever comes, it is a result, and the same however it was cut.

    python -m tests.client.fuzz_reader -max_total_time=120

needs atheris (https://github.com/google/atheris), which is no dependency of the tests; without it hypothesis plays the
same game with fewer rounds (``test_fuzz.py``).
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import httptools

from pytest_llmperf.client.connection import Connection
from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.trace import Outcome, Trace


class _Nowhere(asyncio.Transport):
    """A transport that leads nowhere."""

    def abort(self) -> None:
        pass


def read(parts: Sequence[bytes]) -> Reply:
    """What a connection makes of these reads and the closing that follows; no socket is needed."""
    loop = asyncio.new_event_loop()
    try:
        connection: Any = Connection(direct=False)
        connection._transport, connection.open = _Nowhere(), True
        reply = connection._reply = Reply(sent_s=0.0)
        connection._done = loop.create_future()
        connection._parser = httptools.HttpResponseParser(connection)
        connection._until_eof = True
        for part in parts:
            if connection.open:
                connection.data_received(part)
        connection.connection_lost(None)
        assert connection._done.done(), "a request that nobody would ever hear of again"
    finally:
        loop.close()
    return reply


def check(wire: bytes, places: Sequence[int]) -> Trace:
    """Raises ``AssertionError`` where the reading depends on the cuts, or says something that cannot be."""
    marks = sorted({0, len(wire), *(place % (len(wire) + 1) for place in places)})
    whole, cut = read([wire]), read([wire[start:stop] for start, stop in pairwise(marks)])
    assert (cut.status, cut.headers, cut.body, cut.ending) == (
        whole.status, whole.headers, whole.body, whole.ending,
    )  # fmt: skip
    once, again = trace_of(whole), trace_of(cut)
    assert (again.outcome, again.text, again.reasoning_text) == (once.outcome, once.text, once.reasoning_text)
    assert (again.completion_tokens, again.finish_reason) == (once.completion_tokens, once.finish_reason)
    times = [arrival.time_s for arrival in again.arrivals]
    assert times == sorted(times)
    assert again.ok == (again.error == "")
    assert not again.ok or whole.status == 200
    assert whole.ending is not Ending.MALFORMED or again.outcome is not Outcome.CUT
    return again


def main() -> None:
    atheris: Any = importlib.import_module("atheris")

    def one(data: bytes) -> None:
        fed = atheris.FuzzedDataProvider(data)
        places = [fed.ConsumeIntInRange(0, 4000) for _ in range(fed.ConsumeIntInRange(0, 6))]
        head = b"HTTP/1.1 200 OK\r\n" if fed.ConsumeBool() else b""
        check(head + fed.ConsumeBytes(fed.remaining_bytes()), places)

    atheris.instrument_all()
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
