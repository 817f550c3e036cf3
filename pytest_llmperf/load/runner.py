"""Run one load against one server: check the server, fit the prompts, warm up, open connections, send, measure.

A closed loop keeps a fixed number of requests in flight. An open loop sends at scheduled times, whether or not the
server has answered earlier requests; latencies count from the intended time, so the time that a request waits because
the client was late (busy loop, new connection) is part of them and shown as ``schedule_delay``. Leaving it out is
"coordinated omission", which makes an overloaded server look good.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.client import loop, server_metrics
from pytest_llmperf.client.body import path_of
from pytest_llmperf.client.capabilities import find_refused, raise_if_all_failed, without
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.openai_stream import Templates, trace_of
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.real_clock import RealClock
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import InfrastructureError, RequestFailed, WrongServer
from pytest_llmperf.json_values import JsonObject, parse_json
from pytest_llmperf.load import cache_check
from pytest_llmperf.load.client_health import ClientHealth, ClientWatch, no_collector
from pytest_llmperf.load.counter_rise import CounterRise
from pytest_llmperf.load.patterns import ClosedLoop, OpenLoop, Pattern
from pytest_llmperf.load.run import ERRORS_ABOVE, LoadRun, ScheduleKept
from pytest_llmperf.load.sending import OnProgress, Sent, in_flight
from pytest_llmperf.load.server_metrics import MetricsSampler
from pytest_llmperf.load.session_loop import SessionLoop, rate_of
from pytest_llmperf.load.workers import Fleet, sent_by_fleet, shards
from pytest_llmperf.load.workload import (
    Fits,
    RequestBodies,
    Workload,
    prepare,
    prepare_shapes,
    probe_body,
)
from pytest_llmperf.serving.http_client import (
    error_message,
    explained,
    is_about_the_key,
    redirect,
    without_secrets,
)
from pytest_llmperf.serving.readiness import named, served_models
from pytest_llmperf.serving.server import Server

_EXACT_WITHIN, _ESTIMATED_WITHIN = 1.1, 2.0
"""Factor by which the server's count of a prompt may differ from what was asked for."""
_METRICS_S = 30.0
_FEW_TOKENS = 8
"""And so many tokens beside: a template's, or a beginning of text that ``/tokenize`` does not count."""


@dataclass(frozen=True)
class SendOptions:
    """Options of sending, for any pattern. Reuse one object for several runs of one workload on one server."""

    warmup: int | None = None
    """Requests of the same shape that are sent first and discarded; None: the pattern's default."""
    timeout_s: float = 300.0
    nonce: str | None = None
    """Seed of the prompts' unique numbers, to repeat them for the other side of a comparison; None: random."""
    request_ids: bool = False
    """Send :func:`workload.request_id` with each request, to find it again in a server's log."""
    on_progress: OnProgress | None = None
    """Called as ``on_progress(done, total)`` from the client's thread, between requests; not with several workers."""
    workers: int | None = None
    """Client processes that share the load; None: one (``interleaved``: as many as the warm-up shows to be needed)."""
    fits: Fits = field(default_factory=dict, repr=False)
    """Prompt lengths that were fitted already, so that further runs need not ask the tokenizer again."""


def run_load(
    server: Server, workload: Workload, pattern: Pattern, options: SendOptions | None = None
) -> LoadRun:
    """Send the load and measure it.

    All workers of a closed loop start together, on open connections. Failed requests are in ``Run.traces`` with their
    outcome, not raised. Two rounds of requests without a complete answer end a closed loop early.

    Raises ``InfrastructureError`` if the server takes no connection or answers no request for one token,
    ``WrongServer`` if it refuses the key or does not serve the model, and ``NotMeasured`` if the whole warm-up failed
    or a test replaces the clock.
    """
    return loop.run(_LoadRun(server, workload, pattern, options or SendOptions()).measure)


