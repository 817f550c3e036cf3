"""From traces to numbers: definitions, and what is not measured."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmperf.client.trace import Arrival, RequestOutcome, Trace
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.results import measure
from pytest_llmperf.load.run import delivered_concurrency


def trace(
    *times: float, tokens: list[int | None] | None = None, completion: int | None = -1, **more: Any
) -> Trace:
    """A request sent at 0 whose chunks came at these times."""
    counts = tokens or [None] * len(times)
    arrivals = tuple(Arrival(time_s, "x", False, count) for time_s, count in zip(times, counts, strict=True))
    fields: dict[str, Any] = {
        "index": 0,
        "intended_s": 0.0,
        "sent_s": 0.0,
        "headers_s": 0.0,
        "arrivals": arrivals,
        "end_s": times[-1] if times else 1.0,
        "outcome": RequestOutcome.OK,
        "completion_tokens": len(times) if completion == -1 else completion,
        "prompt_tokens": 10,
    }
    return Trace(**{**fields, **more})


def failed(outcome: RequestOutcome = RequestOutcome.HTTP_ERROR) -> Trace:
    return trace(outcome=outcome, error="HTTP 500: no")


def test_the_definitions_on_a_request_by_hand() -> None:
    metrics = measure([trace(1.0, 1.5, 3.0, end_s=3.25)], 4.0)
    assert metrics.samples["ttft"] == (1.0,)
    assert metrics.samples["itl"] == (0.5, 1.5)
    assert metrics.samples["tpot"] == (1.0,)
    assert metrics.samples["stall"] == (1.5,)
    assert metrics.samples["e2el"] == (3.25,)
    assert metrics.value("throughput") == 3 / 4
    assert metrics.value("requests_per_s") == 1 / 4


def test_every_gap_of_every_request_is_in_the_distribution() -> None:
    metrics = measure([trace(1, 2, 3), trace(1, 11, 12)], 12)
    assert sorted(metrics.samples["itl"]) == [1, 1, 1, 10]
    assert metrics.value("itl_p99") == 10


def test_a_chunk_of_several_tokens_is_spread_and_the_first_chunks_tokens_cost_nothing() -> None:
    metrics = measure([trace(1.0, 1.4, 1.8, tokens=[4, 4, 4], completion=12)], 2)
    assert metrics.samples["itl"] == pytest.approx([0.1] * 8)
    assert metrics.samples["tpot"] == pytest.approx([0.1])
    assert metrics.samples["stall"] == pytest.approx([0.4])


def test_text_that_comes_after_its_token_makes_no_gap_of_its_own() -> None:
    metrics = measure([trace(1.0, 2.0, 2.5, 4.0, tokens=[1, 1, 0, 1], completion=3)], 4)
    assert metrics.samples["itl"] == (1.0, 2.0)


def test_a_stop_token_without_text_is_the_last_token() -> None:
    metrics = measure([trace(1.0, 2.0, tokens=[1, 1], completion=3, last_token_s=3.0)], 4)
    assert metrics.samples["tpot"] == (1.0,)


def test_an_open_loop_counts_from_when_the_request_was_to_be_sent() -> None:
    arrivals = (Arrival(1.0, "hm", True), Arrival(3.0, "4"))
    metrics = measure([trace(1.0, arrivals=arrivals, sent_s=0.75, end_s=3.0, completion_tokens=2)], 3.0)
    assert metrics.samples["ttft"] == (1.0,)
    assert metrics.samples["ttfat"] == (3.0,)
    assert metrics.samples["e2el"] == (3.0,)
    assert metrics.samples["schedule_delay"] == (0.75,)
    assert metrics.value("schedule_delay_p95") == 0.75
    assert metrics.samples["tpot"] == (2.0,)


def test_a_punctual_request_among_late_ones_has_a_delay_of_zero() -> None:
    metrics = measure([trace(1.0), trace(1.0, sent_s=0.5)], 1.0)
    assert metrics.samples["schedule_delay"] == (0.0, 0.5)


def test_nothing_and_only_failures_are_not_measured() -> None:
    with pytest.raises(NotMeasured, match="no request was sent"):
        measure([], 1.0)
    with pytest.raises(
        NotMeasured, match=r"none of 3 requests succeeded \(2 × http_error, 1 × cut\).*HTTP 500"
    ):
        measure([failed(), failed(), failed(RequestOutcome.CUT)], 1.0)
    with pytest.raises(NotMeasured, match="window"):
        measure([trace(1.0)], 0.0)


def test_one_answer_without_usage_leaves_token_metrics_unmeasured() -> None:
    metrics = measure([trace(1, 2), trace(1, 2, completion=None)], 2)
    assert metrics.value("ttft") == 1
    for name in ("throughput", "itl", "tpot"):
        with pytest.raises(NotMeasured, match="1 of 2 answers"):
            metrics.value(name)


def test_failed_requests_count_only_as_errors() -> None:
    metrics = measure([trace(1, 2), failed()], 2)
    assert (metrics.succeeded, metrics.requests) == (1, 2)
    assert metrics.samples["ttft"] == (1,)
    assert metrics.value("requests_per_s") == 0.5


def test_answers_of_one_token_have_no_gaps_and_none_is_made_up() -> None:
    metrics = measure([trace(1.0)], 1.0)
    for name in ("itl", "tpot", "stall", "ttfat"):
        with pytest.raises(NotMeasured, match=name):
            metrics.value(name)


def test_an_answer_without_any_token_is_no_ttft() -> None:
    metrics = measure([trace(completion=1), trace(2.0)], 2)
    assert metrics.samples["ttft"] == (2.0,)


@pytest.mark.parametrize("name", ["ttft_p", "foo", "p95", "ttft_p123", "throughput_p50", ""])
def test_an_unknown_metric_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="throughput"):
        measure([trace(1.0)], 1.0).value(name)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["<think>", "a", "</think>", "b"], 4.0),
        (["<think>a</thi", "nk>", "\n\n", "b"], 4.0),
        (["a</think>b", "c"], 1.0),
        (["a", "b"], None),
        (["<think>", "a"], None),
        (["a</think>", " \n"], None),
    ],
)
def test_the_first_answer_token_after_thinking_in_the_text(texts: list[str], expected: float | None) -> None:
    arrivals = tuple(Arrival(float(number), text) for number, text in enumerate(texts, start=1))
    metrics = measure([trace(1.0, arrivals=arrivals)], 9)
    assert metrics.samples["ttfat"] == (() if expected is None else (expected,))


def test_the_first_answer_token_after_reasoning_apart() -> None:
    arrivals = (Arrival(1, "hm", True), Arrival(2, "\n"), Arrival(3, "4"))
    assert measure([trace(1.0, arrivals=arrivals)], 9).samples["ttfat"] == (3,)


def test_delivered_concurrency_sees_a_worker_that_idled() -> None:
    full = [trace(1.0, sent_s=float(start), end_s=start + 1.0) for start in range(4) for _ in range(2)]
    assert delivered_concurrency(full, 2) == pytest.approx(2)
    idle = [one for number, one in enumerate(full) if number not in (3, 5)]
    assert delivered_concurrency(idle, 2) == pytest.approx(4 / 3)
