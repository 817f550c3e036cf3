"""The reference server's process: streams tokens on a known schedule, and reports when it really sent them.

    python -m pytest_llmperf.load.reference_server.server --port 0 --ttft-ms 50 --gap-ms 10

Token k is due at (request fully read) + ttft + k·gap on an absolute schedule, so that a late one delays no
other. ``GET /truth`` returns when the bytes were handed to the kernel, on the clock of
``time.perf_counter``, which every process of one Linux machine shares; ``POST /truth/reset`` clears it,
``POST /truth/options`` changes the behaviour. It writes ``{"port": …}`` to its standard output when it
listens, and ends when its standard input does: it cannot outlive the process that started it.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import re
import sys
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from typing import TypedDict, cast

import httptools

from pytest_llmperf.client import loop as loops
from pytest_llmperf.client.reply import now
from pytest_llmperf.json_values import JsonObject, list_of, object_of
from pytest_llmperf.load.reference_server.options import ReferenceOptions, falls_on, parse
from pytest_llmperf.load.reference_server.replies import (
    END,
    HEADERS,
    ReplyPlan,
    ReplyWriter,
    http_chunk,
    render,
)
from pytest_llmperf.load.timer import AbsoluteTimer
from pytest_llmperf.serving.processes import end_with_parent

_TOKEN = re.compile(r"\d|[^\W\d]+|[^\w\s]")
_READ_FIRST_S = 0.02
_TEMPLATE_TOKENS = 8
"""Tokens that the simulated chat template adds to a conversation."""


@dataclass
class RequestLog:
    """The tokens sent for one request, and when; times in seconds of ``time.perf_counter``."""

    request_id: str
    connection: int
    received_s: float
    tokens_s: array[float] = field(default_factory=lambda: array("d"))
    """When the bytes of chunk i were handed to the kernel."""
    counts: array[int] = field(default_factory=lambda: array("I"))
    """Tokens in chunk i."""


class TruthOfRequest(TypedDict):
    """One request of :class:`Truth`: the fields of a :class:`RequestLog`."""

    id: str
    connection: int
    received_s: float
    tokens_s: list[float]
    counts: list[int]


class Truth(TypedDict):
    """The JSON that ``/truth`` answers."""

    connections: int
    active: int
    peak: int
    cpu_s: float
    requests: list[TruthOfRequest]


class ServerState:
    """State that all connections share."""

    def __init__(self, options: ReferenceOptions, loop: asyncio.AbstractEventLoop) -> None:
        self.options, self.loop = options, loop
        self.timer = AbsoluteTimer(loop)
        self.waiting: deque[Stream] = deque()
        self.seen: set[bytes] = set()
        self._rendered: dict[ReplyPlan, tuple[tuple[bytes, int], ...]] = {}
        self.connections = self.ordinal = self.active = 0
        self.cache_queries = self.cache_hits = 0
        self.reset()

    def reset(self) -> None:
        self.logs: list[RequestLog] = []
        self.peak = self.active
        self.ordinal = 0

    def change(self, options: ReferenceOptions) -> None:
        """Switch to other options and clear all state. Not allowed while streams run."""
        self.options = options
        self._rendered.clear()
        self.seen.clear()
        self.cache_queries = self.cache_hits = 0
        self.reset()

    def admit(self, stream: Stream) -> None:
        if 0 < self.options.slots <= self.active:
            self.waiting.append(stream)
        else:
            self.begin(stream, stream.log.received_s)

    def begin(self, stream: Stream, start_s: float) -> None:
        self.active += 1
        self.peak = max(self.peak, self.active)
        stream.begin(start_s)

    def left(self) -> None:
        self.active -= 1
        if self.waiting:
            self.begin(self.waiting.popleft(), now())

    def count_cache(self, body: JsonObject, prompt_tokens: int) -> None:
        key = hashlib.blake2b(
            json.dumps([body.get("messages", body.get("prompt")), body.get("cache_salt")]).encode()
        ).digest()
        share = 1.0 if key in self.seen else self.options.warm_share
        self.seen.add(key)
        self.cache_queries += prompt_tokens
        self.cache_hits += int(prompt_tokens * share)

    def rendered(self, plan: ReplyPlan) -> tuple[tuple[bytes, int], ...]:
        """The chunks of a reply, rendered once for all requests with the same plan."""
        if plan not in self._rendered:
            self._rendered[plan] = render(plan, self.options)
        return self._rendered[plan]

    def truth(self) -> Truth:
        requests: list[TruthOfRequest] = [
            {
                "id": log.request_id,
                "connection": log.connection,
                "received_s": log.received_s,
                "tokens_s": list(log.tokens_s),
                "counts": list(log.counts),
            }
            for log in self.logs
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


class Stream:
    """One reply being sent, each token at its time on an absolute schedule."""

    def __init__(
        self, connection: ServerConnection, plan: ReplyPlan, log: RequestLog, *, slow: bool, whole: bool
    ) -> None:
        self.connection, self.plan, self.log = connection, plan, log
        self.server = connection.server
        self.options = options = self.server.options
        self.parts = self.server.rendered(plan)
        self.writer = ReplyWriter(plan, options)
        self.next = 0
        self.sent_tokens = 0
        self.whole = whole
        self.extra_s = options.slow_ms / 1e3 if slow else 0.0
        self.start_s = 0.0

    def begin(self, start_s: float) -> None:
        if not self.whole:
            opening = self.writer.role() if self.options.role_chunk == "early" else b""
            if self.options.empty_deltas:
                opening += self.writer.empty(0)
            self.connection.write(HEADERS + http_chunk(opening))
        self.start_s = start_s
        if self.whole:
            self.server.timer.at(self._due(self.plan.tokens - 1), self._send_whole)
        else:
            self.server.timer.at(self._due(0), self._send)

    def _due(self, token: int) -> float:
        options = self.options
        frozen = options.freeze_ms if token >= options.freeze_at else 0.0
        return self.start_s + self.extra_s + (options.ttft_ms + token * options.gap_ms + frozen) / 1e3

    def _send(self) -> None:
        if self.connection.closed:
            self.server.left()
            return
        if self.options.cut_after == self.sent_tokens:
            self.connection.cut()
            self.server.left()
            return
        if self.options.error_after == self.sent_tokens:
            self._finish(self.writer.error() + self.writer.event("[DONE]"))
            return
        data, count = self.parts[self.next]
        self.next += 1
        # Before the call: the reader may run on another core before it returns.
        self.log.tokens_s.append(now())
        self.log.counts.append(count)
        self.connection.write(data)
        self.sent_tokens += count
        if self.next < len(self.parts):
            self.server.timer.at(self._due(self.sent_tokens), self._send)
        else:
            self._finish(self.writer.tail())

    def _send_whole(self) -> None:
        self.connection.reply_json(200, self.writer.whole())
        self.server.left()

    def _finish(self, tail: bytes) -> None:
        self.connection.write(http_chunk(tail) + END)
        self.server.left()


class ServerConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: ServerState) -> None:
        self.server = server
        self.closed = False
        self.requests = 0
        self.busy = False
        self.number = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.unread: list[bytes] = []
        self.fd = transport.get_extra_info("socket").fileno()
        self.number = self.server.connections
        self.server.connections += 1
        self._begin_request()

    def _begin_request(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.authorization = ""
        self.content = bytearray()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base class names it
        self.closed = True

    def data_received(self, data: bytes) -> None:
        # Only the time is taken here: of many requests that come together, the last must not be read late
        # because the first was being understood. The TTFT leaves time enough for that afterwards.
        read_at = now()
        self.unread.append(data)
        self.read_at = read_at
        if len(self.unread) == 1:
            later_s = min(_READ_FIRST_S, self.server.options.ttft_ms * 0.4e-3)
            if later_s > 0 and data.startswith(b"POST /v1/"):
                self.server.timer.at(read_at + later_s, self._feed)
            else:
                self._feed()

    def _feed(self) -> None:
        data = b"".join(self.unread)
        self.unread.clear()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.cut()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self.authorization = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.content += body

    def on_message_complete(self) -> None:
        method = self.parser.get_method().decode()
        path = httptools.parse_url(self.url).path.decode()
        content, authorization = bytes(self.content), self.authorization
        self.requests += 1
        self._begin_request()
        self._route(method, path, content, authorization)

    def _route(self, method: str, path: str, content: bytes, authorization: str) -> None:
        options = self.server.options
        if path.startswith("/truth"):
            if path == "/truth/options":
                self.server.change(ReferenceOptions(**json.loads(content)))
            elif method == "POST":
                self.server.reset()
            self.reply_json(200, self.server.truth())
        elif path == "/health":
            self._reply(200, "text/plain", b"")
        elif path == "/metrics":
            self._reply(200, "text/plain; version=0.0.4", self.server.metrics().encode())
        elif options.api_key and authorization != f"Bearer {options.api_key}":
            self.reply_json(401, {"error": "Unauthorized"})
        elif path == "/v1/models":
            self.reply_json(200, {"object": "list", "data": [{"id": options.model, "object": "model"}]})
        elif path in ("/tokenize", "/v1/chat/completions", "/v1/completions"):
            try:
                body = json.loads(content)
            except ValueError as error:
                self.reply_json(400, {"error": {"message": f"not JSON: {error}", "code": 400}})
                return
            if body.get("model", options.model) != options.model:
                message = f"The model `{body['model']}` does not exist."
                self.reply_json(404, {"error": {"message": message, "type": "NotFoundError", "code": 404}})
            elif path == "/tokenize":
                count = prompt_tokens(body)
                self.reply_json(200, {"count": count, "max_model_len": 1 << 20, "tokens": list(range(count))})
            else:
                self._generate(body)
        else:
            self.reply_json(404, {"detail": "Not Found"})

    def _generate(self, body: JsonObject) -> None:
        server, options = self.server, self.server.options
        ordinal = server.ordinal
        server.ordinal += 1
        log = RequestLog(str(body.get("request_id", "")), self.number, self.read_at)
        server.logs.append(log)
        if options.drop_reused and self.requests > 1:
            self.cut()
            return
        if falls_on(ordinal, options.http_500_share):
            self.reply_json(500, {"error": {"message": "failed, as asked", "code": 500}})
            return
        if falls_on(ordinal, options.hang_share):
            return
        tokens = prompt_tokens(body)
        server.count_cache(body, tokens)
        slow = falls_on(ordinal, options.slow_share)
        plan = ReplyPlan.of(body, tokens, options)
        server.admit(Stream(self, plan, log, slow=slow, whole=not body.get("stream")))

    # output

    def write(self, data: bytes) -> None:
        """Write straight to the socket, so that the logged time is that of the system call (see client.connection)."""
        if self.closed or not data:
            return
        if self.transport.get_write_buffer_size() == 0:
            try:
                data = data[os.write(self.fd, data) :]
            except BlockingIOError:
                pass
            except OSError:
                self.cut()
                return
        if data:
            self.transport.write(data)

    def cut(self) -> None:
        self.closed = True
        self.transport.abort()

    def reply_json(self, status: int, value: JsonObject | Truth) -> None:
        self._reply(status, "application/json", json.dumps(value).encode())

    def _reply(self, status: int, kind: str, content: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
        self.write(head.encode() + content)


def prompt_tokens(body: JsonObject) -> int:
    """Tokens of a prompt by this server's own tokenizer: words, single digits and signs."""
    if "messages" not in body:
        return len(_TOKEN.findall(str(body.get("prompt", ""))))
    texts = (str(object_of(message).get("content", "")) for message in list_of(body["messages"]))
    return _TEMPLATE_TOKENS + sum(len(_TOKEN.findall(text)) for text in texts)


async def serve(options: ReferenceOptions) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    state = ServerState(options, loop)
    listener = await loop.create_server(
        lambda: ServerConnection(state), "127.0.0.1", options.port, backlog=4096
    )
    port = listener.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"port": port}) + "\n")
    sys.stdout.flush()
    # A pause of the collector would be a pause of every stream.
    gc.freeze()
    gc.disable()
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    state.timer.close()
    listener.close()


def main() -> None:
    options = parse()
    if not sys.stdin.isatty():
        # A stopped process would not notice the end of standard input.
        end_with_parent()
    with asyncio.Runner(loop_factory=loops.new_loop) as runner:
        runner.run(serve(options))


if __name__ == "__main__":
    main()
