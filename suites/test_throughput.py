"""How many tokens a second: for one user alone, and for a full server."""

from __future__ import annotations

ALONE, SATURATED = 1, 32


def test_one_stream_is_fast_enough(candidate, load, budget):
    assert load(candidate, concurrency=ALONE).throughput.p50 >= budget.throughput.single


def test_a_full_server_is_fast_enough(candidate, load, budget):
    assert load(candidate, concurrency=SATURATED).throughput.p50 >= budget.throughput.saturated


def test_one_stream_is_as_fast_as_the_baselines(candidate, baseline, load, budget):
    pair = load.interleaved(candidate, baseline, concurrency=ALONE)
    assert pair.throughput.ratio >= budget.throughput.ratio


def test_a_full_server_is_as_fast_as_the_baselines(candidate, baseline, load, budget):
    pair = load.interleaved(candidate, baseline, concurrency=SATURATED)
    assert pair.throughput.ratio >= budget.throughput.ratio
