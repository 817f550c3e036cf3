"""Texts cut to a number of tokens, as the server's own tokenizer counts them, each behind a whole word."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pytest_llmperf.client import loop, tokens
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.errors import RequestFailed
from pytest_llmperf.serving.server import Server

_WORD = re.compile(r"\S+")
_CHARACTERS_A_TOKEN = 4
"""Of English prose, for a server without ``/tokenize``; the large tokenizers of today have rather more."""
_NEAR = 3
"""Tokens that may be missing to the limit: an exact search would ask three times as often."""


@dataclass(frozen=True)
class Cut:
    """The texts in their order. ``counted`` False: the server does not tokenize, and their lengths are estimated."""

    texts: Sequence[str]
    counted: bool


def cut(server: Server, texts: Sequence[str], limit: int) -> Cut:
    """The beginning of each text, ``limit`` tokens at most and little less where there was more.

    Raises :class:`RequestFailed` where ``/tokenize`` is there and answers with an error.
    """

    async def every() -> Cut:
        async with Pool(Endpoint.of(server), timeout_s=60.0) as pool:

            async def length(text: str) -> int | None:
                # Of the text alone, without what a prompt begins with.
                body = {"model": server.model, "prompt": text, "add_special_tokens": False}
                return await tokens.count(pool, body)

            if await length("one") is None:
                return Cut([_estimated(text, limit * _CHARACTERS_A_TOKEN) for text in texts], counted=False)
            return Cut([await _cut(length, text, limit) for text in texts], counted=True)

    return loop.run(every)


async def _cut(length: Callable[[str], Awaitable[int | None]], text: str, limit: int) -> str:
    ends = [word.end() for word in _WORD.finditer(text)]
    fits, too_many, guess = 0, len(ends) + 1, min(len(ends), round(0.75 * limit))
    while too_many - fits > 1:
        count = await length(text[: ends[guess - 1]])
        if count is None:
            raise RequestFailed("/tokenize answered before and is gone now; texts are cut by it")
        if count > limit:
            too_many = guess
        else:
            fits = guess
            if limit - count <= _NEAR:
                break
        step = round((limit - count) * guess / max(1, count))
        guess = min(max(guess + step, fits + 1), too_many - 1)
    return text[: ends[fits - 1]] if fits else ""


def _estimated(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    return text[:characters].rpartition(" ")[0] or text[:characters]
