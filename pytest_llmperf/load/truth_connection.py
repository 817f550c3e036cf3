"""One client's connection to the known-truth server."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import httptools

from pytest_llmperf.client.reply import now
from pytest_llmperf.load.truth_answer import Stream, Told
from pytest_llmperf.load.truth_options import TruthOptions, falls_on
from pytest_llmperf.load.truth_stream import Plan

if TYPE_CHECKING:
    from pytest_llmperf.load.known_truth import TruthServer

_TOKEN = re.compile(r"\d|[^\W\d]+|[^\w\s]")
_READ_FIRST_S = 0.02
_TEMPLATE_TOKENS = 8
"""What the pretended chat template adds to a conversation."""


class TruthConnection(asyncio.Protocol):
    def __init__(self, server: TruthServer) -> None:
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
                self.server.clock.at(read_at + later_s, self._feed)
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
                self.server.change(TruthOptions(**json.loads(content)))
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

    def _generate(self, body: Mapping[str, Any]) -> None:
        server, options = self.server, self.server.options
        ordinal = server.ordinal
        server.ordinal += 1
        told = Told(str(body.get("request_id", "")), self.number, self.read_at)
        server.told.append(told)
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
        plan = Plan.of(body, tokens, options)
        server.admit(Stream(self, plan, told, slow=slow, whole=not body.get("stream")))

    # output

    def write(self, data: bytes) -> None:
        """Straight to the socket, so that the time of handing over is true (see client.connection)."""
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

    def reply_json(self, status: int, value: Any) -> None:
        self._reply(status, "application/json", json.dumps(value).encode())

    def _reply(self, status: int, kind: str, content: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
        self.write(head.encode() + content)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of a prompt by this server's own tokenizer: words, single digits and signs."""
    if "messages" not in body:
        return len(_TOKEN.findall(str(body.get("prompt", ""))))
    texts = (str(message.get("content", "")) for message in body["messages"])
    return _TEMPLATE_TOKENS + sum(len(_TOKEN.findall(text)) for text in texts)
