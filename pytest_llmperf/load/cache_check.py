"""Detects a warm prefix cache by the server's own counters, before and after a load."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_llmperf.client import server_metrics
from pytest_llmperf.client.reply import Reply
from pytest_llmperf.client.server_metrics import ServerMetrics

WARM_ABOVE = 0.02
"""Share of prompt tokens found in the cache above which a run is not the run that was asked for. Unique
prompts have none but the chat template's own tokens, and with vLLM's ``cache_salt`` not even those."""
TEMPLATE_TOKENS = 24
"""Tokens that the chat template puts before a prompt (Qwen's, with its own system prompt), where the server does not
tell how many: alike for all requests, and by themselves no warm cache where ``usage`` tells of hits. Of a short prompt
three eighths at most."""

OPENING_TOKENS = 2
"""Tokens that all bare prompts share: one that begins every text, perhaps another before a language."""


@dataclass(frozen=True)
class CacheUse:
    """Prompt tokens looked up in, and found in, the prefix cache; since the server began, or within a run."""

    queries: float
    hits: float

    @property
    def hit_share(self) -> float:
        """0 when nothing was looked up (prefix caching is off)."""
        return self.hits / self.queries if self.queries > 0 else 0.0

    @property
    def warm(self) -> bool:
        return self.hit_share > WARM_ABOVE

    def since(self, before: CacheUse) -> CacheUse:
        """The increase since ``before``; counters that went back (the server was restarted) begin at zero."""
        if self.queries < before.queries or self.hits < before.hits:
            return self
        return CacheUse(self.queries - before.queries, self.hits - before.hits)


def share_by_usage(
    counts: Iterable[tuple[int | None, int | None]], *, chat: bool = True, template_tokens: int | None = None
) -> float:
    """The share of prompt tokens that were cache hits by ``usage``, without those that all prompts have in common.

    Args:
        counts: (cached, all) prompt tokens of each request; None where the server does not tell them.
        chat: False: bare prompts, which have their opening token alone in common.
        template_tokens: tokens that the chat template adds to a message; None: unknown, ``TEMPLATE_TOKENS``.

    Returns:
        A share of 0 to 1; 0 where the server tells nothing.
    """
    hits = total = 0.0
    for cached, prompt in counts:
        if prompt:
            if not chat:
                common = float(OPENING_TOKENS)
            elif template_tokens is None:
                common = min(TEMPLATE_TOKENS, 0.375 * prompt)
            else:
                common = template_tokens
            total += prompt
            hits += max(0.0, (cached or 0) - common)
    return hits / total if total else 0.0


def parse(metrics: str) -> CacheUse | None:
    """From the text of vLLM's ``/metrics``, all engines together; None if it has no such counters."""
    return _use(server_metrics.parse(metrics))


def of_reply(reply: Reply) -> CacheUse | None:
    """From an answer of ``/metrics``; None if it has no such counters."""
    return _use(server_metrics.parse_reply(reply))


def _use(told: ServerMetrics | None) -> CacheUse | None:
    if told is None or told.cache_queries is None or told.cache_hits is None:
        return None
    return CacheUse(told.cache_queries, told.cache_hits)
