"""The same answers out of a cold and out of a warm prefix cache: does reused memory change what a server says?

Each prompt is answered twice by the same seed and with a ``cache_salt`` of its own, so that the first answer finds
nothing in the cache and the second finds the prompt. Scores of prompts (``prompt_logprobs``) would not do: vLLM does
not read its cache for them. The log probabilities are those of decoding, over the tokens of the first answer up to the
one at which the second says something else; that one counts with what the second answer's server makes of it, at most.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pytest_llmperf.client import loop, server_metrics
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.generated_tokens import TOP, GeneratedTokens, generated_tokens
from pytest_llmperf.client.likelihood import TokenScores
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.serving.server import Server

_AT_ONCE = 16
"""Prompts that are answered cold, and then warm, before the next ones: few, so that none is evicted in between."""
_NO_HIT = (
    "no prompt was found in the prefix cache, so that nothing of it was measured: it is off "
    "(vLLM: --enable-prefix-caching), or the prompts are shorter than one of its blocks"
)
_UNTOLD = (
    "the server tells neither cached_tokens in usage (vLLM: --enable-prompt-tokens-details) nor prefix_cache_hits "
    "under /metrics: nothing shows that its prefix cache was used"
)


@dataclass(frozen=True)
class ColdAndWarm:
    """Both answers to each prompt, in order.

    ``scores``: of the same tokens, cold and warm; None where an answer was lost or its prompt was not found in the
    cache. ``cached_tokens``: prompt tokens that the second answers found. ``unusable``: why the scores must not be
    judged; empty if they may.
    """

    cold: Sequence[GeneratedTokens] = field(repr=False)
    scores: Sequence[tuple[TokenScores, TokenScores] | None] = field(repr=False)
    cached_tokens: int
    unusable: str


def cold_and_warm(server: Server, bodies: Sequence[JsonObject]) -> ColdAndWarm:
    """Ask each of ``bodies`` twice. A request that fails raises nothing, and its prompt has no scores."""
    salted = [{**body, "cache_salt": f"llmperf-{uuid.uuid4().hex}"} for body in bodies]
    cold: list[GeneratedTokens] = []
    warm: list[GeneratedTokens] = []
    for begin in range(0, len(salted), _AT_ONCE):
        some = salted[begin : begin + _AT_ONCE]
        before = _hits(server)
        answers = generated_tokens(server, some, concurrency=_AT_ONCE, top=TOP)
        if all(answer.cached is None for answer in answers):
            # The first answers of several prompts: whose hits they are does not matter, there must be none.
            found = _more_hits(server, before)
            answers = [replace(answer, cached=found if n == 0 else 0) for n, answer in enumerate(answers)]
        cold += answers
        warm += _warm(server, some)
    return _compared(cold, warm)


def _warm(server: Server, bodies: Sequence[JsonObject]) -> list[GeneratedTokens]:
    """Answer prompts that the cache has, and learn of each how much of it was found there.

    A server that does not tell it with the answer (``cached_tokens``) is asked one prompt at a time, between two
    readings of its counter: one total for many would vouch for prompts that were never found.
    """
    before = _hits(server)
    [first] = generated_tokens(server, bodies[:1], concurrency=1, top=TOP)
    if first.cached is not None:
        return [first, *generated_tokens(server, bodies[1:], concurrency=_AT_ONCE, top=TOP)]
    answers = [replace(first, cached=_more_hits(server, before))]
    for body in bodies[1:]:
        before = _hits(server)
        [answer] = generated_tokens(server, [body], concurrency=1, top=TOP)
        answers.append(replace(answer, cached=_more_hits(server, before)))
    return answers


def _more_hits(server: Server, before: float | None) -> int | None:
    """Prompt tokens found since the counter stood at ``before``; None if it does not tell, or was set back."""
    now = _hits(server)
    return None if before is None or now is None or now < before else int(now - before)


def _compared(cold: Sequence[GeneratedTokens], warm: Sequence[GeneratedTokens]) -> ColdAndWarm:
    told = any(answer.cached is not None for answer in warm)
    scores = [
        same_tokens(first, second) if second.cached else None
        for first, second in zip(cold, warm, strict=True)
    ]
    before, found = (sum(answer.cached or 0 for answer in side) for side in (cold, warm))
    error = next((answer.error for answer in (*cold, *warm) if answer.error), "")
    if all(answer.error for answer in cold) or all(answer.error for answer in warm):
        unusable = f"no prompt was answered twice; the first error: {error or 'no item'}"
    elif not told:
        unusable = _UNTOLD
    elif before:
        unusable = (
            f"the first answers found {before} prompt tokens in the prefix cache: the server does not keep prompts of "
            "another cache_salt apart, or somebody else uses it"
        )
    elif not found:
        unusable = _NO_HIT
    elif not any(scores):
        unusable = "the answers came without log probabilities"
    else:
        unusable = ""
    return ColdAndWarm(cold, scores, found, unusable)


def same_tokens(cold: GeneratedTokens, warm: GeneratedTokens) -> tuple[TokenScores, TokenScores] | None:
    """Both sides' log probabilities of the tokens of ``cold``, up to the first that ``warm`` has otherwise.

    Where that one is not among the likeliest of ``warm``, it counts as the last of them. None where either is not told.
    """
    values, pairs = [], zip(cold.answer, warm.answer, strict=False)
    if not cold.log_probabilities or not warm.log_probabilities:
        return None
    for place, (ours, theirs) in enumerate(pairs):
        if ours == theirs:
            values.append(warm.log_probabilities[place])
            continue
        if not cold.texts or not warm.top:
            return None
        likeliest = warm.top[place]
        values.append(likeliest.get(cold.texts[place], min(likeliest.values())))
        break
    own, texts = cold.log_probabilities[: len(values)], cold.texts[: len(values)]
    return TokenScores(own, texts=texts), TokenScores(tuple(values), texts=texts)


def _hits(server: Server) -> float | None:
    """Prompt tokens that the server has found in its prefix cache since its start; None where it does not tell."""

    async def read() -> float | None:
        async with Pool(Endpoint.of(server), timeout_s=10.0) as pool:
            told = await server_metrics.read(pool)
        return None if told is None else told.cache_hits

    return loop.run(read)
