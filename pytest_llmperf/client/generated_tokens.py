"""Have answers generated, and keep their tokens: the ids of prompt and answer, and the log probability of each token.

Uses vLLM's ``return_token_ids``: the text of an answer, cut into tokens again, need not give the same tokens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.client.likelihood import read_replies, why_unread
from pytest_llmperf.client.reply import Reply
from pytest_llmperf.serving.server import Server

NO_IDS = "the server returned no token ids (return_token_ids), which fidelity needs"


@dataclass(frozen=True)
class GeneratedTokens:
    """One answer. ``log_probabilities`` are those of its tokens while they were decoded; empty if not told.

    ``error`` is empty if the server answered.
    """

    prompt: tuple[int, ...] = ()
    answer: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    text: str = ""
    error: str = ""


def generated_tokens(
    server: Server, bodies: Sequence[Mapping[str, Any]], *, concurrency: int = 64, timeout_s: float = 600.0
) -> list[GeneratedTokens]:
    """One answer to each body, in order. A request that fails raises nothing: see ``error``.

    ``model`` is filled in, and so are the fields that ask for ids and log probabilities.
    """
    asked = [
        {**body, "return_token_ids": True}
        | ({"logprobs": True, "top_logprobs": 0} if "messages" in body else {"logprobs": 0})
        for body in bodies
    ]
    return read_replies(server, asked, _read, concurrency=concurrency, timeout_s=timeout_s)


def _read(reply: Reply) -> GeneratedTokens:
    if error := why_unread(reply):
        return GeneratedTokens(error=error)
    try:
        content = json.loads(reply.body)
        choice = content["choices"][0]
        # Chats have the prompt's ids beside the choices, completions within them.
        prompt = _ids(content.get("prompt_token_ids") or choice.get("prompt_token_ids"))
        answer = _ids(choice["token_ids"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return GeneratedTokens(error=NO_IDS)
    if not prompt:
        return GeneratedTokens(error=NO_IDS)
    text = choice.get("text") or (choice.get("message") or {}).get("content") or ""
    return GeneratedTokens(prompt, answer, _log_probabilities(choice, len(answer)), str(text))


def _ids(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(token) is int and token >= 0 for token in value):
        raise TypeError("no token ids")
    return tuple(value)


def _log_probabilities(choice: Mapping[str, Any], tokens: int) -> tuple[float, ...]:
    """Those of all tokens, or none."""
    told = choice.get("logprobs") or {}
    try:
        values = (
            [float(entry["logprob"]) for entry in told["content"]]
            if "content" in told
            else [float(value) for value in told["token_logprobs"]]
        )
    except (LookupError, TypeError, ValueError):
        return ()
    good = len(values) == tokens and all(math.isfinite(value) and value <= 0.0 for value in values)
    return tuple(values) if good else ()
