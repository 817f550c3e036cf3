"""Long contexts: what stands anywhere in 4,096 to 32,768 tokens is found, as well as by the baseline.

For the profile `long`: pytest suites/test_long_context.py --llmperf-profile long. The embedded pair has 2,048 positions
and was never taught such texts: at 512 tokens distill finds 28 % of the needles and math none (40 and 60 prompts,
2026-12-01).
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.llmperf_profile("long")


def test_a_needle_is_found_at_any_depth(candidate, recall, budget):
    for tokens, floor in budget.long_context.needle.items():
        assert recall(candidate, "needle", tokens=tokens) >= floor


@pytest.mark.parametrize("kind", ["needles", "variables"])
def test_long_prompts_are_read_as_well_as_by_the_baseline(candidate, baseline, recall, budget, kind):
    for tokens, margin in budget.long_context.margin.items():
        assert recall(candidate, kind, tokens=tokens) >= recall(baseline, kind, tokens=tokens) - margin
