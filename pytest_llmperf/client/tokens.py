"""How many tokens a prompt has, by the server's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.errors import RequestFailed
from pytest_llmperf.serving.http_client import clean, first_line, parse_json

_MOST = 100_000_000
"""Tokens of one prompt beyond which a count is nonsense."""
TIMEOUT_S = 60.0
FIRST_S = 10.0
"""For the first count, of a few words, on a server that may have no tokenizer."""


async def count(pool: Pool, body: Mapping[str, Any], *, or_raise: bool = True) -> int | None:
    """Tokens of a prompt or of messages, as vLLM's ``/tokenize`` takes them.

    None for a server that does not count them: it has no such door (whatever status says so), or one that means
    something else (llama.cpp answers 200 with no tokens). Raises :class:`RequestFailed` if no answer came at all, and,
    unless ``or_raise`` is False, if the server failed (HTTP 500), which a tokenizer that is there may do. With
    ``or_raise`` False, a time-out or a connection that is closed means that there is none: some gateways drop requests
    for paths that they don't know.
    """
    reply = await _asked(pool, body, TIMEOUT_S if or_raise else FIRST_S)
    where = pool.endpoint.address.shown("/tokenize")
    if not or_raise and reply.ending in (Ending.TIMEOUT, Ending.CUT) and not pool.is_dead:
        return None
    if reply.ending is not Ending.COMPLETE:
        raise RequestFailed(f"{where}: {reply.detail}")
    if or_raise and (reply.status == 429 or (reply.status >= 500 and reply.status != 501)):
        raise RequestFailed(f"{where} was answered with HTTP {reply.status}: {first_line(bytes(reply.body))}")
    return counted(reply)


def counted(reply: Reply) -> int | None:
    """The count in an answer of ``/tokenize``; None if it holds none that can be true."""
    body = parse_json(bytes(reply.body)) if reply.status == 200 else None
    value = body.get("count") if isinstance(body, dict) else None
    return value if type(value) is int and 0 < value <= _MOST else None


async def _asked(pool: Pool, body: Mapping[str, Any], timeout_s: float) -> Reply:
    return await pool.fetch("POST", "/tokenize", body, timeout_s=timeout_s)


async def why_none(pool: Pool, body: Mapping[str, Any]) -> str:
    """What the server answers to ``/tokenize`` in place of a count, in a few words."""
    reply = await _asked(pool, body, FIRST_S)
    if reply.ending is not Ending.COMPLETE:
        return clean(reply.detail, 80)
    if reply.status == 200:
        return "it answers without a count of tokens"
    return f"HTTP {reply.status}: {first_line(bytes(reply.body))[:80]}"
