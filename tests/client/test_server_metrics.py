"""What a server tells of itself is read by one parser, and believed only where it can be true."""

from __future__ import annotations

import json
import math

import pytest

from pytest_llmperf.client import saturation
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.server_metrics import ServerMetrics, parse, parse_reply
from pytest_llmperf.load import cache_check
from pytest_llmperf.load.server_metrics import ServerSamples
from pytest_llmperf.load.server_metrics import parse as sample_of

RUNNING = "vllm:num_requests_running 3\n"


def scraped(text: str | bytes, ending: Ending = Ending.COMPLETE) -> Reply:
    body = bytearray(text if isinstance(text, bytes) else text.encode())
    return Reply(sent_s=1.0, end_s=1.1, status=200, body=body, ending=ending)


@pytest.mark.parametrize(
    "value",
    ["NaN", "+Inf", "-Inf", "-0.5", "1.5", "37", "1e400", "abc", "", "0x1"],
)
def test_a_cache_use_that_cannot_be_is_not_told_and_spoils_nothing_else(value: str) -> None:
    text = f"{RUNNING}vllm:kv_cache_usage_perc {value}\n"
    assert parse(text) == ServerMetrics(running=3)
    sample = sample_of(scraped(text))
    assert sample is not None
    facts = ServerSamples((sample,)).facts()
    assert facts["kv_share"] is None
    json.dumps(facts, allow_nan=False)


@pytest.mark.parametrize("value", ["NaN", "-1", "1e300", "+Inf", "many"])
@pytest.mark.parametrize(
    "name",
    ["num_requests_running", "num_requests_waiting", "num_preemptions_total", "prefix_cache_hits_total"],
)
def test_a_count_that_cannot_be_is_not_told(name: str, value: str) -> None:
    whole = "".join(
        f"vllm:{each} 5\n"
        for each in (
            "num_requests_running",
            "num_requests_waiting",
            "num_preemptions_total",
            "prefix_cache_queries_total",
            "prefix_cache_hits_total",
        )
    )
    told = parse(whole.replace(f"vllm:{name} 5", f"vllm:{name} {value}"))
    assert told is not None
    values = [told.running, told.waiting, told.preemptions, told.cache_queries, told.cache_hits]
    assert values.count(None) == 1
    assert values.count(5) == 4
    two = f'vllm:{name}{{engine="0"}} 5\nvllm:{name}{{engine="1"}} {value}'
    assert parse(whole.replace(f"vllm:{name} 5", two)) == told


def test_a_counter_under_an_old_and_a_new_name_counts_once() -> None:
    text = "".join(
        f'vllm:{name}_total{{engine="{engine}"}} {value}\n'
        for name, value in (
            ("gpu_prefix_cache_hits", 40),
            ("prefix_cache_hits", 40),
            ("prefix_cache_queries", 100),
            ("gpu_prefix_cache_queries", 100),
        )
        for engine in range(2)
    )
    assert parse(text) == ServerMetrics(cache_hits=80, cache_queries=200)


def test_labels_with_any_text_and_timestamps_are_read() -> None:
    text = 'vllm:num_requests_running{model_name="a} 9 \\" {b, c=\\n"} 2 1700000000000\n'
    assert parse(text) == ServerMetrics(running=2, models=frozenset({'a} 9 " {b, c=\n'}))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe\x00",
        b"<html>vllm:num_requests_running 3</html>",
        b"# vllm:num_requests_running 3\n",
        b"{}",
    ],
)
def test_what_is_no_metrics_of_vllms_tells_nothing(text: bytes) -> None:
    assert parse_reply(scraped(text)) is None


def test_bytes_that_are_not_text_spoil_their_own_line_only() -> None:
    assert parse_reply(scraped(b'other{a="\xff"} 1\n' + RUNNING.encode())) == ServerMetrics(running=3)


def test_metrics_that_were_cut_short_are_none() -> None:
    assert parse_reply(scraped(RUNNING, Ending.CUT)) is None


def test_a_queue_that_cannot_be_does_not_steer_the_evaluation() -> None:
    assert saturation.parse(f"{RUNNING}vllm:num_requests_waiting NaN\n") is None
    occupancy = saturation.parse(f"{RUNNING}vllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc NaN\n")
    assert occupancy is not None
    assert not math.isnan(occupancy.cache_use)


def test_cache_counters_that_cannot_be_say_nothing_about_a_warm_cache() -> None:
    text = "vllm:prefix_cache_queries_total 10\nvllm:prefix_cache_hits_total {}\n"
    assert cache_check.parse(text.format("NaN")) is None
    assert cache_check.parse(text.format("4")) == cache_check.CacheUse(10, 4)
