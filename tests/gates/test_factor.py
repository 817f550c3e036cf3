"""What perplexity and costs have in common: a ratio on the log scale, and how much data would decide it."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from pytest_llmperf.gates.mean_ratio import MeanRatioGate, PerCorrectGate, PerplexityGate
from pytest_llmperf.gates.verdict import Status


def undecided(kind: type[MeanRatioGate]) -> MeanRatioGate:
    """A hundred items, and a bound a little above what they show."""
    draw = random.Random(7)
    spread = [math.exp(draw.gauss(0.0, 0.3)) for _ in range(100)]
    if kind is PerCorrectGate:
        data: dict[str, Any] = {f"i{n}": (100.0 * one, 1.0) for n, one in enumerate(spread)}
        return PerCorrectGate(metric="cost", unit="tokens", bound=103.0 * sum(spread) / 100, candidate=data)
    data = {f"i{n}": (50, -50.0 * one, -one) for n, one in enumerate(spread)}
    return PerplexityGate(metric="ppl", bound=math.exp(sum(spread) / 100) * 1.03, candidate=data)


def times(case: MeanRatioGate, count: int) -> MeanRatioGate:
    """As if further items were like these."""
    data = {f"{name}/{n}": one for name, one in case.candidate.items() for n in range(count)}
    return replace(case, candidate=data)


@pytest.mark.parametrize("kind", [PerCorrectGate, PerplexityGate])
def test_as_many_items_as_a_verdict_asks_for_decide_and_half_of_them_do_not(
    kind: type[MeanRatioGate],
) -> None:
    case = undecided(kind)
    verdict = case.judge()
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.n_needed is not None
    enough = math.ceil(1.05 * verdict.n_needed / verdict.n)
    assert times(case, enough).judge().status is Status.PASS
    assert times(case, enough // 2).judge().status is Status.INCONCLUSIVE
