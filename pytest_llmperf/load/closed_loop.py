"""A closed loop: so many requests in flight at all times, each worker sending its next when its last is
answered."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from pytest_llmperf.client import loop
from pytest_llmperf.client.body import path_of
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Reply
from pytest_llmperf.errors import InfrastructureError, WrongServer
from pytest_llmperf.load import cache_check
from pytest_llmperf.load.client_health import Watch, no_collector
from pytest_llmperf.load.run import Run
from pytest_llmperf.load.workload import Fits, Prompts, Workload, prepare
from pytest_llmperf.serving.server import Server


def run_closed_loop(
    server: Server,
    workload: Workload,
    *,
    concurrency: int,
    requests: int,
    warmup: int | None = None,
    timeout_s: float = 300.0,
    nonce: str | None = None,
    request_ids: bool = False,
    fits: Fits | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Measure ``requests`` requests at exactly ``concurrency`` in flight.

    ``warmup`` requests of the same shape at the same concurrency come first and are thrown away (None: one
    per worker; the first batch of a new size can cost seconds). All workers start together, on connections
    that are open already. ``nonce`` makes the prompts' unique numbers repeatable, for the other side of a
    comparison. ``fits`` is handed from run to run on one server with one workload, so that the prompts' lengths
    are fitted only once. ``request_ids`` sends :func:`workload.request_id` with each, to find it again in a
    server's log. ``on_progress(done, total)`` is called from the client's thread, between requests.

    Failed requests are in ``traces`` with their outcome, not raised. Raises ``InfrastructureError`` if the
    server takes no connection or the tokenizer fails, ``WrongServer`` if the warm-up shows that it refuses
    key or model.
    """
    if concurrency < 1 or requests < 1:
        raise ValueError(f"concurrency is {concurrency} and requests {requests}; need at least 1 of each")
    load = _Load(
        server=server,
        workload=workload,
        concurrency=concurrency,
        requests=requests,
        warmup=concurrency if warmup is None else warmup,
        timeout_s=timeout_s,
        nonce=nonce or secrets.token_hex(8),
        request_ids=request_ids,
        fits={} if fits is None else fits,
        on_progress=on_progress,
    )
    return loop.run(load.measure)


@dataclass(frozen=True)
class _Load:
    server: Server
    workload: Workload
    concurrency: int
    requests: int
    warmup: int
    timeout_s: float
    nonce: str
    request_ids: bool
    fits: Fits
    on_progress: Callable[[int, int], None] | None

    async def measure(self) -> Run:
        endpoint = Endpoint.of(self.server)
        # Two pools: what prepares the load must leave the load's own connections as they are.
        async with Pool(endpoint) as aside, Pool(endpoint, timeout_s=self.timeout_s) as pool:
            await self._connect(pool)
            await self._check(aside)
            # Who tells its prefix-cache hits under vLLM's names understands vLLM's cache_salt.
            salt = await cache_check.read(aside) is not None
            cold = await self._prompts(aside, self.warmup, f"{self.nonce} warm-up", salt, False)
            prompts = await self._prompts(aside, self.requests, self.nonce, salt, self.request_ids)
            await _in_flight(pool, cold, self.concurrency, None)
            before = await cache_check.read(aside)
            await self._connect(pool)
            with no_collector():
                watch = Watch()
                replies = await _in_flight(pool, prompts, self.concurrency, self.on_progress)
                health = watch.stop()
            after = await cache_check.read(aside)
            connections = pool.opened
        traces = tuple(trace_of(reply, index) for index, reply in enumerate(replies))
        return Run(
            server=self.server,
            workload=self.workload,
            concurrency=self.concurrency,
            traces=traces,
            start_s=min(trace.sent_s for trace in traces),
            end_s=max(trace.end_s for trace in traces),
            client=health,
            prompts_note=prompts.note,
            cache=after.since(before) if after and before else None,
            connections=connections,
        )

    async def _connect(self, pool: Pool) -> None:
        try:
            await pool.open(min(self.concurrency, self.requests))
        except (OSError, TimeoutError) as error:
            why = str(error) or "timed out"
            where = self.server.base_url
            raise InfrastructureError(f"no connection to {where}: {why}; is the server alive?") from error

    async def _prompts(self, pool: Pool, count: int, nonce: str, salt: bool, ids: bool) -> Prompts:
        return await prepare(
            pool,
            self.server.model,
            self.workload,
            count,
            nonce=nonce,
            salt=salt,
            request_ids=ids,
            fits=self.fits,
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


async def _in_flight(
    pool: Pool, prompts: Prompts, concurrency: int, on_progress: Callable[[int, int], None] | None
) -> list[Reply]:
    """All replies, in the order of the prompts."""
    wire = [pool.endpoint.request("POST", path_of(body), body) for body in prompts.bodies]
    replies: list[Reply | None] = [None] * len(wire)
    waiting = iter(range(len(wire)))
    go = asyncio.Event()
    done = 0

    async def worker() -> None:
        nonlocal done
        await go.wait()
        for index in waiting:
            replies[index] = await pool.send(wire[index])
            done += 1
            if on_progress:
                on_progress(done, len(wire))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(wire))):
            group.create_task(worker())
        await asyncio.sleep(0)
        go.set()
    return [reply for reply in replies if reply is not None]
