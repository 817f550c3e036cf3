"""An open loop: requests go out when the schedule says, whether or not the server has answered the ones before.

Latencies count from the intended time. What a request waits because the client was late (its loop was busy, or a
connection had to be opened) is in them, and shown as ``schedule_delay``; leaving it out is the "coordinated
omission" that makes an overloaded server look well.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence

from pytest_llmperf.client import loop
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Reply
from pytest_llmperf.client.trace import Trace
from pytest_llmperf.load.arrivals import Schedule
from pytest_llmperf.load.fleet import Fleet, sent_by_fleet, shards
from pytest_llmperf.load.run import OpenLoop, Run
from pytest_llmperf.load.sending import OnProgress, Sent, on_schedule
from pytest_llmperf.load.session import Session
from pytest_llmperf.load.workload import Fits, Shape, Workload
from pytest_llmperf.serving.server import Server

_MOST_SPARE = 256
"""Connections that are opened before they are needed; further ones are opened when they are."""


def run_open_loop(
    server: Server,
    workload: Workload,
    schedule: Schedule,
    *,
    shapes: Sequence[Shape] | None = None,
    warmup: int | None = None,
    timeout_s: float = 300.0,
    nonce: str | None = None,
    request_ids: bool = False,
    fits: Fits | None = None,
    on_progress: OnProgress | None = None,
    workers: int = 1,
) -> Run:
    """Send one request at each time of ``schedule``; there is no limit to how many are in flight.

    ``shapes`` gives each request its own lengths (a trace), in the order of the schedule; None: all have the
    workload's. ``warmup`` requests are sent together before and thrown away (None: one for each of the first 8);
    by their latency and the schedule's rate so many connections are opened in advance as will be needed twice.
    The rest is as for :func:`run_closed_loop`, and so are the errors. Raises ``ValueError`` if shapes and schedule
    differ in number.
    """
    if shapes is not None and len(shapes) != len(schedule):
        raise ValueError(
            f"{len(shapes)} shapes for a schedule of {len(schedule)} requests; need one for each"
        )
    warm = min(8, len(schedule)) if warmup is None else warmup
    session = Session(
        server=server,
        workload=workload,
        requests=len(schedule),
        warmup=warm,
        concurrency=max(1, warm),
        timeout_s=timeout_s,
        nonce=nonce or secrets.token_hex(8),
        request_ids=request_ids,
        fits={} if fits is None else fits,
        shapes=shapes,
    )

    spare = 0

    def connections(warmed: Sequence[Reply]) -> int:
        nonlocal spare
        spare = spare_connections(schedule, warmed)
        return spare if workers == 1 else 0

    async def send(pool: Pool, wire: Sequence[bytes]) -> Sequence[Sent] | Fleet:
        if workers == 1:
            return await on_schedule(pool, wire, schedule.offsets_s, on_progress)
        parts = shards(
            server.base_url,
            server.api_key,
            wire,
            workers,
            concurrency=spare,
            timeout_s=timeout_s,
            offsets_s=schedule.offsets_s,
            silence_limit_s=server.silence_limit_s,
        )
        return await sent_by_fleet(parts, server.on_silence)

    measured = loop.run(lambda: session.measure(send, connections))
    traces = measured.traces
    return Run(
        server=server,
        workload=workload,
        concurrency=peak_in_flight(traces),
        traces=traces,
        start_s=min(trace.intended_s for trace in traces),
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
        open_loop=OpenLoop(schedule.name, schedule.rate_per_s, measured.own_delay_s),
    )


def peak_in_flight(traces: Sequence[Trace]) -> int:
    """Most requests that were sent and not answered at one time."""
    # At one time, an end comes before a sending.
    turns = sorted([(trace.sent_s, 1) for trace in traces] + [(trace.end_s, -1) for trace in traces])
    count = most = 0
    for _, step in turns:
        count += step
        most = max(most, count)
    return most


def spare_connections(schedule: Schedule, warmed: Sequence[Reply]) -> int:
    """Twice what Little's law says, and a few for bursts."""
    longest_s = max((reply.end_s - reply.sent_s for reply in warmed), default=1.0)
    at_once = min(schedule.rate_per_s * max(longest_s, 0.001), len(schedule))
    return min(len(schedule), _MOST_SPARE, math.ceil(2 * at_once) + 4)
