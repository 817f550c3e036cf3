"""The steady part of a load: found where there is one, and not invented where there is none."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pytest_llmperf.client.trace import Arrival, RequestOutcome, Trace
from pytest_llmperf.json_values import finite
from pytest_llmperf.load.client_health import ClientHealth
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.results import of_run
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.steady import batch_means, mser, slices_of, steady_part
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.serving.server import Server

Truth = Callable[[ReferenceOptions], ReferenceServer]
SERVER = Server("row", "model", "http://127.0.0.1:1", None, None, None, None, "", "none")


def noise(count: int, level: float, seed: int = 0) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(level, 0.1) for _ in range(count)]


def test_a_settled_series_is_kept_nearly_whole() -> None:
    cuts = [mser(noise(100, 1.0, seed)) for seed in range(40)]
    assert all(cut is not None for cut in cuts)
    assert sorted(cut or 0 for cut in cuts)[20] <= 10


@pytest.mark.parametrize("length", [10, 20, 35])
def test_a_run_in_is_cut_off_where_it_ends(length: int) -> None:
    cut = mser([*noise(length, 3.0), *noise(100 - length, 1.0, 1)])
    assert cut is not None
    assert length <= cut <= length + 12


def test_a_series_that_never_settles_has_no_steady_part() -> None:
    assert mser([float(index) for index in range(100)]) is None


def test_batches_are_means_and_the_rest_is_left_out() -> None:
    assert batch_means([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99], 5) == [3.0, 8.0]


def made(latencies: list[float], concurrency: int = 4) -> LoadRun:
    """A closed loop whose requests take so long, each with ten tokens spread over its time."""
    free = [0.0] * concurrency
    traces = []
    for index, latency in enumerate(latencies):
        worker = free.index(min(free))
        sent = free[worker]
        free[worker] = end = sent + latency
        arrivals = tuple(Arrival(sent + latency * (k + 1) / 10, "x", tokens=1) for k in range(10))
        traces.append(
            Trace(
                index, sent, sent, sent, arrivals, end, RequestOutcome.OK, "length", 10, completion_tokens=10
            )
        )
    health = ClientHealth(0.1, 0.1, 0.0, 0.0, "asyncio")
    return LoadRun(
        SERVER, Workload(), concurrency, tuple(traces), 0.0, max(free), health, "", None, concurrency
    )


def test_metrics_of_the_steady_part_know_neither_run_in_nor_ramp_down() -> None:
    run = made([*noise(60, 3.0, 5), *noise(300, 1.0, 6)])
    part = steady_part(run)
    assert part.found, part.why
    assert 40 <= part.before <= 100
    (steady,), whole = slices_of(run, part, 1), of_run(run)
    assert steady.value("e2el") == pytest.approx(1.0, rel=0.05)
    assert max(steady.samples["e2el"]) < 2.0 < max(whole.samples["e2el"])
    # Four at a time, ten tokens in a second each.
    assert steady.value("throughput") == pytest.approx(40, rel=0.05)
    assert whole.value("throughput") < 36
    facts = part.facts(run)
    assert 0 < (finite(facts["from_s"]) or 0) < (finite(facts["to_s"]) or 0) <= run.window_s


def test_too_few_requests_and_one_wave_have_none_and_say_why() -> None:
    few = made(noise(40, 1.0))
    assert "too few" in steady_part(few).why
    assert not steady_part(made(noise(60, 1.0), concurrency=60)).found


def test_the_filling_of_a_queue_is_in_no_steady_part_of_a_real_load(truth: Truth) -> None:
    """Eight slots for 64 streams: latencies grow eightfold over the first 0.8 s, which no machine can shorten. One that
    stalls may leave nothing steady, and that is said; it may not make the run-in look settled."""
    known = truth(ReferenceOptions(ttft_ms=60, gap_ms=2, slots=8))
    run = run_load(known.server, Workload(32, 20), ClosedLoop(64, 480), SendOptions(warmup=0))
    part = steady_part(run)
    if not part.found:
        assert "had not settled" in part.why
        return
    assert part.start_s - run.start_s > 0.4
    assert part.before > 64
    (steady,) = slices_of(run, part, 1)
    throughput = steady.value("throughput")
    assert 0 < throughput < 1.1 * 8 * 20 / 0.098
