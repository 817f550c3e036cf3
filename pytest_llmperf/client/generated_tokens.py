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
TOP = 20
"""Likeliest tokens that vLLM tells at each place (``--max-logprobs``)."""


@dataclass(frozen=True)
class GeneratedTokens:
    """One answer. ``log_probabilities`` are those of its tokens while they were decoded; empty if not told.

    ``texts`` are the tokens, and ``top`` the likeliest tokens with their log probabilities at each place; empty unless
    :data:`TOP` were asked for. ``cached`` prompt tokens were found in the prefix cache; None if not told. ``error`` is
    empty if the server answered.
    """

    prompt: tuple[int, ...] = ()
    answer: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    text: str = ""
    error: str = ""
    texts: tuple[str, ...] = ()
    top: tuple[Mapping[str, float], ...] = ()
    cached: int | None = None


def generated_tokens(
    server: Server,
    bodies: Sequence[Mapping[str, Any]],
    *,
    concurrency: int = 64,
    timeout_s: float = 600.0,
    top: int = 0,
) -> list[GeneratedTokens]:
    """One answer to each body, in order. A request that fails raises nothing: see ``error``.

    ``model`` is filled in, and so are the fields that ask for ids and log probabilities. ``top``: how many of the
    likeliest tokens are asked for at each place.
    """
    asked = [
        {**body, "return_token_ids": True}
        | ({"logprobs": True, "top_logprobs": top} if "messages" in body else {"logprobs": top})
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
    texts, top = _likeliest(choice, len(answer))
    return GeneratedTokens(
        prompt,
        answer,
        _log_probabilities(choice, len(answer)),
        str(text),
        texts=texts,
        top=top,
        cached=_cached(content),
    )


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


def _likeliest(
    choice: Mapping[str, Any], tokens: int
) -> tuple[tuple[str, ...], tuple[Mapping[str, float], ...]]:
    """The texts of all tokens and the likeliest tokens at each place; two empty tuples if any is missing."""
    told = choice.get("logprobs") or {}
    try:
        if "content" in told:
            texts = tuple(_sound(entry["token"]) for entry in told["content"])
            top: tuple[Mapping[str, float], ...] = tuple(
                {_sound(other["token"]): float(other["logprob"]) for other in entry["top_logprobs"]}
                for entry in told["content"]
            )
        else:
            texts = tuple(_sound(text) for text in told["tokens"])
            top = tuple(
                {_sound(text): float(value) for text, value in place.items()}
                for place in told["top_logprobs"]
            )
    except (LookupError, TypeError, ValueError, AttributeError):
        return (), ()
    return (texts, top) if len(texts) == len(top) == tokens and all(top) else ((), ())


def _sound(text: str) -> str:
    """``text`` without halves of surrogate pairs, which JSON can hold and no file."""
    return text.encode("utf-8", "replace").decode()


def _cached(content: Mapping[str, Any]) -> int | None:
    details = (content.get("usage") or {}).get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens")
    return cached if type(cached) is int and cached >= 0 else None