class _LoadRun:
    """One run of a load, from the check of the server to the measured traces."""

    def __init__(self, server: Server, workload: Workload, pattern: Pattern, options: SendOptions) -> None:
        self.server, self.workload, self.pattern, self.options = server, workload, pattern, options
        self.nonce = options.nonce or secrets.token_hex(8)
        self.warmup = pattern.default_warmup if options.warmup is None else options.warmup
        self.workers = options.workers or 1

    async def measure(self) -> LoadRun:
        clock = RealClock()
        pattern, endpoint = self.pattern, Endpoint.of(self.server)
        warmup_concurrency = pattern.warmup_concurrency(self.warmup)
        # Two pools: preparing the load must not touch the connections that the load uses.
        async with Pool(endpoint) as aside, Pool(endpoint, timeout_s=self.options.timeout_s) as pool:
            await self._connect(pool, min(warmup_concurrency, pattern.requests))
            await self._check(aside)
            salt = await self._understands(aside)
            cold = await self._prompts(aside, self.warmup, f"{self.nonce} warm-up", salt, False)
            prompts = await self._prompts(aside, pattern.requests, self.nonce, salt, self.options.request_ids)
            # Last before the load: it warms the code path of the client as well as the server.
            warmed = [
                sent.reply for sent in await in_flight(pool, self._wire(pool, cold), warmup_concurrency)
            ]
            raise_if_all_failed([trace_of(reply) for reply in warmed], f"the warm-up of {self.server.row}")
            before_load = await self._metrics(aside)
            connections = pattern.connections(warmed)
            await self._connect(pool, connections if self.workers == 1 else 0)
            wire = self._wire(pool, prompts)
            asked = [_fixed_length(self.workload, body) for body in prompts.bodies]
            # Of sessions, what a later turn says besides its messages is needed while the clock runs.
            bodies = prompts.bodies if isinstance(pattern, SessionLoop) else ()
            # A server without ignore_eos cannot be asked for a fixed length: other lengths are no failures.
            fixed = "ignore_eos" not in (self.server.capabilities.refused or ())
            # Free what the warm-up returned, and the prompts, which are on the wire format now.
            note, lengths = prompts.note, (prompts.asked, prompts.tokens is not None)
            del warmed, cold, prompts
            with no_collector():
                watch = ClientWatch()
                async with MetricsSampler(aside) as sampler:
                    sending = await self._send(pool, wire, bodies, connections)
                    health = watch.stop()
            clock.check()
            after_load = await self._metrics(aside)
            opened = pool.opened
        workers: tuple[ClientHealth, ...] = ()
        if isinstance(sending, Fleet):
            health, workers, opened = sending.client, sending.workers, sending.opened
        sent = list(sending.sent if isinstance(sending, Fleet) else sending)
        del sending, wire
        before, after = cache_check.of_reply(before_load), cache_check.of_reply(after_load)
        own_delay_s = tuple((one.taken_s or 0.0) - (one.intended_s or 0.0) for one in sent)
        traces = tuple(_take_traces(sent, asked if fixed else [None] * len(asked)))
        kept = None
        if isinstance(pattern, OpenLoop):
            kept = ScheduleKept(pattern.schedule.name, pattern.schedule.rate_per_s, own_delay_s)
        elif isinstance(pattern, SessionLoop):
            kept = ScheduleKept(pattern.name, rate_of([trace.intended_s for trace in traces]), own_delay_s)
        return LoadRun(
            server=self.server,
            workload=self.workload,
            concurrency=pattern.concurrency if isinstance(pattern, ClosedLoop) else peak_in_flight(traces),
            traces=traces,
            start_s=min(trace.intended_s for trace in traces),
            end_s=max(trace.end_s for trace in traces),
            client=health,
            prompts_note=note,
            cache=after.since(before) if after and before else None,
            connections=opened,
            counters=CounterRise.between(
                before_load, after_load, self.server.counted_as or self.server.model
            ),
            workers=workers,
            server_samples=sampler.samples(),
            template_tokens=None if self.workload.given else self.server.capabilities.template_tokens,
            prompt_problem=_prompt_problem(traces, *lengths),
            length_problem="" if fixed else _length_problem(traces, asked),
            open_loop=kept,
        )

    async def _send(
        self, pool: Pool, wire: Sequence[bytes], bodies: Sequence[JsonObject], connections: int
    ) -> list[Sent] | Fleet:
        """Send all requests; the results are in their order. A fleet of workers has connections of its own."""
        if isinstance(self.pattern, SessionLoop):

            def compose(index: int, messages: Sequence[JsonObject]) -> bytes:
                return self._request(pool, {**bodies[index], "messages": messages})

            return await self.pattern.send(pool, wire, compose, self.options.on_progress)
        if self.workers == 1:
            return await self.pattern.send(pool, wire, self.options.on_progress)
        parts = shards(
            self.server,
            wire,
            self.workers,
            concurrency=connections,
            timeout_s=self.options.timeout_s,
            offsets_s=self.pattern.schedule.offsets_s if isinstance(self.pattern, OpenLoop) else None,
        )
        return await sent_by_fleet(parts, self.server.on_silence)

    async def _connect(self, pool: Pool, count: int) -> None:
        try:
            await pool.open(count)
        except (OSError, TimeoutError) as error:
            why = explained(error, pool.endpoint.address) if str(error) else "timed out"
            raise InfrastructureError(
                f"no connection to {self.server.shown}: {why}; is the server alive?"
            ) from error

    async def _prompts(self, pool: Pool, count: int, nonce: str, salt: bool, ids: bool) -> RequestBodies:
        model = self.server.model
        shapes = self.pattern.shapes if isinstance(self.pattern, OpenLoop) else None
        if shapes is None:
            return await prepare(
                pool,
                model,
                self.workload,
                count,
                nonce=nonce,
                salt=salt,
                request_ids=ids,
                fits=self.options.fits,
                known=self.server.capabilities,
            )
        return await prepare_shapes(
            pool,
            model,
            self.workload,
            shapes[:count],
            nonce=nonce,
            salt=salt,
            request_ids=ids,
            known=self.server.capabilities,
        )

    async def _understands(self, pool: Pool) -> bool:
        """Find out, once for each server, which fields it refuses; returns whether it understands ``cache_salt``."""
        known = self.server.capabilities
        reply = await self._metrics(pool)
        if known.metrics is None:
            known.metrics = reply.ending is not Ending.TIMEOUT
            if not known.metrics:
                known.notes.append(
                    f"/metrics was not answered within {_METRICS_S:g} s and is not asked again: the state of the "
                    "server and of its prefix cache is unknown"
                )
        told = server_metrics.told_fields(reply)
        # A server with prefix-cache counters under vLLM's names is vLLM, which ignores unknown fields.
        salt = "cache_queries" in told
        known.asked = known.asked or bool(told)
        probe = probe_body(self.server.model, self.workload, self.nonce, salt)
        refused = await find_refused(pool, known, probe, keep=self.workload.sampling)
        return salt and "cache_salt" not in refused

    async def _metrics(self, pool: Pool) -> Reply:
        """The answer of ``/metrics``; an empty one from a server that has left it unanswered before."""
        if self.server.capabilities.metrics is False:
            return Reply()
        return await server_metrics.fetch(pool, timeout_s=_METRICS_S)

    def _wire(self, pool: Pool, prompts: RequestBodies) -> list[bytes]:
        return [self._request(pool, body) for body in prompts.bodies]

    def _request(self, pool: Pool, body: JsonObject) -> bytes:
        known = without(body, self.server.capabilities.refused, keep=self.workload.sampling)
        return pool.endpoint.request("POST", path_of(known), known)

    async def _check(self, pool: Pool) -> None:
        """Raise if it is not the server that was asked for. One without a list of models is taken at its word."""
        reply = await pool.fetch("GET", "/v1/models", timeout_s=10)
        where, body = self.server.shown, bytes(reply.body)
        if reply.ending is not Ending.COMPLETE:
            raise RequestFailed(
                f"{pool.endpoint.address.shown('/v1/models')}: {reply.detail}; no load was sent"
            )
        secrets = pool.endpoint.secrets
        text = without_secrets(error_message(body), secrets)
        if reply.status in (401, 403):
            what = "refuses the API key" if is_about_the_key(reply.status, text) else "forbids the request"
            raise WrongServer(f"the server at {where} {what}: HTTP {reply.status}: {text}")
        if 300 <= reply.status < 400:
            raise WrongServer(
                f"the server at {where}: {redirect(reply.status, reply.headers.get('location'), secrets)}"
            )
        served = served_models(parse_json(body)) if reply.status == 200 else []
        if served and self.server.model not in served:
            raise WrongServer(
                f"the server at {where} does not serve {self.server.model!r}; it serves "
                f"{named(served, self.server.model)}"
            )


