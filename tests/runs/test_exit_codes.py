"""The exit code of its own that an undecided run has, and what takes it away."""

from __future__ import annotations

import pytest

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.runs.exit_codes import UNDECIDED, ExitCodes
from pytest_llmperf.runs.ledger import Ledger

UNDECIDED_GATE = Verdict(
    Status.INCONCLUSIVE, "accuracy", 0.7, (0.6, 0.8), 0.7, 100, 900, "exact", "not decided"
)


@pytest.fixture
def codes() -> ExitCodes:
    """Of a run whose one gate is undecided, and whose test pytest has reported as failed."""
    ledger = Ledger("exit")
    ledger.enter("t::a", needs="accuracy")
    ledger.begin("t::a")
    ledger.judged(UNDECIDED_GATE)[2]()
    ledger.raised("t::a", "call", "gate", UNDECIDED_GATE.why)
    ledger.end("t::a")
    codes = ExitCodes(ledger)
    codes.note(failed("t::a"))
    return codes


def failed(test: str) -> pytest.TestReport:
    return pytest.TestReport(test, ("t.py", 1, "a"), {}, "failed", "assert", "call")


def test_a_run_that_is_undecided_has_a_code_of_its_own_however_often_it_is_asked(codes: ExitCodes) -> None:
    assert [codes.red(status, 1) for status in (1, UNDECIDED, 0)] == [UNDECIDED] * 3


def test_a_failure_of_another_test_is_worse(codes: ExitCodes) -> None:
    codes.note(failed("t::b"))
    assert codes.red(1, 2) == 1


def test_a_failure_that_no_report_tells_is_worse(codes: ExitCodes) -> None:
    """As pytest-cov counts coverage that is too low."""
    assert codes.red(1, 2) == 1


def test_a_hook_that_sets_the_exit_code_after_us_is_worse(codes: ExitCodes) -> None:
    assert codes.red(1, 1) == UNDECIDED
    assert codes.red(1, 1) == 1


@pytest.mark.parametrize("status", [2, 3, 4])
def test_an_interruption_or_an_error_keeps_its_code(codes: ExitCodes, status: int) -> None:
    assert codes.red(status, 1) == status
