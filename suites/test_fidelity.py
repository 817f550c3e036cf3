"""Another build of the same model (engine, number format, kernel) changes nothing, not even what accuracy would miss:
it finds the baseline's own answers as likely as the baseline does."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.llmperf_same_model


def test_next_token_distribution_is_the_baselines(candidate, baseline, fidelity, budget):
    assert fidelity(candidate, baseline).divergence <= fidelity.noise(baseline) + budget.fidelity.divergence


def test_most_likely_token_is_the_baselines(candidate, baseline, fidelity, budget):
    assert fidelity(candidate, baseline).top_token_agreement >= budget.fidelity.agreement
