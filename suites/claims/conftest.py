"""Rows for test_claims.py; the table is at the end of the run.

A claim gates only with ``--llmperf-claims=gate``. Otherwise a row passes if its claim is confirmed, is an expected
failure if it is refuted or impossible, and is skipped, with what is missing, if nothing decides it: none is green
unseen.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.claimed import note
from pytest_llmperf.claims.claim import Outcome
from pytest_llmperf.claims.deciding import decide_all, device_at_hand
from pytest_llmperf.claims.measured import Evidence
from pytest_llmperf.claims.reading import read_claims
from pytest_llmperf.errors import UsageError
from pytest_llmperf.record.store import read_record


def pytest_generate_tests(metafunc):
    """One test for each row of each file of claims beside this one, on the device at hand or the record's."""
    if "decision" in metafunc.fixturenames:
        record = metafunc.config.getoption("llmperf_claims_record", default=None)
        evidence = Evidence(read_record(Path(record)), Path(record)) if record else None
        device = evidence.device if evidence else _device()
        rows = [
            pytest.param(decision, id=f"{path.stem}: {decision.name}")
            for path in sorted(Path(__file__).parent.glob("*.toml"))
            for decision in decide_all(read_claims(path), device, evidence)
        ]
        metafunc.parametrize("decision", rows)


def _device() -> str:
    """The device at hand; where it cannot be read, a name of which nothing is known, so that it decides nothing."""
    try:
        return device_at_hand()
    except UsageError:
        return "unreadable GPU"


@pytest.fixture
def settle(decision, request):
    """What the claim's outcome makes of its test."""
    gate = request.config.getoption("llmperf_claims", default=None) == "gate"
    note(request.node, decision)

    def by(outcome):
        sentence = f"{decision.claim.words}: {outcome}: {decision.why}"
        if outcome is Outcome.CONFIRMED:
            return
        if gate:
            pytest.fail(sentence, pytrace=False)
        if outcome.decided:
            pytest.xfail(sentence)
        pytest.skip(sentence)

    return by
