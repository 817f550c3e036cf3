"""The server's own account of a load: read beside it, and without a part in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.server_metrics import MetricsSample, ServerSamples, parse, together
from pytest_llmperf.load.workload import Workload

Truth = Callable[[ReferenceOptions], ReferenceServer]

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 30.0
vllm:num_requests_running{engine="1",model_name="m"} 28.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting{engine="1",model_name="m"} 4.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:num_preemptions_total{engine="0",model_name="m"} 3.0
vllm:num_preemptions_created{engine="0",model_name="m"} 1.7e+09
vllm:e2e_request_latency_seconds_bucket{le="0.3"} 12
"""


def scraped(text: str, status: int = 200, took_s: float = 0.01) -> Reply:
    return Reply(
        sent_s=1.0,
        end_s=1.0 + took_s,
        status=status,
        body=bytearray(text.encode()),
        ending=Ending.COMPLETE,
    )


def test_engines_are_added_up_and_the_fullest_cache_counts() -> None:
    sample = parse(scraped(VLLM))
    assert sample is not None
    assert (sample.running, sample.waiting, sample.kv_share, sample.preemptions) == (58, 6, 0.75, 3)
    assert sample.took_s == pytest.approx(0.01)


@pytest.mark.parametrize("reply", [scraped("process_cpu_seconds 3\n"), scraped(VLLM, 404), scraped("")])
def test_a_server_that_tells_nothing_known_has_no_sample(reply: Reply) -> None:
    assert parse(reply) is None


def test_what_a_server_leaves_out_is_none_and_not_zero() -> None:
    sample = parse(scraped("vllm:num_requests_running 3\n"))
    assert sample is not None
    assert (sample.running, sample.waiting, sample.kv_share, sample.preemptions) == (3, None, None, None)
    facts = ServerSamples((sample,)).facts()
    assert facts["waiting"] is None
    assert facts["preemptions"] is None


def test_preemptions_are_those_of_the_load() -> None:
    samples = [
        MetricsSample(float(at), 0.01, 1, 0, 0.1, count) for at, count in enumerate([40.0, 41.0, 45.0])
    ]
    assert ServerSamples(tuple(samples)).facts()["preemptions"] == 5
    assert together([None, None]) is None


def test_a_load_knows_what_ran_and_what_waited(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=20, gap_ms=30, slots=3))
    run = run_load(known.server, Workload(32, 30), ClosedLoop(5, 5), SendOptions(warmup=0))
    assert run.problems == ()
    assert run.server_samples is not None
    first = run.server_samples.samples[0]
    assert (first.running, first.waiting) == (3, 2)
    assert run.start_s < first.time_s < run.end_s
    assert 0 < first.took_s < 1


def test_scrapes_take_no_connection_of_the_load(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=20, gap_ms=30))
    run = run_load(known.server, Workload(32, 30), ClosedLoop(2, 2), SendOptions(warmup=0, request_ids=True))
    assert run.server_samples is not None
    assert run.connections == 2
    assert len({request.connection for request in known.truth().requests}) == 2


def test_a_short_load_is_not_held_up_by_a_scrape(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    run = run_load(known.server, Workload(32, 4), ClosedLoop(1, 1), SendOptions(warmup=0))
    assert run.server_samples is None
    assert run.window_s < 0.4
