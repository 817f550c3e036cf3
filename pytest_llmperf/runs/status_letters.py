"""Letters of the progress line: ``?`` for a test that is INCONCLUSIVE and ``!`` for one that is INVALID.

Both count as failed, as ``F`` does; but a night that measured nothing should not look like one that found a regression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.gates.judgement import GateError
from pytest_llmperf.gates.verdict import Status

if TYPE_CHECKING:
    import pytest

_LETTERS = {Status.INCONCLUSIVE.value: "?", Status.INVALID.value: "!"}


def mark(report: pytest.TestReport, error: GateError | LlmperfError) -> None:
    """Note on the report what its test came to: an attribute, which pytest-xdist sends along."""
    status = error.verdict.status if isinstance(error, GateError) else Status.INVALID
    report.__dict__["llmperf_status"] = status.value


def shown(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    """Category, letter and word of a marked report for ``pytest_report_teststatus``; None for every other."""
    status = getattr(report, "llmperf_status", "")
    if not report.failed or status not in _LETTERS:
        return None
    return "failed" if report.when == "call" else "error", _LETTERS[status], status