def peak_in_flight(traces: Sequence[Trace]) -> int:
    """Largest number of requests that were in flight at the same time."""
    # At equal times an end comes before a sending.
    turns = sorted([(trace.sent_s, 1) for trace in traces] + [(trace.end_s, -1) for trace in traces])
    count = most = 0
    for _, step in turns:
        count += step
        most = max(most, count)
    return most


def _take_traces(sent: list[Sent], asked: Sequence[int | None]) -> Iterator[Trace]:
    """Parse the replies in order. Empties ``sent`` on the way: bytes and traces of a long load together are many
    megabytes. ``asked``: the length that each answer must have."""
    templates = Templates()
    sent.reverse()
    while sent:
        one = sent.pop()
        yield trace_of(
            one.reply, one.index, one.intended_s, asked_tokens=asked[one.index], templates=templates
        )


def _fixed_length(workload: Workload, body: JsonObject) -> int | None:
    """Tokens that the answer to this request must have; None if it may end earlier."""
    limit = body.get("max_tokens")
    return limit if workload.fixed_output and isinstance(limit, int) else None


def _length_problem(traces: Sequence[Trace], asked: Sequence[int | None]) -> str:
    """Why lengths of answers are not comparable on a server without ``ignore_eos``; empty if they are."""
    pairs = [(trace.completion_tokens, asked[trace.index]) for trace in traces if trace.ok]
    others = sum(want is not None and got != want for got, want in pairs)
    if others <= ERRORS_ABOVE * len(pairs):
        return ""
    return (
        f"{others} of {len(pairs)} answers do not have the length that was asked for, and the server takes no "
        "ignore_eos: times to the last token are not comparable"
    )


def _prompt_problem(traces: Sequence[Trace], asked: Sequence[int], exact: bool) -> str:
    """``exact``: the lengths were fitted with the server's own tokenizer, and not estimated."""
    pairs = [
        (trace.prompt_tokens, asked[trace.index])
        for trace in traces
        if asked[trace.index] and trace.prompt_tokens
    ]
    if not pairs:
        return ""
    got, wanted = sum(one for one, _ in pairs), sum(one for _, one in pairs)
    factor = _EXACT_WITHIN if exact else _ESTIMATED_WITHIN
    slack = _FEW_TOKENS * len(pairs)
    if wanted / factor - slack <= got <= wanted * factor + slack:
        return ""
    how = "by its own tokenizer" if exact else "as far as could be estimated without /tokenize"
    return (
        f"the server counts {got / len(pairs):.4g} tokens a prompt, {wanted / len(pairs):.4g} were asked for {how}: "
        "something adds to the prompts or cuts them (a system prompt, another template)"
    )
