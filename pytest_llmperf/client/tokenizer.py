"""Count the tokens of prompts, by the server (``/tokenize``, ``/detokenize``) or by the tokenizer of the weights."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_llmperf.client import loop
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.errors import RequestFailed
from pytest_llmperf.json_values import JsonObject, object_of, parse_json
from pytest_llmperf.serving.http_client import clean, error_message
from pytest_llmperf.serving.server import Server

TIMEOUT_S = 60.0
FIRST_S = 10.0
"""For the first count, of a few words, on a server that may have no tokenizer."""
_MAX_TOKENS = 100_000_000
"""A larger count of one prompt is nonsense."""
_MAX_ID = 2**31
"""Token numbers and lengths from here on are impossible."""
_WORD = re.compile(r"\S+")
_CHARACTERS_PER_TOKEN = 4
"""Characters per token of English prose, for a server without ``/tokenize``; large tokenizers have rather more."""
_CUT_TOLERANCE = 3
"""Tokens that a cut text may be shorter than allowed: an exact search would need three times as many requests."""
_LOCAL_FILE = "tokenizer.json"


# -- counting, for a load


async def count_tokens(pool: Pool, body: JsonObject, *, or_raise: bool = True) -> int | None:
    """Tokens of a prompt or of messages, as vLLM's ``/tokenize`` takes them.

    None for a server that does not count them: it has no such path (whatever status says so), or one that means
    something else (llama.cpp answers 200 with no tokens). Raises :class:`RequestFailed` if no answer came at all, and,
    unless ``or_raise`` is False, if the server failed (HTTP 500), which an existing tokenizer may do. With
    ``or_raise`` False, a time-out or a closed connection means that there is none: some gateways drop requests for
    paths that they don't know.
    """
    reply = await pool.fetch("POST", "/tokenize", body, timeout_s=TIMEOUT_S if or_raise else FIRST_S)
    where = pool.endpoint.address.shown("/tokenize")
    if not or_raise and reply.ending in (Ending.TIMEOUT, Ending.CUT) and not pool.is_dead:
        return None
    if reply.ending is not Ending.COMPLETE:
        raise RequestFailed(f"{where}: {reply.detail}")
    if or_raise and (reply.status == 429 or (reply.status >= 500 and reply.status != 501)):
        why = error_message(bytes(reply.body))
        raise RequestFailed(f"{where} was answered with HTTP {reply.status}: {why}")
    value = _content(reply).get("count")
    return value if type(value) is int and 0 < value <= _MAX_TOKENS else None


async def why_not_counted(pool: Pool, body: JsonObject) -> str:
    """The server's answer to ``/tokenize`` where it gives no count, in a few words."""
    reply = await pool.fetch("POST", "/tokenize", body, timeout_s=FIRST_S)
    if reply.ending is not Ending.COMPLETE:
        return clean(reply.detail, 80)
    if reply.status == 200:
        return "it answers without a count of tokens"
    return f"HTTP {reply.status}: {error_message(bytes(reply.body))[:80]}"


# -- tokens, to compare prompts


@dataclass(frozen=True)
class Tokenized:
    """A prompt as the server's tokens; ``limit`` is the longest prompt and answer together, None if not stated."""

    tokens: tuple[int, ...]
    limit: int | None


def tokenize(
    server: Server, prompts: Sequence[JsonObject], *, concurrency: int = 16
) -> list[Tokenized | None]:
    """The tokens of each prompt, in order; None where the server gives none.

    A prompt is ``{"messages": […]}``, through the server's chat template, or ``{"prompt": text}``, with the tokenizer's
    own first token unless ``add_special_tokens`` is False. Nothing is generated.
    """
    bodies = [{"model": server.model, **prompt} for prompt in prompts]
    return [_tokens(reply) for reply in _fetch_all(server, "/tokenize", bodies, concurrency)]


