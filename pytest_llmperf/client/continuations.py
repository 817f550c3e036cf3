"""Log probabilities of given texts after their contexts, both as token ids.

A server tells them by vLLM's ``prompt_logprobs``, or by ``echo`` with ``logprobs`` as OpenAI's completions had it. Both
name the most likely token beside each. Ranks alone would not do, since vLLM counts a tie at the top as rank 2.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_llmperf.client.likelihood import read_replies, why_unread
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.serving.server import Server

Way = Literal["prompt_logprobs", "echo"]
_FIELDS: Mapping[Way, JsonObject] = {
    "prompt_logprobs": {"prompt_logprobs": 1},
    "echo": {"echo": True, "logprobs": 1},
}
_Entry = tuple[float, bool]
"""Log probability of a token, and whether no other was more likely."""


@dataclass(frozen=True)
class ContinuationTokens:
    """The token ids of a context and of the text after it; neither is empty."""

    context: tuple[int, ...]
    text: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        return self.context + self.text


@dataclass(frozen=True)
class ContinuationScore:
    """The log probability of a text (natural, summed over its tokens), and whether each was the most likely token."""

    log_probability: float
    is_greedy: bool


@dataclass(frozen=True)
class ScoreReply:
    """The score of one text, or the error that left it without."""

    score: ContinuationScore | None
    error: str = ""
    is_broken: bool = False
    """True if a dying server explains the error."""


def find_way(server: Server, tokens: ContinuationTokens) -> tuple[Way | None, str]:
    """The way by which the server tells log probabilities, by asking for those of ``tokens``; None and the reason."""
    if server.capabilities.prompt_logprobs is False:
        return None, "its engine has no prompt_logprobs"
    errors = []
    for way in _FIELDS:
        [reply] = score_continuations(server, [tokens], way)
        if reply.score is not None:
            return way, ""
        if reply.is_broken:
            return None, reply.error
        errors.append(f"{way}: {reply.error}")
    return None, "; ".join(errors)


def score_continuations(
    server: Server,
    continuations: Sequence[ContinuationTokens],
    way: Way,
    *,
    concurrency: int = 16,
    on_reply: Callable[[], None] = lambda: None,
    timeout_s: float = 600.0,
) -> list[ScoreReply]:
    """One score a text, in order. A request that fails raises nothing: see ``error``."""
    bodies: list[JsonObject] = [
        {"prompt": list(tokens.ids), "max_tokens": 1, "temperature": 0.0, **_FIELDS[way]}
        for tokens in continuations
    ]

    def read(reply: Reply) -> Reply:
        on_reply()
        return reply

    replies = read_replies(server, bodies, read, concurrency=concurrency, timeout_s=timeout_s)
    return [_read(reply, tokens, way) for reply, tokens in zip(replies, continuations, strict=True)]


def _read(reply: Reply, tokens: ContinuationTokens, way: Way) -> ScoreReply:
    if error := why_unread(reply):
        return ScoreReply(None, error, reply.ending is not Ending.COMPLETE or reply.status >= 500)
    try:
        choice = json.loads(reply.body)["choices"][0]
        found = _told(choice, tokens.ids) if way == "prompt_logprobs" else _echoed(choice, len(tokens.ids))
    except (ValueError, LookupError, TypeError, AttributeError):
        found = None
    if found is None:
        return ScoreReply(None, f"the server returned no log probability of each of {len(tokens.ids)} tokens")
    entries = found[len(tokens.context) :]
    kept = [entry for entry in entries if entry is not None]
    if len(kept) < len(entries):
        missing = next(n for n, entry in enumerate(entries) if entry is None)
        return ScoreReply(None, f"token {missing + 1} of {len(entries)} of the text has no log probability")
    # As lm-eval sums, so that ties are the same ties.
    score = ContinuationScore(sum(value for value, _ in kept), all(top for _, top in kept))
    return ScoreReply(score)


def _told(choice: Mapping[str, Any], ids: Sequence[int]) -> list[_Entry | None] | None:
    """By token of the prompt; None for a reply that tells of another number of tokens."""
    entries = choice["prompt_logprobs"]
    if not isinstance(entries, list) or len(entries) != len(ids):
        return None
    # Where it names others at all, it named none because the prompt's own was the most likely.
    names = any(isinstance(entry, dict) and len(entry) > 1 for entry in entries)
    return [_entry_of(entry, str(token), names) for entry, token in zip(entries, ids, strict=True)]


def _entry_of(entry: Any, token: str, names: bool) -> _Entry | None:
    """None also for a token alone, if the server names no others and does not give it rank 1."""
    if not isinstance(entry, dict) or not isinstance(own := entry.get(token), dict):
        return None
    values = {name: _number(other.get("logprob")) for name, other in entry.items()}
    value, others = values.pop(token), [other for other in values.values() if other is not None]
    if value is None or len(others) < len(values) or not (names or own.get("rank") == 1):
        return None
    return value, value >= max([value, *others])


def _echoed(choice: Mapping[str, Any], count: int) -> list[_Entry | None] | None:
    """By token of the prompt, behind which one more may have been generated; None for another number of tokens."""
    values, tops = choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"]
    if len(values) != len(tops) or len(values) not in (count, count + 1):
        return None
    return [_echoed_entry(value, top) for value, top in zip(values[:count], tops[:count], strict=True)]


def _echoed_entry(value: Any, top: Any) -> _Entry | None:
    own = _number(value)
    others = [_number(other) for other in top.values()] if isinstance(top, dict) else []
    known = [other for other in others if other is not None]
    if own is None or not known or len(known) < len(others):
        return None
    return own, own >= max(known)


def _number(value: Any) -> float | None:
    """A log probability; None for what is none: NaN, infinite, above 0, no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value <= 0.0 else None
