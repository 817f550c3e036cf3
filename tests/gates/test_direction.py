"""A comparison against the sense of its budget, or with the two models in each other's place, judges nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmperf.config.bounds import Bound
from pytest_llmperf.gates.base import SidedJudge, strict
from pytest_llmperf.gates.bound import points
from pytest_llmperf.gates.mean_ratio import Perplexity
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.gates.quantile import Series
from pytest_llmperf.gates.scalar import Scalar
from pytest_llmperf.gates.verdict import Status

CANDIDATE, BASELINE = SidedJudge(strict, "candidate"), SidedJudge(strict, "baseline")
RIGHT = {str(n): n % 10 != 0 for n in range(400)}
TEXTS = {str(n): (100.0, -100.0 - n % 7, -1.0) for n in range(40)}


def floor(value: float, unit: str) -> Bound:
    return Bound(value, unit, "budgets.toml [x] floor", "at least")


def limit(value: float, unit: str) -> Bound:
    return Bound(value, unit, "budgets.toml [x] limit", "at most")


TURNED: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "share": (
        lambda: Share("accuracy", RIGHT) <= floor(0.5, "share"),
        lambda: Share("accuracy", RIGHT) >= floor(0.5, "share"),
    ),
    "bound first": (
        lambda: floor(0.5, "share") >= Share("accuracy", RIGHT),
        lambda: floor(0.5, "share") <= Share("accuracy", RIGHT),
    ),
    "loops": (
        lambda: Share("loops", RIGHT) >= limit(0.99, "share"),
        lambda: Share("loops", RIGHT) <= limit(0.99, "share"),
    ),
    "scalar": (
        lambda: Scalar("peak", 5.0, "bytes") >= limit(9.0, "bytes"),
        lambda: Scalar("peak", 5.0, "bytes") <= limit(9.0, "bytes"),
    ),
    "series": (
        lambda: Series("TTFT", [0.1] * 100, "s").p95 >= limit(1.0, "s"),
        lambda: Series("TTFT", [0.1] * 100, "s").p95 <= limit(1.0, "s"),
    ),
    "factor": (
        lambda: Scalar("peak", 5.0, "bytes") >= Scalar("peak", 5.0, "bytes") * limit(1.1, "ratio"),
        lambda: Scalar("peak", 5.0, "bytes") <= Scalar("peak", 5.0, "bytes") * limit(1.1, "ratio"),
    ),
}


@pytest.mark.parametrize("kind", TURNED)
def test_a_comparison_against_the_sense_of_its_budget_is_invalid(kind: str) -> None:
    turned, right = TURNED[kind]
    verdict = turned().verdict
    assert verdict.status is Status.INVALID
    assert "the wrong way round" in verdict.why
    assert "budgets.toml" in verdict.why
    assert right().verdict.status is Status.PASS


def test_a_plain_number_has_no_direction() -> None:
    assert (Share("accuracy", RIGHT) <= 0.99).verdict.status is Status.PASS
    assert (Share("accuracy", RIGHT) >= 0.5).verdict.status is Status.PASS


SWAPPED: dict[str, Callable[[Any, Any], Any]] = {
    "margin": lambda a, b: Share("accuracy", RIGHT, judge=a) >= Share("accuracy", RIGHT, judge=b) - points(5),
    "margin, shifted first": lambda a, b: (
        Share("accuracy", RIGHT, judge=b) - points(5) <= Share("accuracy", RIGHT, judge=a)
    ),
    "loops": lambda a, b: Share("loops", RIGHT, judge=a) <= Share("loops", RIGHT, judge=b) + points(5),
    "scalar": lambda a, b: (
        Scalar("peak", 5.0, "bytes", judge=a) <= Scalar("peak", 5.0, "bytes", judge=b) * 1.1
    ),
    "perplexity": lambda a, b: Perplexity("p", TEXTS, judge=a) <= Perplexity("p", TEXTS, judge=b) * 1.05,
}


@pytest.mark.parametrize("kind", SWAPPED)
def test_the_baseline_in_the_candidates_place_is_invalid(kind: str) -> None:
    compare = SWAPPED[kind]
    verdict = compare(BASELINE, CANDIDATE).verdict
    assert verdict.status is Status.INVALID
    assert "the baseline stands in the candidate's place" in verdict.why
    assert compare(CANDIDATE, BASELINE).verdict.status is Status.PASS


@pytest.mark.parametrize("kind", SWAPPED)
def test_one_model_in_two_ways_is_compared_in_any_order(kind: str) -> None:
    for judge in (CANDIDATE, BASELINE, strict):
        assert SWAPPED[kind](judge, judge).verdict.status is Status.PASS
