"""Counts in sentences, and the table under a verdict's sentence."""

from __future__ import annotations

import pytest

from pytest_llmperf.gates import wording
from pytest_llmperf.gates.verdict import Status, Verdict


@pytest.mark.parametrize(
    ("count", "text"), [(7, "7"), (59, "59"), (101, "110"), (1381, "1,400"), (21144, "22,000")]
)
def test_a_plan_is_rounded_up_to_two_digits(count: int, text: str) -> None:
    assert wording.about(count) == text


def test_the_table_leaves_out_what_is_unknown() -> None:
    verdict = Verdict(Status.INVALID, "ttft", None, None, None, 0, None, "not judged", "ttft: nothing")
    assert wording.table(verdict) == "  metric  ttft\n  n       0\n  method  not judged"
