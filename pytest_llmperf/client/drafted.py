"""Counts of speculative decoding: draft tokens proposed and accepted, by request or by a whole load.

A draft is one verification step that had draft tokens to check. The acceptance length, 1 + accepted / drafts, is the
mean number of tokens that such a step yields: the accepted ones, and one that the model itself adds (vLLM,
docs/features/speculative_decoding/acceptance_metrics.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

from pytest_llmperf.json_values import Json

_MOST = 2**53


class Drafted(NamedTuple):
    """Counts of one request, or of several."""

    drafts: int
    """Verification steps that had at least one draft token."""
    tokens: int
    """Draft tokens that were proposed."""
    accepted: int
    """Draft tokens that the model accepted."""

    @classmethod
    def total(cls, each: Iterable[Drafted]) -> Self:
        """The sum over several requests; zeros for none."""
        columns = list(zip(*each, strict=True)) or [(0,)] * 3
        return cls(*map(sum, columns))

    @classmethod
    def checked(cls, drafts: float, tokens: float, accepted: float) -> Self | None:
        """The counts, or None where they contradict each other.

        A step proposes at least one token, and no more tokens are accepted than proposed. All must be whole numbers.
        """
        counts = (drafts, tokens, accepted)
        # NaN and infinity fail the comparison.
        if not all(0 <= count <= _MOST and count == int(count) for count in counts):
            return None
        if accepted > tokens or drafts > tokens or (tokens and not drafts):
            return None
        return cls(int(drafts), int(tokens), int(accepted))


def drafted_of(chunk: Mapping[str, Json]) -> Drafted | None:
    """Read the counts of one request from a chunk or an answer of vLLM; None where it has none that can be true.

    vLLM 0.32 and later put them beside the final ``usage`` (``--per-request-spec-decode-metrics summary``)::

        "metrics": {"speculative_decoding": {"num_spec_steps": 9, "num_draft_tokens": 36,
                    "num_accepted_draft_tokens": 20, "acceptance_histogram": [...], ...}}
    """
    metrics = chunk.get("metrics")
    told = metrics.get("speculative_decoding") if isinstance(metrics, dict) else None
    if not isinstance(told, dict):
        return None
    counts = [told.get(name) for name in ("num_spec_steps", "num_draft_tokens", "num_accepted_draft_tokens")]
    numbers = [count for count in counts if isinstance(count, int | float) and not isinstance(count, bool)]
    return Drafted.checked(*numbers) if len(numbers) == len(counts) else None
