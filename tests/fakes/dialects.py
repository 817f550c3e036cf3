"""A server that streams as a test says, event by event, each at its time: what real servers and proxies do wrong."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pytest_llmperf.serving.server import Server

Timed = tuple[float, bytes]
Answer = Callable[[int, Mapping[str, Any]], Sequence[Timed]]
"""Number and body of the request → (seconds after it was read, bytes of the event). Without ``[DONE]`` it is cut."""

TTFT_S, GAP_S = 0.015, 0.002
DONE = b"data: [DONE]\n\n"
HELD = b""
"""As the last event: the response stays open behind it."""


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def token(
    number: int, *, finish: str | None = None, count: int | None = None, text: str = " tok", **usage: Any
) -> bytes:
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]
    if count is None:
        return event({"choices": choices})
    counts: dict[str, Any] = {"prompt_tokens": 64, "completion_tokens": count, **usage}
    return event({"choices": choices, "usage": counts})


def whole(body: Mapping[str, Any], *, finish: str = "length", **usage: Any) -> list[Timed]:
    """A proper answer of the length that was asked for."""
    asked = int(body.get("max_tokens", 16))
    tokens = [
        (due(n), token(n, finish=finish if n == asked - 1 else None, count=n + 1, **usage))
        for n in range(asked)
    ]
    return [*tokens, (due(asked - 1), DONE)]


def due(number: int) -> float:
    return TTFT_S + number * GAP_S


@contextmanager
def speaking(answer: Answer) -> Iterator[Server]:
    """The server, on a port of its own; it ends with the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    numbers = iter(range(1 << 30))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError):
            while True:
                path, body = _request(connection)
                if path == "/v1/models":
                    _send(connection, {"data": [{"id": "dialect"}]})
                elif path.startswith("/v1/"):
                    _stream(connection, answer(next(numbers), body))
                elif path == "/tokenize":
                    _send(connection, {"count": 64})
                else:
                    _send(connection, {"detail": "Not Found"}, status=404)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Server("dialect", "dialect", url, None, None, None, None, "", "dialect")
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _request(connection: socket.socket) -> tuple[str, Mapping[str, Any]]:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise OSError("closed")
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head.split()[1].decode(), json.loads(body) if body else {}


def _send(connection: socket.socket, value: object, status: int = 200) -> None:
    content = json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)


def _stream(connection: socket.socket, events: Sequence[Timed]) -> None:
    began = time.perf_counter()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    at, waiting = None, head
    for due_s, data in events:
        if at is not None and due_s > at:
            connection.sendall(waiting)
            waiting = b""
        at = due_s
        time.sleep(max(0.0, began + due_s - time.perf_counter()))
        waiting += b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    if events and events[-1][1] is HELD:
        connection.sendall(waiting)
        connection.recv(1)
        raise OSError("held open until the client closed")
    if not events or events[-1][1] != DONE:
        connection.sendall(waiting)
        raise OSError("cut")
    connection.sendall(waiting + b"0\r\n\r\n")
