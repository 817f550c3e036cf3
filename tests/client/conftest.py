"""A server that does exactly what a test writes down, byte by byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Reply
from pytest_llmperf.client.trace import Trace
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.serving.server import Server

Handler = Callable[[socket.socket], None]


def read_request(connection: socket.socket) -> bytes:
    """One request with its body; ``b""`` if the client closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@dataclass
class Scripted:
    """Connection number i is handled by ``handlers[i]``, the last one also serves all further connections."""

    port: int
    handlers: list[Handler]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    @property
    def server(self) -> Server:
        return server_at(f"http://127.0.0.1:{self.port}")

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint.of(self.server)


def server_at(base_url: str, api_key: str | None = None) -> Server:
    return Server("row", "model", base_url, api_key, None, None, None, "", "scripted")


ScriptedServer = Callable[..., Scripted]


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """``scripted(handler, …)`` listens; a handler is a function of the socket, or the bytes of every
    response."""
    listeners: list[socket.socket] = []

    def start(*handlers: Handler | bytes) -> Scripted:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        state = Scripted(listener.getsockname()[1], [])

        def answering(response: bytes) -> Handler:
            def handle(connection: socket.socket) -> None:
                while request := read_request(connection):
                    state.requests.append(request)
                    connection.sendall(response)

            return handle

        state.handlers = [answering(h) if isinstance(h, bytes) else h for h in handlers]

        def serve_one(connection: socket.socket, handler: Handler) -> None:
            with connection, suppress(OSError):
                handler(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    handler = state.handlers[min(state.connections, len(state.handlers) - 1)]
                    state.connections += 1
                    threading.Thread(target=serve_one, args=(connection, handler), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return state

    yield start
    for listener in listeners:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def read() -> Callable[[socket.socket], bytes]:
    return read_request


@pytest.fixture
def chunked() -> Callable[..., bytes]:
    """The response of a streaming server: status 200, and one HTTP chunk per argument."""

    def build(*parts: bytes, end: bool = True) -> bytes:
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        return head + body + (b"0\r\n\r\n" if end else b"")

    return build


@pytest.fixture
def replied() -> Callable[..., Reply]:
    """A reply as the connection would leave it: status 200 and this body, in reads at 1 s, 2 s, …"""

    def build(*reads: bytes, status: int = 200) -> Reply:
        reply = Reply(sent_s=0.5, headers_s=0.6, status=status, received=True, end_s=float(len(reads)))
        for number, part in enumerate(reads, start=1):
            reply.body += part
            reply.times.append(float(number))
            reply.ends.append(len(reply.body))
        return reply

    return build


@pytest.fixture
def send() -> Callable[..., Trace]:
    """One request to an endpoint, and its trace."""
    from pytest_llmperf.client import loop

    def one(endpoint: Endpoint, *, timeout_s: float = 10.0, body: JsonObject | None = None) -> Trace:
        async def main() -> Trace:
            async with Pool(endpoint, timeout_s=timeout_s) as pool:
                return trace_of(await pool.fetch("POST", "/v1/chat/completions", body or {"messages": []}))

        return loop.run(main)

    return one
