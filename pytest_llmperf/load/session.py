"""What surrounds the sending of every load, whatever its arrivals: the right server, prompts that fit, a warm
shape, open connections, and the watches beside it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.client.body import path_of
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Reply
from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import InfrastructureError, WrongServer
from pytest_llmperf.load import cache_check
from pytest_llmperf.load.cache_check import CacheUse
from pytest_llmperf.load.client_health import ClientHealth, Watch, no_collector
from pytest_llmperf.load.fleet import Fleet
from pytest_llmperf.load.sending import Sent, in_flight
from pytest_llmperf.load.server_metrics import Sampler, ServerSamples
from pytest_llmperf.load.workload import Fits, Prompts, Shape, Workload, prepare, prepare_shapes
from pytest_llmperf.serving.server import Server

Send = Callable[[Pool, Sequence[bytes]], Awaitable[Sequence[Sent] | Fleet]]
"""Sends all requests over the pool, in the rhythm of its load; the results are in the order of the requests. A fleet
of worker processes has connections of its own."""


@dataclass(frozen=True)
class Measured:
    traces: tuple[Trace, ...]
    own_delay_s: tuple[float, ...]
    """How late the client turned to each request of a schedule; zeros in a closed loop."""
    client: ClientHealth
    workers: tuple[ClientHealth, ...]
    """Each process's own, where there are several."""
    prompts_note: str
    cache: CacheUse | None
    connections: int
    server: ServerSamples | None
    """What it said of itself meanwhile; None if it has no ``/metrics`` that is known, or the load was too short."""


@dataclass(frozen=True)
class Session:
    server: Server
    workload: Workload
    requests: int
    warmup: int
    """Requests that are sent first and thrown away."""
    concurrency: int
    """Of the warm-up."""
    timeout_s: float
    nonce: str
    request_ids: bool = False
    fits: Fits = field(default_factory=dict)
    shapes: Sequence[Shape] | None = None
    """Lengths of each request; None: the workload's."""

    async def measure(self, send: Send, connections: Callable[[Sequence[Reply]], int]) -> Measured:
        """Everything around ``send``; ``connections`` says, by the replies of the warm-up, how many must be open
        before the clock starts.

        Raises ``InfrastructureError`` if the server takes no connection or the tokenizer fails,
        ``WrongServer`` if it refuses the key or does not serve the model.
        """
        endpoint = Endpoint.of(self.server)
        # Two pools: what prepares the load must leave the load's own connections as they are.
        async with Pool(endpoint) as aside, Pool(endpoint, timeout_s=self.timeout_s) as pool:
            await self._connect(pool, min(self.concurrency, self.requests))
            await self._check(aside)
            # Who tells its prefix-cache hits under vLLM's names understands vLLM's cache_salt.
            salt = await cache_check.read(aside) is not None
            cold = await self._prompts(aside, self.warmup, f"{self.nonce} warm-up", salt, False)
            prompts = await self._prompts(aside, self.requests, self.nonce, salt, self.request_ids)
            # Last before the load: what it runs through is warm here as well as on the server.
            warmed = [sent.reply for sent in await in_flight(pool, _wire(pool, cold), self.concurrency)]
            before = await cache_check.read(aside)
            await self._connect(pool, connections(warmed))
            wire = _wire(pool, prompts)
            # What the warm-up brought back is not needed any more, nor are the prompts but on the wire.
            note = prompts.note
            del warmed, cold, prompts
            with no_collector():
                watch = Watch()
                async with Sampler(aside) as sampler:
                    sending = await send(pool, wire)
                    health = watch.stop()
            after = await cache_check.read(aside)
            opened = pool.opened
        workers: tuple[ClientHealth, ...] = ()
        if isinstance(sending, Fleet):
            health, workers, opened = sending.client, sending.workers, sending.opened
        sent = list(sending.sent if isinstance(sending, Fleet) else sending)
        del sending, wire
        own_delay_s = tuple((one.taken_s or 0.0) - (one.intended_s or 0.0) for one in sent)
        return Measured(
            traces=tuple(_understood(sent)),
            own_delay_s=own_delay_s,
            client=health,
            workers=workers,
            prompts_note=note,
            cache=after.since(before) if after and before else None,
            connections=opened,
            server=sampler.samples(),
        )

    async def _connect(self, pool: Pool, count: int) -> None:
        try:
            await pool.open(count)
        except (OSError, TimeoutError) as error:
            why = str(error) or "timed out"
            where = self.server.base_url
            raise InfrastructureError(f"no connection to {where}: {why}; is the server alive?") from error

    async def _prompts(self, pool: Pool, count: int, nonce: str, salt: bool, ids: bool) -> Prompts:
        model = self.server.model
        if self.shapes is None:
            return await prepare(
                pool, model, self.workload, count, nonce=nonce, salt=salt, request_ids=ids, fits=self.fits
            )
        shapes = self.shapes[:count]
        return await prepare_shapes(
            pool, model, self.workload, shapes, nonce=nonce, salt=salt, request_ids=ids
        )

    async def _check(self, pool: Pool) -> None:
        """Is it the server that was asked for? One that has no list of models gets the benefit of the
        doubt."""
        reply = await pool.fetch("GET", "/v1/models", timeout_s=30)
        where = self.server.base_url
        if reply.status in (401, 403):
            raise WrongServer(f"the server at {where} refuses the API key: HTTP {reply.status}")
        try:
            served = (
                [str(model["id"]) for model in json.loads(reply.body)["data"]] if reply.status == 200 else []
            )
        except (ValueError, KeyError, TypeError):
            return
        if served and self.server.model not in served:
            raise WrongServer(
                f"the server at {where} does not serve {self.server.model!r}; it serves {', '.join(served)}"
            )


def _understood(sent: list[Sent]) -> Iterator[Trace]:
    """The trace of each, in order; ``sent`` is empty afterwards, for bytes and traces of a long load together are many
    megabytes."""
    sent.reverse()
    for index in range(len(sent)):
        one = sent.pop()
        yield trace_of(one.reply, index, one.intended_s)


def _wire(pool: Pool, prompts: Prompts) -> list[bytes]:
    return [pool.endpoint.request("POST", path_of(body), body) for body in prompts.bodies]
