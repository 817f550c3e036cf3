"""One long run in slices: every request in one of them, and no token twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pytest_llmperf.client.trace import RequestOutcome
from pytest_llmperf.load.arrivals import Schedule, poisson
from pytest_llmperf.load.patterns import OpenLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.results import of_run
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import run_load
from pytest_llmperf.load.steady import SLICES, Steady, slice_size, slices_of, steady_part
from pytest_llmperf.load.workload import Workload

Truth = Callable[[ReferenceOptions], ReferenceServer]


def loaded(truth: Truth, schedule: Schedule) -> LoadRun:
    known = truth(ReferenceOptions(ttft_ms=10, gap_ms=2))
    return run_load(known.server, Workload(32, 8), OpenLoop(schedule))


def test_every_request_is_in_one_slice_and_throughput_is_that_of_the_run(truth: Truth) -> None:
    run = loaded(truth, poisson(100, 120))
    whole = Steady(run.start_s, run.end_s, 0, 120, "not looked for")
    slices = slices_of(run, whole, 10)
    assert len(slices) == 10
    assert sum(one.requests for one in slices) == 120
    assert sorted(value for one in slices for value in one.samples["ttft"]) == sorted(
        of_run(run).samples["ttft"]
    )
    tokens = sum(one.output_tokens or 0 for one in slices)
    # What came after the last sending is in no slice.
    assert 120 * 8 * 0.9 <= tokens <= 120 * 8
    assert sum(one.window_s for one in slices) == pytest.approx(1.19, rel=0.05)


@pytest.mark.parametrize("requests", [1, 5, 29, 149, 151, 300, 301, 1000])
@pytest.mark.parametrize("least", [1, 5])
def test_there_are_no_more_slices_than_named_and_none_is_smaller_than_tells_something(
    requests: int, least: int
) -> None:
    each = slice_size(requests, least=least)
    assert each >= least
    assert -(-requests // each) <= SLICES
    assert each == least or -(-requests // (each - 1)) > SLICES, "and they are no longer than need be"


def test_requests_that_come_at_once_are_one_slice(truth: Truth) -> None:
    run = loaded(truth, Schedule("burst", (0.0,) * 12))
    slices = slices_of(run, steady_part(run))
    assert sum(one.requests for one in slices) >= 1
    assert all(one.window_s > 0 for one in slices)


def failed(run: LoadRun, which: range) -> LoadRun:
    """The run, had the requests of these numbers been lost."""
    traces = [
        replace(trace, outcome=RequestOutcome.CUT, arrivals=()) if number in which else trace
        for number, trace in enumerate(sorted(run.traces, key=lambda trace: trace.intended_s))
    ]
    return replace(run, traces=tuple(traces))


@pytest.mark.parametrize("away", [range(24), range(48, 72), range(96, 120)], ids=["first", "within", "last"])
def test_the_time_in_which_all_failed_counts(truth: Truth, away: range) -> None:
    run = loaded(truth, poisson(100, 120))
    whole = Steady(run.start_s, run.end_s, 0, 120, "not looked for")
    slices = slices_of(failed(run, away), whole, 10)
    assert len(slices) == 8
    assert sum(one.requests - one.succeeded for one in slices) == 24
    assert sum(one.window_s for one in slices) == pytest.approx(1.19, rel=0.05)


def test_a_slice_in_which_no_token_came_has_a_throughput_of_zero(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=400, gap_ms=2))
    run = run_load(known.server, Workload(32, 8), OpenLoop(poisson(100, 60)))
    whole = Steady(run.start_s, run.end_s, 0, 60, "not looked for")
    first, *_ = slices_of(run, whole, 6)
    assert first.known("throughput") == 0.0
