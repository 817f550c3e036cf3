"""Score given tokens: the log probability and rank of every token of a prompt, with nothing generated.

Uses vLLM's ``prompt_logprobs`` on the completions endpoint; 0 asks for the prompt's own tokens alone. The request is
greedy, so that nothing but the tokens and the weights matters; one token has to be generated, and is ignored.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pytest_llmperf.client import loop
from pytest_llmperf.client.answers import PASSING, Retries
from pytest_llmperf.client.body import lint, path_of
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.serving.server import Server

T = TypeVar("T")

_RETRIES = Retries(attempts=3)
_NONE = "the server returned no prompt_logprobs, which {needed_by} needs"


@dataclass(frozen=True)
class TokenScores:
    """The scores of one prompt, a value for each of its tokens but the first, which nothing stands before.

    ``log_probabilities`` are natural, at most 0. ``ranks`` count from 1, the most likely token; 0 if the server gave
    none. ``texts`` are the tokens themselves, empty where the server gave none. ``error`` is empty if it answered.
    """

    log_probabilities: tuple[float, ...] = ()
    ranks: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Likelihood:
    """The score of one text: the number of scored tokens and the sum of their log probabilities (natural, at most 0).

    ``first`` is the log probability of the first scored token. ``error`` is empty if the server answered.
    """

    tokens: int = 0
    log_probability: float = 0.0
    first: float = 0.0
    error: str = ""


def likelihoods(
    server: Server, texts: Sequence[str], *, concurrency: int = 16, timeout_s: float = 600.0
) -> list[Likelihood]:
    """One result per text, in order. A request that fails raises nothing: see ``error``."""
    scored = token_scores(server, texts, needed_by="perplexity", concurrency=concurrency, timeout_s=timeout_s)
    return [
        Likelihood(error=text.error)
        if text.error
        else Likelihood(len(values), math.fsum(values), values[0] if values else 0.0)
        for text in scored
        for values in [text.log_probabilities]
    ]


def token_scores(
    server: Server,
    prompts: Sequence[str | Sequence[int]],
    *,
    needed_by: str,
    concurrency: int = 16,
    timeout_s: float = 600.0,
) -> list[TokenScores]:
    """The scores of each prompt, a text or token ids, in order. A request that fails raises nothing: see ``error``.

    ``needed_by`` is what an error names as the reason for asking.
    """
    [scores] = scores_together(
        [server], prompts, needed_by=needed_by, concurrency=concurrency, timeout_s=timeout_s
    )
    return scores


def scores_together(
    servers: Sequence[Server],
    prompts: Sequence[str | Sequence[int]],
    *,
    needed_by: str,
    concurrency: int = 16,
    timeout_s: float = 600.0,
) -> list[list[TokenScores]]:
    """As :func:`token_scores` of each server, all of them asked at the same time; ``concurrency`` is that of each."""
    bodies = [
        {
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": 0,
        }
        for prompt in prompts
    ]

    async def scores(server: Server) -> list[TokenScores]:
        if server.capabilities.prompt_logprobs is False:
            return [TokenScores(error=_NONE.format(needed_by=needed_by))] * len(bodies)
        return await _replies(server, bodies, lambda reply: _read(reply, needed_by), concurrency, timeout_s)

    async def every() -> list[list[TokenScores]]:
        return await asyncio.gather(*map(scores, servers))

    return loop.run(every) if bodies else [[] for _ in servers]


def read_replies(
    server: Server,
    bodies: Sequence[JsonObject],
    read: Callable[[Reply], T],
    *,
    concurrency: int,
    timeout_s: float = 600.0,
) -> list[T]:
    """``read`` of the whole reply to each body, in order; what another try may change is tried three times.

    ``model`` is filled in.
    """
    return loop.run(lambda: _replies(server, bodies, read, concurrency, timeout_s)) if bodies else []


async def _replies(
    server: Server,
    bodies: Sequence[JsonObject],
    read: Callable[[Reply], T],
    concurrency: int,
    timeout_s: float,
) -> list[T]:
    async def fetch(pool: Pool, body: JsonObject) -> T:
        linted = lint({"model": server.model, **body})
        for attempt in range(1, _RETRIES.attempts + 1):
            reply = await pool.fetch("POST", path_of(linted), linted)
            if reply.ending is Ending.COMPLETE and reply.status not in PASSING:
                break
            wait_s = _RETRIES.wait_after(reply, attempt)
            if wait_s is None or attempt == _RETRIES.attempts:
                break
            await asyncio.sleep(wait_s)
        return read(reply)

    async with Pool(Endpoint.of(server), timeout_s=timeout_s) as pool:
        return await loop.bounded(lambda body: fetch(pool, body), bodies, concurrency)


def why_unread(reply: Reply) -> str:
    """Why a reply holds no answer, in one line; empty if it is whole and has the status 200."""
    if reply.ending is not Ending.COMPLETE:
        return f"{reply.ending}: {reply.detail}"
    if reply.status != 200:
        return f"HTTP {reply.status}: {' '.join(reply.text().split())[:300]}"
    return ""


def _read(reply: Reply, needed_by: str) -> TokenScores:
    if error := why_unread(reply):
        return TokenScores(error=error)
    try:
        entries = json.loads(reply.body)["choices"][0]["prompt_logprobs"]
    except (ValueError, LookupError, TypeError):
        entries = None
    if not isinstance(entries, list):
        return TokenScores(error=_NONE.format(needed_by=needed_by))
    # The very first token has none: nothing stands before it.
    scored = [_own(entry) for entry in entries if entry is not None]
    values = [value for value in scored if value is not None]
    if len(values) < len(scored):
        return TokenScores(error="a token of the prompt has no log probability")
    log_probabilities, ranks, tokens = zip(*values, strict=True) if values else ((), (), ())
    return TokenScores(log_probabilities, ranks, tokens)


def _own(entry: Any) -> tuple[float, int, str] | None:
    """Log probability, rank and text of the prompt's own token: with 0 asked for, it stands first, and mostly alone."""
    try:
        own = next(iter(entry.values()))
        value, rank, text = float(own["logprob"]), own.get("rank"), own.get("decoded_token")
    except (AttributeError, StopIteration, LookupError, TypeError, ValueError):
        return None
    if not (math.isfinite(value) and value <= 0.0):
        return None
    # Half a surrogate, which JSON can hold, fits into no file.
    shown = text.encode("utf-8", "replace").decode() if isinstance(text, str) else ""
    return value, rank if type(rank) is int and rank > 0 else 0, shown
