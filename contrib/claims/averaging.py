"""Resolution of the average of several runs, when two shares are to be told apart.

A run asks n items once. What answers to *one* item differ by averages out over runs; what the items differ by, of
which any n are a choice, does not (Miller 2024, "Adding error bars to evals", section 3). Of a share p of n items the
variance of the average of k runs lies between p(1−p)/(nk), where all of it is within items, and p(1−p)/n, where none
is: which of it only several answers to the same items tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from contrib.claims.claim import Claim
from contrib.claims.measurement import Measurement
from pytest_llmperf.stats.binomial import z_of
from pytest_llmperf.stats.clustered import clustered_mean

_Z = z_of(0.975)


def without_answers(claim: Claim) -> Measurement:
    """The 95 % margin of the difference between the claim's two figures, between its least and its most."""
    assert claim.figures is not None
    items, runs = claim.protocol.items or 1, claim.protocol.samples
    one_run = _Z * math.sqrt(sum(share * (1.0 - share) for share in claim.figures) / items)
    least = one_run / math.sqrt(runs)
    what = f"margin of the difference of two averages of {runs} runs of {items:,} items"
    return Measurement((least + one_run) / 2.0, least, one_run, 0, what, least_n=runs, computed=True)


def of_answers(claim: Claim, answers: Sequence[Mapping[str, Any]]) -> Measurement | None:
    """The same from a model's answers: one number. None for too few of them.

    Both models are taken to vary as the claim's does; at least as many answers to each item as the claim has runs.
    """
    wanted = (claim.model.name, claim.key, claim.variant)
    by_item: dict[str, dict[int, float]] = {}
    for one in answers:
        if (one["row"], one["task"], one["variant"]) == wanted and one["outcome"] != "infra":
            by_item.setdefault(one["item"], {})[one["sample"]] = float(one["outcome"] == "correct")
    runs = claim.protocol.samples
    whole = [list(item.values())[:runs] for item in by_item.values() if len(item) >= runs]
    if len(whole) < 2:
        return None
    variance = clustered_mean(whole).variance * len(whole) / (claim.protocol.items or len(whole))
    margin = _Z * math.sqrt(2.0 * variance)
    what = (
        f"margin of the difference of two such averages, from {runs} answers to each of {len(whole):,} items"
    )
    return Measurement(margin, margin, margin, runs, what, least_n=runs)
