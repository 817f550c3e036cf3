"""Everything around the sending of a load: check the server, fit the prompts, warm up, open connections, and watch
client and server meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmperf.client import server_metrics
from pytest_llmperf.client.body import path_of
from pytest_llmperf.client.capabilities import find_refused, raise_if_all_failed, without
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.openai_stream import Templates, trace_of
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.real_clock import RealClock
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import InfrastructureError, RequestFailed, WrongServer
from pytest_llmperf.load import cache_check
from pytest_llmperf.load.cache_check import CacheUse
from pytest_llmperf.load.client_health import ClientHealth, Watch, no_collector
from pytest_llmperf.load.fleet import Fleet
from pytest_llmperf.load.run import ERRORS_ABOVE
from pytest_llmperf.load.sending import Sent, in_flight
from pytest_llmperf.load.server_metrics import Sampler, ServerSamples
from pytest_llmperf.load.workload import (
    Fits,
    Prompts,
    Shape,
    Workload,
    prepare,
    prepare_shapes,
    probe_body,
)
from pytest_llmperf.serving.http_client import (
    explained,
    first_line,
    is_about_the_key,
    parse_json,
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
    """Its ``/metrics`` during the load; None if it has none that are known, or the load was too short."""
    template_tokens: int | None = None
    """Tokens that the chat template adds to a made-up prompt; None where the server does not tell."""
    prompt_problem: str = ""
    """By how much the server's count of the prompts' tokens differs from what was asked for, if it does."""
    length_problem: str = ""
    """Says that answers have other lengths than asked for, if the server takes no ``ignore_eos``."""


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
        ``WrongServer`` if it refuses the key or does not serve the model, ``NotMeasured`` if a test replaces the
        clock.
        """
        clock = RealClock()
        endpoint = Endpoint.of(self.server)
        # Two pools: what prepares the load must leave the load's own connections as they are.
        async with Pool(endpoint) as aside, Pool(endpoint, timeout_s=self.timeout_s) as pool:
            await self._connect(pool, min(self.concurrency, self.requests))
            await self._check(aside)
            salt = await self._understands(aside)
            cold = await self._prompts(aside, self.warmup, f"{self.nonce} warm-up", salt, False)
            prompts = await self._prompts(aside, self.requests, self.nonce, salt, self.request_ids)
            # Last before the load: what it runs through is warm here as well as on the server.
            warmed = [sent.reply for sent in await in_flight(pool, self._wire(pool, cold), self.concurrency)]
            raise_if_all_failed([trace_of(reply) for reply in warmed], f"the warm-up of {self.server.row}")
            before_load = await self._metrics(aside)
            await self._connect(pool, connections(warmed))
            wire = self._wire(pool, prompts)
            asked = [_fixed_length(self.workload, body) for body in prompts.bodies]
            # Answers of whatever length are no failures of a server that cannot be asked for one.
            fixed = "ignore_eos" not in (self.server.capabilities.refused or ())
            # What the warm-up brought back is not needed any more, nor are the prompts but on the wire.
            note, lengths = prompts.note, (prompts.asked, prompts.tokens is not None)
            del warmed, cold, prompts
            with no_collector():
                watch = Watch()
                async with Sampler(aside) as sampler:
                    sending = await send(pool, wire)
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
        traces = tuple(_understood(sent, asked if fixed else [None] * len(asked)))
        return Measured(
            traces=traces,
            own_delay_s=own_delay_s,
            client=health,
            workers=workers,
            prompts_note=note,
            cache=after.since(before) if after and before else None,
            connections=opened,
            server=sampler.samples(),
            template_tokens=None if self.workload.given else self.server.capabilities.template_tokens,
            prompt_problem=_prompt_problem(traces, *lengths),
            length_problem="" if fixed else _length_problem(traces, asked),
        )

    async def _connect(self, pool: Pool, count: int) -> None:
        try:
            await pool.open(count)
        except (OSError, TimeoutError) as error:
            why = explained(error, pool.endpoint.address) if str(error) else "timed out"
            raise InfrastructureError(
                f"no connection to {self.server.shown}: {why}; is the server alive?"
            ) from error

    async def _prompts(self, pool: Pool, count: int, nonce: str, salt: bool, ids: bool) -> Prompts:
        model = self.server.model
        if self.shapes is None:
            return await prepare(
                pool,
                model,
                self.workload,
                count,
                nonce=nonce,
                salt=salt,
                request_ids=ids,
                fits=self.fits,
                known=self.server.capabilities,
            )
        shapes = self.shapes[:count]
        return await prepare_shapes(
            pool,
            model,
            self.workload,
            shapes,
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

    def _wire(self, pool: Pool, prompts: Prompts) -> list[bytes]:
        refused = self.server.capabilities.refused
        bodies = [without(body, refused, keep=self.workload.sampling) for body in prompts.bodies]
        return [pool.endpoint.request("POST", path_of(body), body) for body in bodies]

    async def _check(self, pool: Pool) -> None:
        """Raise if it is not the server that was asked for. One without a list of models is taken at its word."""
        reply = await pool.fetch("GET", "/v1/models", timeout_s=10)
        where, body = self.server.shown, bytes(reply.body)
        if reply.ending is not Ending.COMPLETE:
            raise RequestFailed(
                f"{pool.endpoint.address.shown('/v1/models')}: {reply.detail}; no load was sent"
            )
        secrets = pool.endpoint.secrets
        text = without_secrets(first_line(body), secrets)
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


def _understood(sent: list[Sent], asked: Sequence[int | None]) -> Iterator[Trace]:
    """The trace of each, in order; ``sent`` is empty afterwards, for bytes and traces of a long load together are many
    megabytes. ``asked``: the length that each answer must have."""
    templates = Templates()
    sent.reverse()
    while sent:
        one = sent.pop()
        yield trace_of(
            one.reply, one.index, one.intended_s, asked_tokens=asked[one.index], templates=templates
        )


def _fixed_length(workload: Workload, body: Mapping[str, Any]) -> int | None:
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
