"""A closed loop: so many requests in flight at all times, each worker sending its next when its last is
answered."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from pytest_llmperf.client import loop
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.load.fleet import Fleet, sent_by_fleet, shards
from pytest_llmperf.load.run import Run
from pytest_llmperf.load.sending import OnProgress, Sent, in_flight
from pytest_llmperf.load.session import Session
from pytest_llmperf.load.workload import Fits, Workload
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
    on_progress: OnProgress | None = None,
    workers: int = 1,
) -> Run:
    """Measure ``requests`` requests at exactly ``concurrency`` in flight.

    ``warmup`` requests of the same shape at the same concurrency come first and are thrown away (None: one
    per worker; the first batch of a new size can cost seconds). All workers start together, on connections
    that are open already. ``nonce`` makes the prompts' unique numbers repeatable, for the other side of a
    comparison. ``fits`` is handed from run to run on one server with one workload, so that the prompts' lengths
    are fitted only once. ``request_ids`` sends :func:`workload.request_id` with each, to find it again in a
    server's log. ``on_progress(done, total)`` is called from the client's thread, between requests. ``workers`` above 1
    shares the load among so many processes, which tell no progress.

    Failed requests are in ``traces`` with their outcome, not raised. Raises ``InfrastructureError`` if the
    server takes no connection or answers no request for one token, ``WrongServer`` if it refuses key or model, and
    ``NotMeasured`` if the whole warm-up failed. Two rounds of requests without a complete answer end the load early.
    """
    if concurrency < 1 or requests < 1:
        raise ValueError(f"concurrency is {concurrency} and requests {requests}; need at least 1 of each")
    session = Session(
        server=server,
        workload=workload,
        requests=requests,
        warmup=concurrency if warmup is None else warmup,
        concurrency=concurrency,
        timeout_s=timeout_s,
        nonce=nonce or secrets.token_hex(8),
        request_ids=request_ids,
        fits={} if fits is None else fits,
    )

    async def send(pool: Pool, wire: Sequence[bytes]) -> Sequence[Sent] | Fleet:
        if workers == 1:
            return await in_flight(pool, wire, concurrency, on_progress)
        parts = shards(
            server.base_url,
            server.api_key,
            wire,
            workers,
            concurrency=concurrency,
            timeout_s=timeout_s,
            silence_limit_s=server.silence_limit_s,
        )
        return await sent_by_fleet(parts, server.on_silence)

    own = min(concurrency, requests) if workers == 1 else 0
    measured = loop.run(lambda: session.measure(send, lambda _: own))
    traces = measured.traces
    return Run(
        server=server,
        workload=workload,
        concurrency=concurrency,
        traces=traces,
        start_s=min(trace.sent_s for trace in traces),
        end_s=max(trace.end_s for trace in traces),
        client=measured.client,
        prompts_note=measured.prompts_note,
        cache=measured.cache,
        connections=measured.connections,
        workers=measured.workers,
        server_samples=measured.server,
        template_tokens=measured.template_tokens,
        prompt_problem=measured.prompt_problem,
        length_problem=measured.length_problem,
    )
