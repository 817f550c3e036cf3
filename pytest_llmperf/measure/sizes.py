"""How much is measured: enough for the gates to be decided, no more than the time allows."""

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
    documents: int
    """Texts whose perplexity is measured."""
    concurrency: int
    """Requests in flight while answers are collected (not while anything is timed), at first."""
    most_in_flight: int
    """Requests in flight at most, however many more the server could take."""
    rounds: int
    """Interleaved rounds of each side.

    Many and short: what disturbs a machine lasts for seconds and hits a round, not a side; and since the samples of
    one round are worth as little as one when it does, a p95 needs about as many rounds as it needs samples, 59.
    """
    input_tokens: int
    output_tokens: int
    """Many enough that an answer outlasts the moments for which a busy machine keeps a process waiting."""

    def requests_per_round(self, concurrency: int) -> int:
        """One wave of a full house; of single requests a few, for one alone is over too soon to time a token by."""
        return max(3, concurrency)


EMBEDDED = Sizes(
    items=1500,
    variant_items=120,
    quality_items=240,
    documents=20,
    concurrency=64,
    most_in_flight=128,
    rounds=64,
    input_tokens=64,
    output_tokens=32,
)
GPU = Sizes(
    items=1319,
    variant_items=300,
    quality_items=400,
    documents=300,
    concurrency=64,
    most_in_flight=512,
    rounds=64,
    input_tokens=512,
    output_tokens=128,
)
