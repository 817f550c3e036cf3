"""How many tokens a prompt has, by the server's own tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.errors import RequestFailed
from pytest_llmperf.serving.http_client import first_line, parse_json

_MOST = 100_000_000
"""Tokens of one prompt beyond which a count is nonsense."""


async def count(pool: Pool, body: Mapping[str, Any], *, or_raise: bool = True) -> int | None:
    """Tokens of a prompt or of messages, as vLLM's ``/tokenize`` takes them.

    None for a server that does not count them: it has no such door (whatever status says so), or one that means
    something else (llama.cpp answers 200 with no tokens). Raises :class:`RequestFailed` if no answer came at all, and,
    unless ``or_raise`` is False, if the server failed (HTTP 500), which a tokenizer that is there may do.
    """
    reply = await pool.fetch("POST", "/tokenize", body, timeout_s=60)
    where = pool.endpoint.address.shown("/tokenize")
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


async def why_none(pool: Pool, body: Mapping[str, Any]) -> str:
    """What the server answers to ``/tokenize`` in place of a count, in a few words."""
    reply = await pool.fetch("POST", "/tokenize", body, timeout_s=60)
    if reply.status == 200:
        return "it answers without a count of tokens"
    return f"HTTP {reply.status}: {first_line(bytes(reply.body))[:80]}"
