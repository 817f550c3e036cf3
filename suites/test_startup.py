"""A server comes up in time, says who it is, and its own log agrees."""

from __future__ import annotations

import pytest


@pytest.mark.llmperf_started
def test_the_server_is_ready_in_time(candidate, startup, budget):
    assert startup(candidate).ready <= budget.startup.ready


def test_the_server_names_the_row_that_was_asked_for(candidate, openai_client):
    served = [model.id for model in openai_client(candidate).models.list()]
    assert served == [candidate.served]


@pytest.mark.llmperf_started
def test_the_log_tells_when_the_weights_were_loaded(candidate, startup):
    milestones = startup(candidate).milestones
    assert milestones.weights_loaded_s is not None, "vLLM's log has no line about loading the weights"
    assert milestones.weights_loaded_s <= candidate.server.ready_s


@pytest.mark.llmperf_started
def test_the_log_tells_how_much_memory_the_cache_of_keys_and_values_got(candidate, startup):
    milestones = startup(candidate).milestones
    assert milestones.kv_cache_tokens is not None, "vLLM's log has no line about the KV cache size"
    assert milestones.kv_cache_tokens >= candidate.max_model_len, "not even one full-length request fits"
