"""One keep-alive HTTP/1.1 connection: the only code that runs while the clock does.

On the hot path there is one timestamp per socket read, taken before anything else, and httptools (the C
parser of Node) taking the chunked encoding apart. Events, JSON and text are for later.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import httptools

from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.reply import Ending, Reply, now

if TYPE_CHECKING:
    OnLost = Callable[["Connection"], None]


_LENGTHS = {"content-length", "transfer-encoding"}
"""A response that has neither ends with the connection."""
_DONE = re.compile(rb"(?:^|[\r\n])data:[ ]?\[DONE\]")
"""JSON writes line breaks as escapes: no text that a model makes looks like that."""
_TAIL = 24
"""Bytes in which a ``data: [DONE]`` that was cut by reads can begin before the last one."""
PATIENCE_S = 1.0
"""Seconds to wait for the end of the response after ``[DONE]``, to keep the connection: uvicorn sends them apart."""


class Connection(asyncio.Protocol):
    """Carries one request at a time; :class:`pytest_llmperf.client.pool.Pool` lends it out."""

    def __init__(self, *, direct: bool = True, on_lost: OnLost | None = None) -> None:
        self._direct = direct
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._reply: Reply | None = None
        self._done: asyncio.Future[None] | None = None
        self._parser: Any = None
        self._read_at = 0.0
        self.sent = b""
        """The request that is in flight, or was the last."""
        self._raw_headers: dict[bytes, bytes] = {}
        # Called for each header by httptools, without a frame of Python's: with hundreds of streams that begin together
        # the last one's first token waits for all their headers.
        self.on_header = self._raw_headers.__setitem__
        self._sending = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._done_at: float | None = None
        """Time of ``[DONE]``, after which nothing belongs to the answer."""
        self.patience_s = PATIENCE_S
        self.held = False
        """The server kept the response open after ``[DONE]``."""
        self.open = False

    async def exchange(self, request: bytes, timeout_s: float) -> Reply:
        """Send ``request`` and read its whole response. Never raises for what a server does: see
        ``Reply.ending``.

        After anything but a complete response with keep-alive the connection is closed (``open`` is False). A stream
        ends at ``[DONE]``: a server that keeps the response open after it costs ``patience_s`` and the connection,
        and no time of the answer's.
        """
        loop = self._loop = asyncio.get_running_loop()
        self._done_at = None
        assert self._transport is not None
        assert self._reply is None, "a connection carries one request at a time"
        reply = self._reply = Reply()
        self.sent = request
        done = self._done = loop.create_future()
        self._raw_headers.clear()
        self._parser = httptools.HttpResponseParser(self)
        timer = loop.call_later(timeout_s, self._expire, timeout_s)
        try:
            self._send(request)
            await done
        except BaseException:
            self._reply = None
            self.abort()
            raise
        finally:
            timer.cancel()
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None
        return reply

    def _send(self, request: bytes) -> None:
        transport, reply = self._transport, self._reply
        assert transport is not None
        assert reply is not None
        rest = request
        # Before the system call, not after it: on loopback the server often wakes up inside it, and a client
        # that is preempted there would report less than the truth.
        reply.sent_s = now()
        if self._fd >= 0:
            # uvloop writes at the end of the loop's turn, behind the other workers' writes: straight to the
            # socket instead, which is empty and non-blocking, so that sent_s is true to a few microseconds.
            try:
                rest = request[os.write(self._fd, request) :]
            except BlockingIOError:
                pass
            except OSError as error:
                self._finish(Ending.CUT, f"sending failed: {error}")
                self.abort()
                return
        if rest:
            transport.write(rest)
            self._sending = transport.get_write_buffer_size() > 0

    @property
    def ended_behind_done(self) -> bool:
        """The last response had ``[DONE]``, and its end came by itself."""
        return self._done_at is not None and not self.held

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(0)
        if self._direct:
            self._fd = transport.get_extra_info("socket").fileno()
        self.open = True

    def resume_writing(self) -> None:
        if self._sending and self._reply is not None:
            self._sending = False
            self._reply.sent_s = now()

    def data_received(self, data: bytes) -> None:
        self._read_at = now()
        reply = self._reply
        if reply is None:
            # Nothing was asked: what comes belongs to no request, and would be taken for the next one's.
            self.abort()
            return
        reply.received = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._finish(Ending.MALFORMED, f"not HTTP/1.1 ({error}): {data[:80]!r}")
            self.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._fd = -1
        reply = self._reply
        if reply is not None:
            self._read_at = now()
            if self._done_at is not None or (
                reply.headers_s is not None and exc is None and not _LENGTHS & reply.headers.keys()
            ):
                self._finish(Ending.COMPLETE, "")
            else:
                got = len(reply.body)
                why = f": {exc}" if exc else ""
                self._finish(
                    Ending.CUT, f"the server closed the connection after {got} bytes of the body{why}"
                )
        if self._on_lost is not None:
            self._on_lost(self)

    # httptools

    def on_message_begin(self) -> None:
        if self._reply is None:
            # A second response in the same read, which was not asked for.
            self.abort()

    def on_headers_complete(self) -> None:
        if self._reply is None:
            return
        self._reply.head = self._raw_headers.copy()
        self._reply.headers_s = self._read_at
        self._reply.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        reply = self._reply
        if reply is None:
            return
        reply.body += body
        reply.times.append(self._read_at)
        reply.ends.append(len(reply.body))
        # Two looks at short bytes for each of a hundred thousand reads; the end may be cut in two of them.
        if b"[DONE]" in body or len(body) < _TAIL:
            self._look_for_done(reply, len(body))

    def _look_for_done(self, reply: Reply, newest: int) -> None:
        if self._done_at is not None or _DONE.search(reply.body[-newest - _TAIL :]) is None:
            return
        self._done_at = self._read_at
        if self._loop is not None:
            self._patience = self._loop.call_later(self.patience_s, self._stop_waiting, reply)

    def _stop_waiting(self, reply: Reply) -> None:
        """``[DONE]`` came, and no end of the response: what follows is none of ours."""
        if self._reply is reply:
            self.held = True
            self._finish(Ending.COMPLETE, "")
            self.abort()

    def on_message_complete(self) -> None:
        if self._reply is None:
            return
        if 100 <= self._reply.status < 200:
            # An interim response; the real one follows.
            self._raw_headers.clear()
            self._reply.head = {}
            self._reply.headers_s = None
            return
        if not self._parser.should_keep_alive():
            self.abort()
        self._finish(Ending.COMPLETE, "")

    @property
    def read_s(self) -> float:
        """Time of the last byte, seconds of the client's clock; 0 if none has come."""
        return self._read_at

    # endings

    def give_up(self, why: str) -> None:
        """End the request that is in flight, if there is one: ``why`` no answer is to be expected."""
        self._finish(Ending.CUT, why)
        self.abort()

    def abort(self) -> None:
        """Close at once, without waiting for unsent bytes."""
        self.open = False
        self._fd = -1
        if self._transport is not None:
            self._transport.abort()

    def _expire(self, timeout_s: float) -> None:
        if self._reply is None:
            return
        self._read_at = now()
        got = len(self._reply.body)
        self._finish(
            Ending.TIMEOUT, f"no complete response within {timeout_s:g} s ({got} bytes of the body came)"
        )
        self.abort()

    def _finish(self, ending: Ending, detail: str) -> None:
        reply, self._reply = self._reply, None
        if reply is None or self._done is None:
            return
        reply.ending, reply.detail = ending, detail
        reply.end_s = self._done_at or (self._read_at if reply.received else now())
        if not self._done.done():
            self._done.set_result(None)


async def connect(endpoint: Endpoint, timeout_s: float, on_lost: OnLost | None = None) -> Connection:
    """A new connection. Raises ``OSError`` (also for TLS) or ``TimeoutError`` when there is none."""
    loop = asyncio.get_running_loop()
    context = endpoint.context()
    async with asyncio.timeout(timeout_s):
        _, connection = await loop.create_connection(
            lambda: Connection(direct=context is None, on_lost=on_lost),
            endpoint.host,
            endpoint.port,
            ssl=context,
            server_hostname=endpoint.host if context else None,
        )
    return connection
