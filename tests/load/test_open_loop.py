"""Requests go out when they should, latencies count from then, and a late client is no measurement."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import pytest

from pytest_llmperf.client.reply import Reply
from pytest_llmperf.errors import NotMeasured, WrongServer
from pytest_llmperf.load.arrivals import Schedule, constant, poisson
from pytest_llmperf.load.patterns import ClosedLoop, OpenLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.results import of_run
from pytest_llmperf.load.run import LoadRun, ScheduleKept
from pytest_llmperf.load.runner import SendOptions, peak_in_flight, run_load
from pytest_llmperf.load.workload import Shape, Workload, request_id

Truth = Callable[[ReferenceOptions], ReferenceServer]

SHAPE = Workload(input_tokens=32, output_tokens=16)
SLACK_S = 0.1
"""What a busy machine may add; what is tested here is wrong by more, or has another sign."""
SERVICE_S = 0.02 + 15 * 0.002
"""Of a reference server with a TTFT of 20 ms and gaps of 2 ms."""


def schedule_problems(run: LoadRun) -> list[str]:
    return [problem for problem in run.problems if "late" in problem]


def test_requests_reach_the_server_when_the_schedule_says(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=20, gap_ms=2))
    schedule = poisson(40, 40, seed=7)
    run = run_load(known.server, SHAPE, OpenLoop(schedule), SendOptions(request_ids=True))
    received = {request.request_id: request.received_s for request in known.truth().requests}
    late = [
        received[request_id(index)] - run.start_s - offset_s
        for index, offset_s in enumerate(schedule.offsets_s)
    ]
    assert min(late) > -0.0001
    # None came before its time, and the earliest of the last ten was not late by what the first thirty added up.
    assert min(late[-10:]) < SLACK_S
    assert [trace.intended_s - run.start_s for trace in run.traces] == pytest.approx(schedule.offsets_s)
    assert run.open_loop is not None
    assert run.open_loop.schedule == schedule.name
    assert run.open_loop.rate_per_s == pytest.approx(40)
    assert len(run.open_loop.own_delay_s) == 40


def test_a_slow_server_does_not_slow_the_requests_down_and_the_wait_is_in_the_ttft(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=20, gap_ms=5, slots=1))
    run = run_load(known.server, SHAPE, OpenLoop(constant(100, 20)), SendOptions(warmup=1))
    sent = [trace.sent_s for trace in run.traces]
    # A closed loop would take 19 × 95 ms.
    assert sent[-1] - sent[0] < 0.6
    metrics = of_run(run)
    # One slot: request k begins when the k before it are done.
    assert metrics.samples["ttft"][-1] == pytest.approx(19 * (0.095 - 0.01) + 0.02, rel=0.2)
    assert metrics.value("itl") == pytest.approx(0.005, rel=0.4)
    assert metrics.value("schedule_delay") < 0.1 * metrics.value("ttft")
    assert run.concurrency > 10


def test_the_asked_rate_makes_the_concurrency_of_littles_law(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=20, gap_ms=2))
    run = run_load(known.server, SHAPE, OpenLoop(constant(100, 60)))
    assert run.delivered_concurrency == pytest.approx(100 * SERVICE_S, rel=0.5)
    assert 4 <= run.concurrency <= 30


def test_a_client_that_comes_late_is_invalid_and_its_lateness_is_in_the_latency(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=20, gap_ms=2))
    # Progress is told on the client's own thread: what holds it up there is of the client's own making.
    run = run_load(
        known.server,
        SHAPE,
        OpenLoop(constant(50, 10)),
        SendOptions(on_progress=lambda done, _: time.sleep(0.3 if done == 1 else 0)),
    )
    (problem,) = schedule_problems(run)
    assert "need at most 10 ms" in problem
    assert run.own_problems
    assert run.open_loop is not None
    assert run.open_loop.own_delay_p99_s > 0.1
    metrics = of_run(run)
    assert metrics.value("schedule_delay_p99") > 0.1
    assert metrics.value("ttft_p99") > 0.1 + 0.02


def test_who_was_late_once_is_punctual_again(truth: Truth) -> None:
    """An absolute schedule: relative sleeps would hand the first delay on to every later request."""
    known = truth(ReferenceOptions(ttft_ms=2, gap_ms=1))
    run = run_load(
        known.server,
        SHAPE,
        OpenLoop(constant(20, 21)),
        SendOptions(on_progress=lambda done, _: time.sleep(0.5 if done == 1 else 0)),
    )
    delays = [trace.schedule_delay_s for trace in run.traces]
    assert max(delays) > 0.3
    assert min(delays[-5:]) < SLACK_S


def test_only_the_clients_own_lateness_makes_a_run_invalid(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=2, gap_ms=1))
    run = run_load(known.server, SHAPE, OpenLoop(constant(100, 4)))
    slow_to_connect = tuple(dataclasses.replace(one, sent_s=one.sent_s + 0.5) for one in run.traces)
    punctual = ScheduleKept("constant", 100.0, (0.0,) * 99 + (0.02,))
    late = ScheduleKept("constant", 100.0, (0.0,) * 98 + (0.011, 0.02))
    assert not schedule_problems(dataclasses.replace(run, traces=slow_to_connect, open_loop=punctual))
    assert schedule_problems(dataclasses.replace(run, open_loop=late))


def test_every_request_has_its_own_lengths(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    shapes = [Shape(32, 4), Shape(64, 9), Shape(32, 4), Shape(48, 2)]
    run = run_load(known.server, SHAPE, OpenLoop(constant(50, 4), shapes), SendOptions(request_ids=True))
    assert [trace.completion_tokens for trace in run.traces] == [4, 9, 4, 2]
    assert [trace.prompt_tokens for trace in run.traces] == [32, 64, 32, 48]
    assert run.prompts_note.startswith("every prompt has exactly 32 to 64 tokens")
    assert run.cache is not None
    assert run.cache.hits == 0
    named = {request.request_id for request in known.truth().requests}
    assert {request_id(index) for index in range(4)} <= named
    with pytest.raises(ValueError, match="3 shapes for a schedule of 4"):
        run_load(known.server, SHAPE, OpenLoop(constant(50, 4), shapes[:3]))


def test_a_burst_is_sent_at_once_on_connections_that_are_open(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=50, gap_ms=1))
    run = run_load(known.server, SHAPE, OpenLoop(Schedule("burst", (0.0,) * 32)))
    sent = [trace.sent_s for trace in run.traces]
    assert max(sent) - min(sent) < 0.05
    assert run.concurrency == 32
    assert run.connections == 32


def test_a_warm_cache_and_failures_are_told_of_an_open_loop_too(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=2, gap_ms=1, warm_share=0.5, http_500_share=0.5))
    run = run_load(known.server, SHAPE, OpenLoop(constant(100, 10)), SendOptions(warmup=0))
    assert any("5 of 10 requests failed" in problem for problem in run.problems)
    assert any("warm prefix cache" in problem for problem in run.own_problems)
    assert not any("failed" in problem for problem in run.own_problems)


def test_a_closed_loop_has_no_schedule_and_none_is_made_up(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=2, gap_ms=1))
    metrics = of_run(run_load(known.server, SHAPE, ClosedLoop(2, 2)))
    with pytest.raises(NotMeasured, match="schedule_delay"):
        metrics.value("schedule_delay")


def test_a_wrong_key_is_told_before_the_load(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, api_key="right"))
    wrong = dataclasses.replace(known.server, api_key="wrong")
    with pytest.raises(WrongServer, match="refuses"):
        run_load(wrong, SHAPE, OpenLoop(constant(10, 1)))


def test_the_peak_counts_who_is_sent_and_not_answered(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=10, gap_ms=1))
    run = run_load(known.server, SHAPE, ClosedLoop(3, 9), SendOptions(warmup=0))
    assert peak_in_flight(run.traces) == 3


def test_twice_the_connections_of_littles_law_are_open_in_advance() -> None:
    warmed = [Reply(sent_s=0.0, end_s=0.5), Reply(sent_s=1.0, end_s=3.0)]
    assert OpenLoop(constant(10, 1000)).connections(warmed) == 2 * 10 * 2 + 4
    assert OpenLoop(constant(10, 20)).connections(warmed) == 20
    assert OpenLoop(constant(1000, 10_000)).connections(warmed) == 256
    assert OpenLoop(Schedule("burst", (0.0, 0.0, 0.0))).connections([Reply()]) == 3
    assert OpenLoop(constant(1, 100)).connections([]) == 6
