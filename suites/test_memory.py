"""What the model costs in memory: its weights, and the peak of its server's processes."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.llmperf_started


def test_the_weights_are_as_small_as_promised(candidate, memory, budget):
    assert memory(candidate).weights <= budget.memory.weights


def test_the_server_stays_within_its_memory(candidate, memory, budget):
    assert memory(candidate).peak <= budget.memory.peak


def test_the_server_needs_no_more_memory_than_the_baselines(candidate, baseline, memory, budget):
    assert memory(candidate).peak <= memory(baseline).peak * budget.memory.ratio


def test_the_weights_are_not_much_larger_than_the_baselines(candidate, baseline, memory, budget):
    assert memory(candidate).weights <= memory(baseline).weights * budget.memory.weights_ratio
