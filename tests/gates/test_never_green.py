"""Nothing that was not measured is ever green: every gate against every kind of missing data."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmperf.config.bounds import Incomparable
from pytest_llmperf.gates.bound import points
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.gates.quantile import Series
from pytest_llmperf.gates.ratio import Ratio
from pytest_llmperf.gates.scalar import Scalar
from pytest_llmperf.gates.verdict import Status, Verdict
from tests.gates.judging import (
    at_least,
    at_least_value,
    at_most_value,
    not_worse,
    rate_below,
    ratio_within,
    value_ratio,
    within,
)

GOOD = {f"i{k}": True for k in range(200)}

# Bounds so generous that any data at all would pass.
SHARE_GATES: dict[str, Callable[[Any], Verdict]] = {
    "at_least": lambda data: at_least("accuracy", data, 0.01),
    "rate_below": lambda data: rate_below("loops", data, 0.99),
    "not_worse, candidate": lambda data: not_worse("accuracy", data, GOOD, 0.99),
    "not_worse, baseline": lambda data: not_worse("accuracy", GOOD, data, 0.99),
    "not_worse, both": lambda data: not_worse("accuracy", data, data, 0.99),
    "not_higher, both": lambda data: not_worse("loops", data, data, 0.99, lower_is_better=True),
}
MISSING_OUTCOMES: dict[str, object] = {
    "no items": {},
    "all errors": {f"i{k}": None for k in range(200)},
    "all samples are errors": {f"i{k}": [None] * 4 for k in range(200)},
    "items without samples": {f"i{k}": [] for k in range(200)},
    "one in ten an error": {f"i{k}": None if k % 10 == 0 else True for k in range(200)},
    "a NaN": {**GOOD, "i0": math.nan},
    "a score": {**GOOD, "i0": 0.7},
    "a word": {**GOOD, "i0": "yes"},
    "a NaN among samples": {f"i{k}": [True, math.nan] for k in range(200)},
}
SAMPLE_GATES: dict[str, Callable[[Any], Verdict]] = {
    "within p50": lambda data: within("ttft", data, 1e9, q=0.5),
    "within p95": lambda data: within("ttft", data, 1e9),
    "within p99": lambda data: within("ttft", data, 1e9, q=0.99),
    "floor": lambda data: within("throughput", data, 0.0, q=0.5, at_least=True),
    "ratio, candidate": lambda data: ratio_within("tpot", [(value, 1.0) for value in data], 1e9),
    "ratio, baseline": lambda data: ratio_within("tpot", [(1.0, value) for value in data], 1e9),
    "ratio, both": lambda data: ratio_within("tpot", [(value, value) for value in data], 1e-9, at_least=True),
}
MISSING_SAMPLES: dict[str, list[float | None]] = {
    "no samples": [],
    "all errors": [None] * 400,
    "three in ten errors": [None if k % 10 < 3 else 0.1 for k in range(400)],
    "a NaN": [*[0.1] * 399, math.nan],
    "an infinity": [*[0.1] * 399, math.inf],
    "a negative time": [*[0.1] * 399, -0.1],
    "all zero": [0.0] * 400,
    "too few": [0.1] * 4,
}
SCALAR_GATES: dict[str, Callable[[Any], Verdict]] = {
    "at_most_value": lambda value: at_most_value("peak memory", value, 1e18, unit="bytes"),
    "at_least_value": lambda value: at_least_value("free memory", value, -1e18, unit="bytes"),
    "value_ratio, candidate": lambda value: value_ratio("peak memory", value, 1.0, 1e18, unit="bytes"),
    "value_ratio, baseline": lambda value: value_ratio("peak memory", 1.0, value, 1e18, unit="bytes"),
}


def check(verdict: Verdict) -> None:
    assert verdict.status is Status.INVALID
    assert len(verdict.why) > 20
    assert "nan" not in str(verdict.observed)


@pytest.mark.parametrize("data", MISSING_OUTCOMES.values(), ids=MISSING_OUTCOMES)
@pytest.mark.parametrize("gate", SHARE_GATES.values(), ids=SHARE_GATES)
def test_a_share_that_was_not_measured_is_invalid(gate: Callable[[Any], Verdict], data: object) -> None:
    check(gate(data))


@pytest.mark.parametrize("data", MISSING_SAMPLES.values(), ids=MISSING_SAMPLES)
@pytest.mark.parametrize("gate", SAMPLE_GATES.values(), ids=SAMPLE_GATES)
def test_samples_that_were_not_measured_are_invalid(
    gate: Callable[[Any], Verdict], data: list[float | None]
) -> None:
    check(gate(data))


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, -1.0, 0.0])
@pytest.mark.parametrize("gate", SCALAR_GATES.values(), ids=SCALAR_GATES)
def test_a_value_that_was_not_measured_is_invalid(
    gate: Callable[[Any], Verdict], value: float | None
) -> None:
    check(gate(value))


NO_BUDGET = Incomparable("NVIDIA L4", "[gpu.l4.accuracy] floor")
SHARE = Share("accuracy", GOOD)
SERIES = Series("ttft", [0.1] * 400, "s")
RATIO = Ratio("tpot", [[(1.0, 1.0)] * 20], "s")
SCALAR = Scalar("peak memory", 1.0, "bytes")


WITHOUT_BUDGET: dict[str, Callable[[], Any]] = {
    "floor": lambda: SHARE >= NO_BUDGET,
    "limit": lambda: SHARE <= NO_BUDGET,
    "margin": lambda: SHARE >= SHARE - NO_BUDGET,
    "margin above": lambda: SHARE <= SHARE + NO_BUDGET,
    "quantile": lambda: SERIES.p95 <= NO_BUDGET,
    "ratio": lambda: RATIO <= NO_BUDGET,
    "scalar": lambda: SCALAR <= NO_BUDGET,
    "scalar ratio": lambda: SCALAR <= SCALAR * NO_BUDGET,
}


@pytest.mark.parametrize("compare", WITHOUT_BUDGET.values(), ids=WITHOUT_BUDGET)
def test_a_device_without_a_budget_is_invalid(compare: Callable[[], Any]) -> None:
    verdict = compare().verdict
    assert verdict.status is Status.INVALID
    assert verdict.why.endswith(
        "no budget for device NVIDIA L4; write [gpu.l4.accuracy] floor in budgets.toml"
    )


WARM = "the prefix cache was warm"


UNUSABLE: dict[str, Callable[[], Any]] = {
    "share": lambda: Share("accuracy", GOOD, unusable=WARM) >= 0.1,
    "baseline share": lambda: Share("accuracy", GOOD, unusable=WARM) - points(3) <= SHARE,
    "candidate share": lambda: Share("accuracy", GOOD, unusable=WARM) >= SHARE - points(3),
    "quantile": lambda: Series("ttft", [0.1] * 400, "s", unusable=WARM).p95 <= 10.0,
    "ratio": lambda: Ratio("tpot", [[(1.0, 1.0)] * 20], "s", unusable=WARM) <= 2.0,
    "scalar": lambda: Scalar("peak memory", 1.0, "bytes", unusable=WARM) <= 2.0,
    "baseline scalar": lambda: Scalar("peak memory", 1.0, "bytes", unusable=WARM) * 2.0 >= SCALAR,
}


@pytest.mark.parametrize("compare", UNUSABLE.values(), ids=UNUSABLE)
def test_data_marked_as_unusable_are_invalid_whatever_they_say(compare: Callable[[], Any]) -> None:
    verdict = compare().verdict
    assert verdict.status is Status.INVALID
    assert WARM in verdict.why
