"""Keep-alive connections to one server, and the rule for stale ones."""

from __future__ import annotations

import asyncio
from types import TracebackType

from pytest_llmperf.client.connection import PATIENCE_S, Connection, connect
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.reply import Ending, Reply, now
from pytest_llmperf.client.silence import PROBE_S, Silence
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.serving.http_client import explained

_HELD_PATIENCE_S = 0.002
_HOLDING: set[tuple[str, int]] = set()
"""Servers of this process's loads that keep a response open after ``[DONE]``: known from one round to the next, since
each round has a pool of its own, and waiting for such an end once more would be time taken from the server."""


class Pool:
    """As many connections as there are requests in flight; the most recently used one is lent first.

    Use as ``async with Pool(endpoint) as pool``. It belongs to one event loop.
    """

    def __init__(
        self, endpoint: Endpoint, *, timeout_s: float = 600.0, connect_timeout_s: float = 10.0
    ) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self.connect_timeout_s = connect_timeout_s
        self.opened = 0
        """Connections made so far."""
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._in_flight: set[Connection] = set()
        self._silence = None
        if endpoint.silence_limit_s is not None:
            self._silence = Silence(endpoint.silence_limit_s, self._in_flight, self._ask, self._declare)
        self._dead = ""
        """The reason why the server counts as dead; empty while it does not."""

    @property
    def is_dead(self) -> bool:
        """True if the server was silent for too long: no request is sent any more."""
        return bool(self._dead)

    async def open(self, count: int) -> None:
        """Have ``count`` idle connections, so that a load begins with requests and not with handshakes.

        Raises ``OSError`` or ``TimeoutError`` if the server takes none.
        """
        missing = count - len(self._idle)
        if missing > 0:
            self._idle += await asyncio.gather(*(self._connect() for _ in range(missing)))

    async def send(self, request: bytes, timeout_s: float | None = None) -> Reply:
        """Send on an idle connection or a new one; a response of any kind is a result, not an exception.

        A server may close an idle connection at the moment it is used. If that happened (a kept connection
        was cut and *no byte* of a response came), the request goes out once more on a new connection. It is
        never sent twice in any other case: a generation that began must not run twice.
        """
        limit = self.timeout_s if timeout_s is None else timeout_s
        resent = False
        if self._dead:
            return Reply(sent_s=now(), end_s=now(), ending=Ending.CONNECT_ERROR, detail=self._dead)
        while self._idle:
            kept = self._idle.pop()
            if not kept.open:
                continue
            reply = await self._exchange(kept, request, limit)
            if reply.ending is not Ending.CUT or reply.received or self._dead:
                return reply
            resent = True
            break
        started = now()
        try:
            connection = await self._connect()
        except (OSError, TimeoutError) as error:
            address = self.endpoint.address
            why = explained(error, address) if str(error) else f"none within {self.connect_timeout_s:g} s"
            detail = f"no connection to {address.netloc}: {why}"
            return Reply(
                sent_s=started, end_s=now(), ending=Ending.CONNECT_ERROR, detail=detail, resent=resent
            )
        reply = await self._exchange(connection, request, limit)
        reply.resent = resent
        return reply

    async def fetch(
        self, method: str, path: str, body: JsonObject | None = None, timeout_s: float | None = None
    ) -> Reply:
        """One request that is not timed: ``/tokenize``, ``/metrics``, ``/v1/models``."""
        return await self.send(self.endpoint.request(method, path, body), timeout_s)

    async def close(self) -> None:
        if self._silence is not None:
            self._silence.stop()
        for connection in tuple(self._all):
            connection.abort()
        self._idle.clear()
        while self._all:
            # connection_lost is called on the loop's next turn; leaving before would leak the sockets.
            await asyncio.sleep(0)

    async def __aenter__(self) -> Pool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _connect(self) -> Connection:
        connection = await connect(self.endpoint, self.connect_timeout_s, self._lost)
        self.opened += 1
        self._all.add(connection)
        return connection

    async def _exchange(self, connection: Connection, request: bytes, timeout_s: float) -> Reply:
        server = (self.endpoint.host, self.endpoint.port)
        connection.patience_s = _HELD_PATIENCE_S if server in _HOLDING else PATIENCE_S
        self._in_flight.add(connection)
        if self._silence is not None:
            self._silence.begin()
        try:
            reply = await connection.exchange(request, timeout_s)
        finally:
            self._in_flight.discard(connection)
        if self._silence is not None:
            self._silence.answers += 1
        if connection.held:
            _HOLDING.add(server)
        elif connection.ended_behind_done:
            _HOLDING.discard(server)
        if connection.open:
            self._idle.append(connection)
        return reply

    async def _ask(self) -> Reply:
        """The server's ``/metrics``, on a connection of its own: all others may be stuck."""
        try:
            connection = await connect(self.endpoint, PROBE_S)
        except (OSError, TimeoutError) as error:
            return Reply(sent_s=now(), end_s=now(), ending=Ending.CONNECT_ERROR, detail=str(error))
        try:
            return await connection.exchange(self.endpoint.request("GET", "/metrics"), PROBE_S)
        finally:
            connection.abort()

    async def _declare(self, why: str) -> None:
        """The server is dead: tell it, and wait for nothing of it any more."""
        self._dead = f"the server is taken for dead: {why}"
        if self.endpoint.on_silence is not None:
            await asyncio.to_thread(self.endpoint.on_silence, why)
        for connection in tuple(self._in_flight):
            connection.give_up(self._dead)

    def _lost(self, connection: Connection) -> None:
        self._all.discard(connection)
