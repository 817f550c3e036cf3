"""Score given texts: the log probability of every token of a prompt, with nothing generated.

Uses vLLM's ``prompt_logprobs`` on the completions endpoint; 0 asks for the prompt's own tokens alone. The request is
greedy, so that nothing but the text and the weights matters; one token has to be generated, and is ignored.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.client import loop
from pytest_llmperf.client.answers import PASSING, Retries
from pytest_llmperf.client.body import lint
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.serving.server import Server

_RETRIES = Retries(attempts=3)
_NONE = "the server returned no prompt_logprobs, which perplexity needs"


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
    if not texts:
        return []
    if server.capabilities.prompt_logprobs is False:
        return [Likelihood(error=_NONE)] * len(texts)

    async def every() -> list[Likelihood]:
        async with Pool(Endpoint.of(server), timeout_s=timeout_s) as pool:
            return await loop.bounded(lambda text: _score(pool, server, text), texts, concurrency)

    return loop.run(every)


async def _score(pool: Pool, server: Server, text: str) -> Likelihood:
    body = lint(
        {
            "model": server.model,
            "prompt": text,
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": 0,
        }
    )
    for attempt in range(1, _RETRIES.attempts + 1):
        reply = await pool.fetch("POST", "/v1/completions", body)
        if reply.ending is Ending.COMPLETE and reply.status not in PASSING:
            break
        wait_s = _RETRIES.wait_after(reply, attempt)
        if wait_s is None or attempt == _RETRIES.attempts:
            break
        await asyncio.sleep(wait_s)
    return _read(reply)


def _read(reply: Reply) -> Likelihood:
    if reply.ending is not Ending.COMPLETE:
        return Likelihood(error=f"{reply.ending}: {reply.detail}")
    if reply.status != 200:
        return Likelihood(error=f"HTTP {reply.status}: {' '.join(reply.text().split())[:300]}")
    try:
        entries = json.loads(reply.body)["choices"][0]["prompt_logprobs"]
    except (ValueError, LookupError, TypeError):
        entries = None
    if not isinstance(entries, list):
        return Likelihood(error=_NONE)
    # The very first token has none: nothing stands before it.
    scored = [_own(entry) for entry in entries if entry is not None]
    if any(value is None for value in scored):
        return Likelihood(error="a token of the prompt has no log probability")
    values = [value for value in scored if value is not None]
    return Likelihood(len(values), math.fsum(values), values[0] if values else 0.0)


def _own(entry: Any) -> float | None:
    """The log probability of the prompt's own token: with 0 asked for, it stands first, and mostly alone."""
    try:
        value = float(next(iter(entry.values()))["logprob"])
    except (AttributeError, StopIteration, LookupError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) and value <= 0.0 else None
