"""How long a user waits: for the first token, and between tokens.

Absolute budgets belong to one class of device (``budgets.toml``). The comparisons with the baseline are measured in
interleaved rounds on the same machine in the same minutes, and hold anywhere.
"""

from __future__ import annotations

import pytest

CONCURRENCY = [1, 8, 32]


@pytest.mark.parametrize("concurrency", CONCURRENCY)
def test_the_first_token_comes_as_soon_as_the_baselines(candidate, baseline, load, budget, concurrency):
    pair = load.interleaved(candidate, baseline, concurrency=concurrency)
    assert pair.ttft.ratio <= budget.latency.ttft_ratio


@pytest.mark.parametrize("concurrency", CONCURRENCY)
def test_tokens_come_as_fast_as_the_baselines(candidate, baseline, load, budget, concurrency):
    pair = load.interleaved(candidate, baseline, concurrency=concurrency)
    assert pair.tpot.ratio <= budget.latency.tpot_ratio


# Last: a tail takes the rounds that the comparisons needed, and measures the rest of its own on the candidate alone.


@pytest.mark.parametrize("concurrency", CONCURRENCY)
def test_the_first_token_comes_in_time(candidate, load, budget, concurrency):
    assert load(candidate, concurrency=concurrency).ttft.p95 <= budget.latency.ttft_p95[concurrency]


@pytest.mark.parametrize("concurrency", CONCURRENCY)
def test_tokens_follow_each_other_in_time(candidate, load, budget, concurrency):
    assert load(candidate, concurrency=concurrency).itl.p95 <= budget.latency.itl_p95[concurrency]


@pytest.mark.parametrize("concurrency", CONCURRENCY)
def test_the_typical_gap_between_tokens_is_short(candidate, load, budget, concurrency):
    assert load(candidate, concurrency=concurrency).itl.p50 <= budget.latency.itl_p50[concurrency]
