"""The one formatter of quantities, and that the parser reads back what it writes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.units import (
    Unit,
    format_bound,
    format_distinct,
    format_interval,
    format_size,
    format_value,
    parse_quantity,
    percent,
)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.813, "share", "81.3 %"),
        (0.0, "share", "0.0 %"),
        (1.0, "share", "100.0 %"),
        (0.0001, "share", "0.01 %"),
        (0.99991, "share", "99.99 %"),
        (-0.034, "points", "−3.4 pts"),
        (0.021, "points", "+2.1 pts"),
        (0.0, "points", "0.0 pts"),
        (-0.0001, "points", "0.0 pts"),
        (1.0344, "ratio", "×1.034"),
        (0.0869, "s", "86.9 ms"),
        (0.00042, "s", "420 µs"),
        (0.000_045, "s", "45.0 µs"),
        (61.2, "s", "61.2 s"),
        (0.0, "s", "0 s"),
        (143.2, "tok/s", "143 tok/s"),
        (1234.5, "tok/s", "1,234 tok/s"),
        (0.0, "tok/s", "0 tok/s"),
        (3.554e9, "bytes", "3.55 GB"),
        (512, "bytes", "512 B"),
        (3.0, "", "3.00"),
        (None, "s", "—"),
        (math.nan, "s", "not finite"),
        (math.inf, "s", "∞"),
        (-math.inf, "s", "−∞"),
    ],
)
def test_a_measured_value_has_its_unit_and_few_digits(value: float | None, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.74, "share", "74 %"),
        (0.745, "share", "74.5 %"),
        (0.07, "s", "70 ms"),
        (90.0, "s", "90 s"),
        (1.05, "ratio", "×1.05"),
        (-0.03, "points", "−3 pts"),
        (0.03, "points", "+3 pts"),
        (6e9, "bytes", "6 GB"),
        (None, "s", "—"),
    ],
)
def test_a_bound_has_the_digits_that_were_written(value: float | None, unit: str, text: str) -> None:
    assert format_bound(value, unit) == text


def test_a_size_has_no_sign() -> None:
    assert format_size(0.03, "points") == "3 pts"


def test_an_interval_shows_both_ends() -> None:
    assert format_interval((0.70, 0.80), "share") == "70.0 % … 80.0 %"
    assert format_interval(None) == "—"
    assert format_interval((None, 0.08), "s") == "— … 80.0 ms"


@pytest.mark.parametrize(
    ("value", "bound", "unit", "text"),
    [
        (0.7396, 0.74, "share", "73.96 %"),
        (0.712, 0.74, "share", "71.2 %"),
        (0.07002, 0.07, "s", "70.02 ms"),
        (0.74, 0.74, "share", "74.0 %"),
        (-0.0304, -0.03, "points", "−3.04 pts"),
        (1.0499, 1.05, "ratio", "×1.0499"),
    ],
)
def test_a_number_near_its_bound_shows_on_which_side_it_lies(
    value: float, bound: float, unit: str, text: str
) -> None:
    assert format_distinct(value, bound, unit) == text


def test_a_confidence_has_no_trailing_zeros() -> None:
    assert [percent(share) for share in (0.95, 0.975, 0.008, 0.05 / 3)] == [
        "95 %",
        "97.5 %",
        "0.8 %",
        "1.67 %",
    ]


@given(
    st.integers(-99_999, 99_999),
    st.integers(0, 4),
    st.sampled_from(["s", "bytes", "tok/s", "share", "points", "ratio", "J"]),
)
def test_the_parser_reads_back_what_the_formatter_writes(number: int, decimals: int, unit: Unit) -> None:
    value = number / 10**decimals
    assert parse_quantity(format_size(value, unit), unit) == pytest.approx(value, rel=1e-5)
