"""Was the prefix cache warm? By the server's own counters, before and after."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_llmperf.client.pool import Pool

WARM_ABOVE = 0.02
"""Share of prompt tokens found in the cache above which a run is not the run that was asked for. Unique
prompts have none but the chat template's own tokens, and with vLLM's ``cache_salt`` not even those."""
TEMPLATE_TOKENS = 24
"""Tokens that the chat template puts before a prompt (Qwen's, with its own system prompt): alike for all requests, and
by themselves no warm cache where ``usage`` tells of hits. Of a short prompt three eighths at most."""
_COUNTER = re.compile(
    r"^vllm:(?:gpu_)?prefix_cache_(queries|hits)(?:_total)?(?:\{[^}]*\})?\s+([0-9.eE+-]+)", re.MULTILINE
)


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
        """What was added; counters that went back (the server was restarted) begin at zero."""
        if self.queries < before.queries or self.hits < before.hits:
            return self
        return CacheUse(self.queries - before.queries, self.hits - before.hits)


def share_by_usage(counts: Iterable[tuple[int | None, int | None]]) -> float:
    """Share of the prompt tokens that were hits by ``usage``, from (cached, all) tokens of each request, beyond what
    the chat template explains; 0 where it tells nothing."""
    hits = total = 0.0
    for cached, prompt in counts:
        if prompt:
            total += prompt
            hits += max(0.0, (cached or 0) - min(TEMPLATE_TOKENS, 0.375 * prompt))
    return hits / total if total else 0.0


def parse(metrics: str) -> CacheUse | None:
    """From the text of vLLM's ``/metrics``, all engines together; None if it has no such counters."""
    sums = {"queries": 0.0, "hits": 0.0}
    seen = set()
    for name, value in _COUNTER.findall(metrics):
        sums[name] += float(value)
        seen.add(name)
    return CacheUse(**sums) if seen == {"queries", "hits"} else None


async def read(pool: Pool) -> CacheUse | None:
    """The counters now; None if the server has none."""
    reply = await pool.fetch("GET", "/metrics", timeout_s=30)
    return parse(reply.text()) if reply.status == 200 else None
