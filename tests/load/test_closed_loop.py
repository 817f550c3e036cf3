"""Exactly the asked concurrency, on kept connections, with a clock that is right."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Callable

import pytest

from pytest_llmperf.errors import InfrastructureError, WrongServer
from pytest_llmperf.load.calibration import calibrate
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer, running
from pytest_llmperf.load.results import of_run
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Workload

Truth = Callable[[ReferenceOptions], ReferenceServer]

SHAPE = Workload(input_tokens=32, output_tokens=16)


@pytest.mark.parametrize("concurrency", [1, 7, 32])
def test_exactly_the_asked_concurrency_is_delivered_on_kept_connections(
    truth: Truth, concurrency: int
) -> None:
    known = truth(ReferenceOptions(ttft_ms=20, gap_ms=4))
    run = run_load(
        known.server, SHAPE, ClosedLoop(concurrency, 3 * concurrency), SendOptions(request_ids=True)
    )
    told = known.truth()
    assert run.problems == ()
    assert told.peak == concurrency
    assert run.delivered_concurrency == pytest.approx(concurrency, rel=0.1)
    assert run.connections == concurrency
    measured = [request for request in told.requests if request.request_id]
    assert len(measured) == 3 * concurrency
    assert len({request.connection for request in measured}) == concurrency
    warm = [request for request in told.requests if not request.request_id]
    assert len(warm) == concurrency


@pytest.mark.parametrize("concurrency", [1, 32])
def test_the_clients_own_error_is_a_few_milliseconds_at_most(concurrency: int) -> None:
    # Generous for noisy neighbours, and far below what a role chunk taken for a token (−50 ms) would do.
    error = calibrate(concurrency, requests=max(4, 2 * concurrency), output_tokens=24)
    assert -0.0005 < error.ttft_mean_s < 0.01
    assert abs(error.itl_mean_s) < 0.0005
    assert error.throughput_lost < 0.05
    assert error.true_ttft_mean_s == pytest.approx(0.05, rel=0.3)


def test_all_workers_start_together(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=100, gap_ms=1))
    run = run_load(known.server, SHAPE, ClosedLoop(16, 16), SendOptions(warmup=0))
    sent = [trace.sent_s for trace in run.traces]
    assert max(sent) - min(sent) < 0.05


def test_a_stale_connection_costs_no_request(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1, drop_reused=True))
    run = run_load(known.server, SHAPE, ClosedLoop(2, 6), SendOptions(warmup=0))
    assert [trace.outcome.value for trace in run.traces] == ["ok"] * 6


def test_fewer_requests_than_workers_are_all_sent_once(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    run = run_load(known.server, SHAPE, ClosedLoop(8, 3), SendOptions(warmup=0))
    assert [trace.index for trace in run.traces] == [0, 1, 2]


def test_no_server_is_an_infrastructure_error_that_names_the_address() -> None:
    with running() as known:
        server = known.server
    with pytest.raises(InfrastructureError, match=server.base_url):
        run_load(server, SHAPE, ClosedLoop(1, 1))


def test_a_wrong_key_is_told_before_the_load(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, api_key="right"))
    wrong = dataclasses.replace(known.server, api_key="wrong")
    with pytest.raises(WrongServer, match="refuses"):
        run_load(wrong, SHAPE, ClosedLoop(1, 1))
    assert of_run(run_load(known.server, SHAPE, ClosedLoop(1, 1))).succeeded == 1


def test_progress_is_told_request_by_request(truth: Truth) -> None:
    seen: list[tuple[int, int]] = []
    known = truth(ReferenceOptions(ttft_ms=2, gap_ms=1))
    run_load(
        known.server,
        SHAPE,
        ClosedLoop(2, 4),
        SendOptions(on_progress=lambda done, total: seen.append((done, total))),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_it_runs_inside_somebody_elses_event_loop_and_on_plain_asyncio(
    truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=2))

    async def caller() -> float:
        run = run_load(known.server, SHAPE, ClosedLoop(4, 8))
        assert run.client.loop == "asyncio"
        return of_run(run).value("ttft")

    assert 0.005 < asyncio.run(caller()) < 0.05


@pytest.mark.parametrize(("concurrency", "requests"), [(0, 1), (1, 0)])
def test_a_load_of_nothing_is_refused(truth: Truth, concurrency: int, requests: int) -> None:
    known = truth(ReferenceOptions())
    with pytest.raises(ValueError, match="at least 1"):
        run_load(known.server, SHAPE, ClosedLoop(concurrency, requests))
