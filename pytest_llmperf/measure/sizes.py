"""How much is measured: enough for the budgets of each profile to be decided, no more than the time allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Items, rounds and requests of one run."""

    items: int
    """Items of the accuracy task, for candidate and baseline."""
    variant_items: int
    """Items for each way of asking that differs from the row's own rules."""
    quality_items: int
    """Summaries, and conversations of each length."""
    concurrency: int
    """Requests in flight while answers are collected (not while anything is timed)."""
    rounds: int
    """Interleaved rounds of each side; the signed-rank interval needs at least 5."""
    input_tokens: int
    output_tokens: int

    def requests_per_round(self, concurrency: int) -> int:
        """Two waves of a full house, and at one stream enough that ten rounds give the 59 samples that a p95 needs."""
        return max(6, 2 * concurrency)


# Two shared cores: whole run under four minutes. The rounds are many and short because what disturbs a shared
# machine lasts for seconds: it then hits a round, not a side.
EMBEDDED = Sizes(
    items=400,
    variant_items=120,
    quality_items=60,
    concurrency=64,
    rounds=10,
    input_tokens=64,
    output_tokens=24,
)
GPU = Sizes(
    items=1319,
    variant_items=300,
    quality_items=200,
    concurrency=64,
    rounds=20,
    input_tokens=512,
    output_tokens=128,
)