def detokenize(server: Server, tokens: Sequence[int]) -> str | None:
    """The text of these tokens, special tokens included; None if the server gives none."""
    (reply,) = _fetch_all(server, "/detokenize", [{"model": server.model, "tokens": list(tokens)}], 1)
    text = _content(reply).get("prompt")
    return text if isinstance(text, str) else None


def _fetch_all(server: Server, path: str, bodies: Sequence[JsonObject], concurrency: int) -> list[Reply]:
    async def every() -> list[Reply]:
        async with Pool(Endpoint.of(server), timeout_s=TIMEOUT_S) as pool:
            return await loop.bounded(lambda body: pool.fetch("POST", path, body), bodies, concurrency)

    return loop.run(every) if bodies else []


def _tokens(reply: Reply) -> Tokenized | None:
    content = _content(reply)
    tokens, limit = content.get("tokens"), content.get("max_model_len")
    # None for an empty list: every prompt here has a token, and llama.cpp reads the prompt from another field.
    if not isinstance(tokens, list) or not tokens:
        return None
    ids = tuple(token for token in tokens if type(token) is int and 0 <= token < _MAX_ID)
    if len(ids) < len(tokens):
        return None
    return Tokenized(ids, limit if type(limit) is int and 0 < limit < _MAX_ID else None)


def _content(reply: Reply) -> JsonObject:
    """The answer if it is a JSON object, else an empty one."""
    return object_of(parse_json(bytes(reply.body)) if reply.status == 200 else None)


# -- texts cut to a length


@dataclass(frozen=True)
class Cut:
    """The texts in their order. ``counted`` False: the server does not tokenize, and their lengths are estimated."""

    texts: Sequence[str]
    counted: bool


def cut(server: Server, texts: Sequence[str], limit: int) -> Cut:
    """The beginning of each text, at most ``limit`` tokens and little less where there was more, after a whole word.

    Raises :class:`RequestFailed` if ``/tokenize`` exists and answers with an error.
    """

    async def every() -> Cut:
        async with Pool(Endpoint.of(server), timeout_s=TIMEOUT_S) as pool:

            async def length(text: str) -> int | None:
                # Of the text alone, without what a prompt begins with.
                body: JsonObject = {"model": server.model, "prompt": text, "add_special_tokens": False}
                return await count_tokens(pool, body)

            if await length("one") is None:
                characters = limit * _CHARACTERS_PER_TOKEN
                return Cut([_cut_to_characters(text, characters) for text in texts], counted=False)
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
            if limit - count <= _CUT_TOLERANCE:
                break
        step = round((limit - count) * guess / max(1, count))
        guess = min(max(guess + step, fits + 1), too_many - 1)
    return text[: ends[fits - 1]] if fits else ""


def _cut_to_characters(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    return text[:characters].rpartition(" ")[0] or text[:characters]


# -- the tokenizer beside the weights, for a server that does not tell


def can_count_locally(directory: Path | None) -> bool:
    """Return True if the weights there have a tokenizer that the library ``tokenizers`` (an engine's) can read here."""
    return (
        directory is not None
        and (directory / _LOCAL_FILE).is_file()
        and importlib.util.find_spec("tokenizers") is not None
    )


def count_locally(directory: Path, texts: Sequence[str], *, special_tokens: bool) -> list[int]:
    """Tokens of each text; ``special_tokens`` includes those that the tokenizer adds by itself."""
    return [len(ids) for ids in tokenize_locally(directory, texts, special_tokens=special_tokens)]


def tokenize_locally(directory: Path, texts: Sequence[str], *, special_tokens: bool) -> list[Sequence[int]]:
    """As :func:`count_locally`, the tokens themselves."""
    encoded = _local_tokenizer(directory).encode_batch(list(texts), add_special_tokens=special_tokens)
    return [encoding.ids for encoding in encoded]


@lru_cache(maxsize=4)
def _local_tokenizer(directory: Path) -> Any:
    """Read once, because every portion of a task is counted."""
    import tokenizers

    return tokenizers.Tokenizer.from_file(str(directory / _LOCAL_FILE))
