"""A server's own tokenizer, through vLLM's ``/tokenize`` and ``/detokenize``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.client import loop
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Reply
from pytest_llmperf.serving.http_client import parse_json
from pytest_llmperf.serving.server import Server

_TIMEOUT_S = 60.0
_MOST = 2**31
"""Token numbers and lengths from here on are impossible."""


@dataclass(frozen=True)
class Tokenized:
    """A prompt as the server's tokens; ``limit`` is the longest prompt and answer together, None if not stated."""

    tokens: tuple[int, ...]
    limit: int | None


def tokenized(
    server: Server, prompts: Sequence[Mapping[str, Any]], *, concurrency: int = 16
) -> list[Tokenized | None]:
    """The tokens of each prompt, in order; None where the server gives none.

    A prompt is ``{"messages": […]}``, through the server's chat template, or ``{"prompt": text}``, with the tokenizer's
    own first token unless ``add_special_tokens`` is False. Nothing is generated.
    """
    bodies = [{"model": server.model, **prompt} for prompt in prompts]
    return [_tokens(reply) for reply in _ask(server, "/tokenize", bodies, concurrency)]


def text_of(server: Server, tokens: Sequence[int]) -> str | None:
    """The text of these tokens, special tokens included; None if the server gives none."""
    (reply,) = _ask(server, "/detokenize", [{"model": server.model, "tokens": list(tokens)}], 1)
    text = _read(reply).get("prompt")
    return text if isinstance(text, str) else None


def _ask(server: Server, path: str, bodies: Sequence[Mapping[str, Any]], concurrency: int) -> list[Reply]:
    replies: dict[int, Reply] = {}
    waiting = iter(range(len(bodies)))

    async def worker(pool: Pool) -> None:
        for index in waiting:
            replies[index] = await pool.fetch("POST", path, bodies[index], timeout_s=_TIMEOUT_S)

    async def every() -> None:
        async with Pool(Endpoint.of(server), timeout_s=_TIMEOUT_S) as pool, asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(bodies))):
                group.create_task(worker(pool))

    if bodies:
        loop.run(every)
    return [replies[index] for index in range(len(bodies))]


def _tokens(reply: Reply) -> Tokenized | None:
    said = _read(reply)
    tokens, limit = said.get("tokens"), said.get("max_model_len")
    # None for an empty list: every prompt here has a token, and llama.cpp reads the prompt from another field.
    if (
        not isinstance(tokens, list)
        or not tokens
        or not all(type(t) is int and 0 <= t < _MOST for t in tokens)
    ):
        return None
    return Tokenized(tuple(tokens), limit if type(limit) is int and 0 < limit < _MOST else None)


def _read(reply: Reply) -> Mapping[str, Any]:
    """The answer if it is a JSON object, else an empty one."""
    if reply.status != 200:
        return {}
    said = parse_json(bytes(reply.body))
    return said if isinstance(said, dict) else {}
