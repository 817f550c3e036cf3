"""Numbers as people write them."""

from __future__ import annotations

import pytest

from pytest_llmperf.gates import wording
from pytest_llmperf.gates.verdict import Status, Verdict


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.712, "share", "0.712"),
        (0.0001, "share", "0.0001"),
        (0.0, "share", "0.000"),
        (1.0, "share", "1.000"),
        (-0.012, "points", "-1.2 points"),
        (0.0, "points", "+0.0 points"),
        (1.0834, "ratio", "1.083"),
        (0.0681, "s", "68.1 ms"),
        (0.00042, "s", "0.420 ms"),
        (12.34, "s", "12.3 s"),
        (143.2, "tok/s", "143 tok/s"),
        (14321.7, "tok/s", "14322 tok/s"),
        (3.554e9, "bytes", "3.55 GB"),
        (512, "bytes", "512 bytes"),
        (0.0, "tok/s", "0 tok/s"),
        (3.0, "", "3.00"),
    ],
)
def test_values_have_units_and_few_digits(value: float, unit: str, text: str) -> None:
    assert wording.show(value, unit) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.74, "share", "0.74"),
        (0.07, "s", "70 ms"),
        (1.05, "ratio", "1.05"),
        (-0.03, "points", "-3 points"),
        (6e9, "bytes", "6 GB"),
    ],
)
def test_bounds_read_as_they_were_written(value: float, unit: str, text: str) -> None:
    assert wording.target(value, unit) == text


@pytest.mark.parametrize(
    ("count", "text"), [(7, "7"), (59, "59"), (101, "110"), (1381, "1,400"), (21144, "22,000")]
)
def test_a_plan_is_rounded_up_to_two_digits(count: int, text: str) -> None:
    assert wording.about(count) == text


def test_a_number_near_its_bound_shows_on_which_side_it_lies() -> None:
    assert wording.beside(0.7396, 0.74, "share") == "0.7396"
    assert wording.beside(0.712, 0.74, "share") == "0.712"
    assert wording.beside(0.07002, 0.07, "s") == "70.02 ms"
    assert wording.beside(0.74, 0.74, "share") == "0.740"


def test_numbers_that_are_not_finite_are_shown_as_they_are() -> None:
    assert wording.show(float("nan"), "s") == "nan s"


def test_the_table_leaves_out_what_is_unknown() -> None:
    verdict = Verdict(Status.INVALID, "ttft", None, None, None, 0, None, "not judged", "ttft: nothing")
    assert wording.table(verdict) == "  metric  ttft\n  n       0\n  method  not judged"
