"""The reader against bytes that nobody would send: whatever comes, it is a result, and the same however it was cut.

    python -m venv FUZZ && FUZZ/bin/pip install atheris httptools
    FUZZ/bin/python -m tests.client.fuzz_reader CORPUS -max_total_time=600 -max_len=4096

CORPUS is a directory: the seeds (``fuzz_seeds.py``) are written into it, and what the fuzzer finds to be new. An input
that breaks something is left as ``crash-…``; ``python -m tests.client.fuzz_reader crash-…`` repeats it, and its bytes
then belong into ``test_fuzz.FOUND``. atheris (https://github.com/google/atheris) is no dependency of the tests: without
it hypothesis plays the same game with fewer rounds (``test_fuzz.py``).
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Sequence
from concurrent.futures import Future
from hashlib import sha1
from itertools import pairwise
from pathlib import Path
from typing import Any

import httptools

from pytest_llmperf.client.connection import Connection
from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.trace import RequestOutcome, Trace


class _Nowhere(asyncio.Transport):
    """A transport that leads nowhere."""

    def abort(self) -> None:
        pass


def read(parts: Sequence[bytes]) -> Reply:
    """What a connection makes of these reads and the closing that follows; no socket is needed."""
    connection: Any = Connection(direct=False)
    connection._transport, connection.open = _Nowhere(), True
    reply = connection._reply = Reply(sent_s=0.0)
    # One that needs no event loop: opening one takes longer than reading a response.
    connection._done = Future()
    connection._parser = httptools.HttpResponseParser(connection)
    for part in parts:
        if connection.open:
            connection.data_received(part)
    connection.connection_lost(None)
    assert connection._done.done(), "a request that nobody would ever hear of again"
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
    assert whole.ending is not Ending.MALFORMED or again.outcome is not RequestOutcome.CUT
    return again


def case_of(data: bytes) -> tuple[bytes, list[int]]:
    """What ``check`` is asked for an input of the fuzzer: how many cuts, two bytes for each, and the response."""
    count = data[0] % 7 if data else 0
    places, wire = data[1 : 1 + 2 * count], data[1 + 2 * count :]
    return wire, [int.from_bytes(places[at : at + 2], "big") for at in range(0, len(places), 2)]


def write_seeds(corpus: Path) -> None:
    from tests.client.fuzz_seeds import seeds

    for seed in seeds():
        (corpus / sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)


def main() -> None:
    atheris: Any = importlib.import_module("atheris")
    for given in sys.argv[1:]:
        if Path(given).is_dir():
            write_seeds(Path(given))
    for name in [name for name in sys.modules if name.startswith("pytest_llmperf")]:
        del sys.modules[name]
    # Again, and watched: which branches an input takes is what leads the fuzzer to the next.
    with atheris.instrument_imports(include=["pytest_llmperf"]):
        reader = importlib.import_module("tests.client.fuzz_reader")
    atheris.Setup(sys.argv, lambda data: reader.check(*reader.case_of(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
