"""How many tokens a prompt has, by the server's own tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytest_llmperf.client.pool import Pool
from pytest_llmperf.errors import RequestFailed

_NO_SUCH_DOOR = (404, 405, 501)


async def count(pool: Pool, body: Mapping[str, Any]) -> int | None:
    """Of a prompt or of messages, as ``/tokenize`` of vLLM takes them; None for a server that has no such door.

    Raises :class:`RequestFailed` for any other answer than a number.
    """
    reply = await pool.fetch("POST", "/tokenize", body, timeout_s=60)
    if reply.status in _NO_SUCH_DOOR:
        return None
    try:
        if reply.status == 200:
            return int(json.loads(reply.body)["count"])
    except (ValueError, KeyError, TypeError):
        pass
    said = reply.detail or reply.text()[:300]
    raise RequestFailed(f"POST /tokenize was answered with HTTP {reply.status}: {said}")
