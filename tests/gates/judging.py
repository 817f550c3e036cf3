"""Verdicts of the gates in one call: a metric, data, a bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_llmperf.gates.decision import ALPHA
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.quantile import QuantileGate
from pytest_llmperf.gates.ratio import RatioGate, Rounds
from pytest_llmperf.gates.scalar import ScalarGate, ScalarRatioGate
from pytest_llmperf.gates.verdict import Verdict


def at_least(metric: str, outcomes: Outcomes, floor: float, *, alpha: float = ALPHA, **more: Any) -> Verdict:
    return ProportionGate(
        metric=metric, candidate=outcomes, bound=floor, at_least=True, spent=(alpha,), **more
    ).judge()


def rate_below(
    metric: str, outcomes: Outcomes, limit: float, *, alpha: float = ALPHA, **more: Any
) -> Verdict:
    return ProportionGate(
        metric=metric, candidate=outcomes, bound=limit, at_least=False, noun="answer", spent=(alpha,), **more
    ).judge()


def not_worse(
    metric: str,
    candidate: Outcomes,
    baseline: Outcomes,
    margin: float,
    *,
    lower_is_better: bool = False,
    **more: Any,
) -> Verdict:
    gate = PairedGate(
        metric=metric,
        candidate=candidate,
        baseline=baseline,
        bound=margin,
        at_least=not lower_is_better,
        **more,
    )
    return gate.judge()


def within(
    metric: str,
    samples: Sequence[float | None],
    budget: float,
    *,
    q: float = 0.95,
    unit: str = "s",
    at_least: bool = False,
    **more: Any,
) -> Verdict:
    gate = QuantileGate(
        metric=metric, samples=samples, bound=budget, q=q, unit=unit, at_least=at_least, **more
    )
    return gate.judge()


def ratio_within(
    metric: str, rounds: Rounds, budget: float, *, unit: str = "s", at_least: bool = False
) -> Verdict:
    return ratio_over_starts(metric, [rounds], budget, unit=unit, at_least=at_least)


def ratio_over_starts(
    metric: str, starts: Sequence[Rounds], budget: float, *, unit: str = "s", at_least: bool = False
) -> Verdict:
    return RatioGate(metric=metric, starts=starts, bound=budget, unit=unit, at_least=at_least).judge()


def at_most_value(metric: str, value: float | None, budget: float, *, unit: str) -> Verdict:
    return ScalarGate(metric=metric, value=value, bound=budget, unit=unit, at_least=False).judge()


def at_least_value(metric: str, value: float | None, floor: float, *, unit: str) -> Verdict:
    return ScalarGate(metric=metric, value=value, bound=floor, unit=unit, at_least=True).judge()


def value_ratio(
    metric: str, candidate: float | None, baseline: float | None, budget: float, *, unit: str
) -> Verdict:
    return ScalarRatioGate(
        metric=metric, candidate=candidate, baseline=baseline, bound=budget, unit=unit, at_least=False
    ).judge()
