"""Run the reference server in a process of its own for the length of a ``with`` block."""

from __future__ import annotations

import dataclasses
import json
import selectors
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmperf.client import loop
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.errors import NotMeasured, StartError
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.serving.server import Server

if TYPE_CHECKING:
    from pytest_llmperf.load.reference_server.server import Truth

_SILENCE_LIMIT_S = 20.0
"""Far above its longest wait for a token; a stopped server must not be waited for."""


@dataclass(frozen=True)
class TrueRequest:
    """Times at which the server sent one answer, in seconds of ``time.perf_counter`` (the same in all processes)."""

    request_id: str
    connection: int
    received_s: float
    tokens_s: array[float]
    """When the bytes of each chunk with tokens were handed to the kernel."""
    counts: array[int]
    """Tokens in each chunk."""

    @property
    def ttft_s(self) -> float:
        return self.tokens_s[0] - self.received_s


@dataclass(frozen=True)
class GroundTruth:
    """Everything that the server sent since the last reset."""

    connections: int
    """Accepted since the server began, those for ``/truth`` itself included."""
    peak: int
    """Most streams at one time since the last reset."""
    cpu_s: float
    requests: tuple[TrueRequest, ...]


@dataclass(frozen=True)
class ReferenceServer:
    """A running reference server."""

    server: Server
    options: ReferenceOptions

    def truth(self) -> GroundTruth:
        return _parse_truth(self._ask("GET", "/truth"))

    def reset(self) -> None:
        self._ask("POST", "/truth/reset")

    def changed(self, options: ReferenceOptions) -> ReferenceServer:
        """The same process with other options (but for the port): cheaper than another process."""
        self._ask("POST", "/truth/options", dataclasses.asdict(options))
        server = dataclasses.replace(self.server, api_key=options.api_key or None, model=options.model)
        return ReferenceServer(server, options)

    def _ask(self, method: str, path: str, body: JsonObject | None = None) -> Truth:
        async def ask() -> Truth:
            async with Pool(Endpoint.of(self.server), timeout_s=60) as pool:
                reply = await pool.fetch(method, path, body)
            if reply.status != 200:
                raise NotMeasured(
                    f"the reference server did not answer {path}: {reply.detail or reply.status}"
                )
            value: Truth = json.loads(reply.body)
            return value

        return loop.run(ask)


@contextmanager
def running(
    options: ReferenceOptions | None = None, *, start_timeout_s: float = 30.0
) -> Iterator[ReferenceServer]:
    """Start the server, wait until it listens, kill it at the end. Raises ``StartError`` with its last output."""
    options = options or ReferenceOptions()
    command = [sys.executable, "-m", "pytest_llmperf.load.reference_server.server", *options.argv()]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            port = _port(process, start_timeout_s, command)
            server = Server(
                row="reference",
                model=options.model,
                base_url=f"http://127.0.0.1:{port}",
                api_key=options.api_key or None,
                log=None,
                root_pid=process.pid,
                ready_s=time.perf_counter() - started,
                command=" ".join(command),
                engine="reference",
                silence_limit_s=_SILENCE_LIMIT_S,
            )
            yield ReferenceServer(server, options)
        finally:
            process.kill()


def _port(process: subprocess.Popen[bytes], timeout_s: float, command: list[str]) -> int:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        ready = selector.select(timeout_s)
    line = process.stdout.readline() if ready else b""
    if not line:
        process.kill()
        said = process.stderr.read().decode(errors="replace") if process.stderr else ""
        cause = (
            "the reference server ended"
            if ready
            else f"the reference server did not listen within {timeout_s:g} s"
        )
        raise StartError(cause, last_words=said[-2000:], command=" ".join(command))
    return int(json.loads(line)["port"])


def _parse_truth(value: Truth) -> GroundTruth:
    requests = tuple(
        TrueRequest(
            request_id=request["id"],
            connection=request["connection"],
            received_s=request["received_s"],
            tokens_s=array("d", request["tokens_s"]),
            counts=array("I", request["counts"]),
        )
        for request in value["requests"]
    )
    return GroundTruth(value["connections"], value["peak"], value["cpu_s"], requests)
