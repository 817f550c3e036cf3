"""Quantiles with intervals, and errors by kind."""

from __future__ import annotations

import random

from pytest_llmperf.client.trace import RequestOutcome, Trace
from pytest_llmperf.load.results import LEVELS, Metrics, error_kinds, tails


def metrics(ttft_s: list[float], itl_s: tuple[float, ...] = ()) -> Metrics:
    count = len(ttft_s)
    return Metrics(count, count, 1.0, None, None, None, None, {}, {"ttft": tuple(ttft_s), "itl": itl_s})


def samples(count: int, seed: int) -> list[float]:
    return [random.Random(f"{seed} {i}").random() for i in range(count)]


def test_every_level_has_its_interval_where_there_are_samples_enough() -> None:
    found = tails([metrics(samples(400, 1))])["ttft"]
    assert set(found) == set(LEVELS)
    for label in ("p50", "p90", "p95", "p99"):
        low, value, high = (found[label][name] for name in ("low", "value", "high"))
        assert low is not None
        assert value is not None
        assert high is not None
        assert low < value <= high
    # 2,995 samples are needed for an upper bound of a p99.9.
    assert found["p99.9"]["high"] is None
    assert tails([metrics(samples(3000, 1))])["ttft"]["p99.9"]["high"] is not None


def test_the_true_median_lies_within_its_bounds_as_often_as_they_promise() -> None:
    inside = 0
    for seed in range(200):
        found = tails([metrics(samples(60, seed))])["ttft"]["p50"]
        low, high = found["low"], found["high"]
        assert low is not None
        assert high is not None
        inside += low <= 0.5 <= high
    assert inside >= 170  # 90 % of 200 are promised


def test_rounds_that_differ_widen_the_interval() -> None:
    alike = [metrics(samples(50, seed)) for seed in range(8)]
    apart = [metrics([seed + value for value in samples(50, seed)]) for seed in range(8)]

    def width(rounds: list[Metrics]) -> float:
        found = tails(rounds)["ttft"]["p50"]
        low, high = found["low"], found["high"]
        return float("inf") if low is None or high is None else high - low

    assert width(apart) > 10 * width(alike)


def test_gaps_of_one_run_get_no_interval_that_takes_them_for_independent() -> None:
    found = tails([metrics([0.1], tuple(samples(1000, 3)))])["itl"]["p95"]
    assert found["value"] is not None
    assert (found["low"], found["high"]) == (None, None)


def test_what_was_not_measured_is_not_there() -> None:
    assert set(tails([metrics([0.1, 0.2])])) == {"ttft"}


def failed(outcome: RequestOutcome, error: str) -> Trace:
    status = int(error[5:8]) if error.startswith("HTTP") else 200
    return Trace(0, 0.0, 0.0, None, (), 1.0, outcome, error=error, status=status)


def test_errors_are_counted_by_kind_with_the_words_of_the_first() -> None:
    traces = [
        failed(RequestOutcome.HTTP_ERROR, "HTTP 400: too long"),
        failed(RequestOutcome.HTTP_ERROR, "HTTP 503: busy"),
        failed(RequestOutcome.HTTP_ERROR, "HTTP 503: still busy"),
        failed(RequestOutcome.CUT, "the server closed the connection"),
        failed(RequestOutcome.OK, ""),
    ]
    assert error_kinds(traces) == [
        {"kind": "http_error HTTP 503", "count": 2, "first": "HTTP 503: busy"},
        {"kind": "http_error HTTP 400", "count": 1, "first": "HTTP 400: too long"},
        {"kind": "cut", "count": 1, "first": "the server closed the connection"},
    ]
