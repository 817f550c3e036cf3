"""Have answers generated, and keep their tokens: the ids of prompt and answer, and the log probability of each token.

Uses vLLM's ``return_token_ids``: the text of an answer, cut into tokens again, need not give the same tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.client.likelihood import read_replies, why_unread
from pytest_llmperf.client.reply import Reply
from pytest_llmperf.json_values import Json, JsonObject, finite, list_of, object_of, parse_json
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
    bodies: Sequence[JsonObject],
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
    return read_replies(
        server, asked, lambda reply: _read(reply, top > 0), concurrency=concurrency, timeout_s=timeout_s
    )


def _read(reply: Reply, likeliest: bool) -> GeneratedTokens:
    if error := why_unread(reply):
        return GeneratedTokens(error=error)
    content = object_of(parse_json(bytes(reply.body)))
    choice = object_of(next(iter(list_of(content.get("choices"))), None))
    # Chats have the prompt's ids beside the choices, completions within them.
    prompt = _ids(content.get("prompt_token_ids") or choice.get("prompt_token_ids"))
    answer = _ids(choice.get("token_ids"))
    if not prompt or answer is None:
        return GeneratedTokens(error=NO_IDS)
    text = choice.get("text") or object_of(choice.get("message")).get("content") or ""
    texts, top = _likeliest(choice, len(answer)) if likeliest else ((), ())
    return GeneratedTokens(
        prompt,
        answer,
        _log_probabilities(choice, len(answer)),
        str(text),
        texts=texts,
        top=top,
        cached=_cached(content),
    )


def _ids(value: Json) -> tuple[int, ...] | None:
    ids = tuple(token for token in list_of(value) if type(token) is int and token >= 0)
    return ids if isinstance(value, list) and len(ids) == len(value) else None


def _log_probabilities(choice: JsonObject, tokens: int) -> tuple[float, ...]:
    """The log probabilities of all tokens; empty if one is missing or impossible."""
    told = object_of(choice.get("logprobs"))
    if "content" in told:
        given: Sequence[Json] = [object_of(entry).get("logprob") for entry in list_of(told["content"])]
    else:
        given = list_of(told.get("token_logprobs"))
    values = tuple(value for each in given if (value := finite(each)) is not None and value <= 0.0)
    return values if len(values) == len(given) == tokens else ()


def _likeliest(choice: JsonObject, tokens: int) -> tuple[tuple[str, ...], tuple[Mapping[str, float], ...]]:
    """The texts of all tokens and the likeliest tokens at each place; two empty tuples if any is missing."""
    told = object_of(choice.get("logprobs"))
    if "content" in told:
        entries = [object_of(entry) for entry in list_of(told["content"])]
        texts: Sequence[Json] = [entry.get("token") for entry in entries]
        others = ([object_of(other) for other in list_of(entry.get("top_logprobs"))] for entry in entries)
        top = [[(other.get("token"), other.get("logprob")) for other in place] for place in others]
    else:
        texts = list_of(told.get("tokens"))
        top = [[*object_of(place).items()] for place in list_of(told.get("top_logprobs"))]
    known = tuple(_sound(text) for text in texts if isinstance(text, str))
    places = tuple(
        {
            _sound(text): number
            for text, value in place
            if isinstance(text, str) and (number := finite(value)) is not None
        }
        for place in top
    )
    return (known, places) if len(known) == len(places) == tokens and all(places) else ((), ())


def _sound(text: str) -> str:
    """``text`` without halves of surrogate pairs, which JSON can hold and no file."""
    return text.encode("utf-8", "replace").decode()


def _cached(content: JsonObject) -> int | None:
    details = object_of(object_of(content.get("usage")).get("prompt_tokens_details"))
    cached = details.get("cached_tokens")
    return cached if type(cached) is int and cached >= 0 else None
