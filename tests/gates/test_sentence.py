"""The sentence of a verdict: what was seen, what is allowed, how sure that is."""

from __future__ import annotations

import math

import pytest

from pytest_llmperf.gates.decision import would_decide
from pytest_llmperf.gates.sentence import Told, count_words, spoken
from pytest_llmperf.gates.verdict import Status


def told(status: Status, observed: float, low: float, high: float, bound: float, **other: object) -> Told:
    values = {
        "metric": "throughput at 1 ratio",
        "unit": "ratio",
        "at_least": True,
        "counted": "n = 64 rounds",
    }
    return Told(
        status=status,
        observed=observed,
        low=low,
        high=high,
        bound=bound,
        alpha=0.05,
        **(values | other),  # type: ignore[arg-type]
    )


def test_a_ratio_is_told_in_percent_of_the_baseline() -> None:
    said = told(Status.FAIL, 0.664, 0.63, 0.682, 0.82).against_baseline(136.0, 208.0, "tok/s")
    assert said == (
        "single-stream throughput is 33.6 % below the baseline (136 against 208 tok/s); at most 18 % is allowed "
        "(at least 31.8 % below with 95 % confidence, n = 64 rounds)"
    )


@pytest.mark.parametrize(
    ("observed", "bound", "at_least", "wanted"),
    [
        (1.10, 1.05, False, "is 10.0 % above the baseline (1.00 against 2.00 s); at most 5 % is allowed"),
        (
            0.90,
            1.05,
            False,
            "is 10.0 % below the baseline (1.00 against 2.00 s); at most 5 % above is allowed",
        ),
        (1.00, 0.95, True, "is level with the baseline (1.00 against 2.00 s); at most 5 % below is allowed"),
        (0.90, 1.00, True, "is 10.0 % below the baseline (1.00 against 2.00 s); nothing below it is allowed"),
        (
            1.02,
            1.20,
            True,
            "is 2.0 % above the baseline (1.00 against 2.00 s); at least 20 % above is needed",
        ),
    ],
)
def test_a_rule_says_its_direction_only_where_it_is_not_clear(
    observed: float, bound: float, at_least: bool, wanted: str
) -> None:
    made = told(Status.FAIL, observed, observed, observed, bound, metric="TPOT at 4 ratio", at_least=at_least)
    assert f"TPOT (4 concurrent requests) {wanted} (" in made.against_baseline(1.0, 2.0, "s")


def test_levels_of_other_units_keep_both() -> None:
    assert "(900 ms against 1.20 s)" in told(Status.PASS, 0.75, 0.7, 0.8, 0.5).against_baseline(0.9, 1.2, "s")


def test_a_value_near_the_bound_has_the_digits_that_tell_them_apart() -> None:
    near = told(Status.FAIL, 0.94996, 0.9, 0.94998, 0.95)
    assert "is 5.004 % below the baseline" in near.against_baseline(1.0, 2.0, "s")


def test_a_baseline_of_nothing_is_told_and_not_a_crash() -> None:
    endless = told(Status.PASS, math.inf, 1.2, math.inf, 0.95)
    assert "is ∞ % above the baseline" in endless.against_baseline(1.0, 0.0, "tok/s")


def test_metrics_of_closed_loops_are_said_as_people_say_them() -> None:
    assert spoken("TTFT at 8 p99.9") == "p99.9 TTFT (8 concurrent requests)"
    assert spoken("TTFT at 8, 512 tokens in, turn 2 of 3 p95") == (
        "p95 TTFT (8 concurrent requests), 512 tokens in, turn 2 of 3"
    )
    for other in ("TTFT at 2 requests/s p95", "embedded accuracy", "goodput at 2.5 requests/s"):
        assert spoken(other) == other


def test_advice_goes_no_further_than_the_task() -> None:
    assert would_decide(130, "item", 1500) == ": about 130 items would decide it"
    assert would_decide(130, "item", 10) == (
        ": about 130 items would decide it, and the task has 10: add items, ask for several answers to each "
        "(samples), or allow more"
    )


def test_what_was_not_needed_is_counted() -> None:
    assert count_words(1, "item") == "n = 1 item"
    assert count_words(235, "item", 1500) == "decided after 235 of 1,500 items"
