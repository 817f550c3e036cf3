"""A value between two others: decided where both ends say the same of the bound."""

from __future__ import annotations

import pytest

from pytest_llmperf.gates.base import gate_from_json
from pytest_llmperf.gates.bracket import Bracketed, BracketGate
from pytest_llmperf.gates.verdict import Status


def rate(low: float | None, high: float | None) -> Bracketed:
    return Bracketed("highest rate", low, high, "requests/s", 7, 0.95)


@pytest.mark.parametrize(
    ("low", "high", "bound", "status"),
    [
        (4.0, 5.0, 4.0, Status.PASS),
        (4.0, 5.0, 5.0, Status.FAIL),
        (4.0, 5.0, 4.5, Status.INCONCLUSIVE),
        (4.0, None, 4.0, Status.PASS),
        (4.0, None, 8.0, Status.INCONCLUSIVE),
        (None, 5.0, 6.0, Status.FAIL),
        (None, 5.0, 3.0, Status.INCONCLUSIVE),
        (None, None, 3.0, Status.INVALID),
        (5.0, 4.0, 3.0, Status.INVALID),
        (float("nan"), 4.0, 3.0, Status.INVALID),
    ],
)
def test_a_floor_is_reached_only_where_the_lower_end_says_so(
    low: float | None, high: float | None, bound: float, status: Status
) -> None:
    assert (rate(low, high) >= bound).verdict.status is status


def test_a_limit_is_the_other_way_round() -> None:
    assert (rate(4.0, 5.0) <= 5.0).verdict.status is Status.PASS
    assert (rate(4.0, 5.0) <= 4.0).verdict.status is Status.FAIL
    assert (rate(4.0, None) <= 9.0).verdict.status is Status.INCONCLUSIVE


def test_the_sentence_names_both_ends_and_the_bound() -> None:
    why = (rate(4.0, 5.0) >= 4.5).verdict.why
    assert "at least 4.00 requests/s and below 5.00 requests/s (7 trials, 95 %)" in why
    assert "4.5 requests/s" in why


def test_a_recorded_search_is_judged_again_and_can_be_damaged() -> None:
    case = BracketGate(
        metric="highest rate",
        low=4.0,
        high=5.0,
        unit="requests/s",
        at_least=True,
        bound=4.0,
        n=7,
        confidence=0.95,
    )
    again = gate_from_json(case.to_json())
    assert again.judge() == case.judge()
    assert case.mutate(0.5).judge().status is Status.FAIL
