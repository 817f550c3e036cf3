from __future__ import annotations

import math

import pytest

from pytest_llmperf.report.numbers import show, show_interval


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "s", "12.3 ms"),
        (61.2, "s", "61.2 s"),
        (0.000_045, "s", "45.0 µs"),
        (0.7834, "share", "78.3 %"),
        (-0.021, "points", "-2.1 pts"),
        (0.021, "points", "+2.1 pts"),
        (1.0344, "ratio", "×1.034"),
        (3.554e9, "bytes", "3.55 GB"),
        (1234.5, "tok/s", "1,234 tok/s"),
        (0.0, "s", "0 s"),
        (None, "s", "—"),
        (math.nan, "s", "not finite"),
        (math.inf, "s", "∞"),
    ],
)
def test_a_number_is_written_as_people_write_it(value: float | None, unit: str, text: str) -> None:
    assert show(value, unit) == text


def test_an_interval_shows_both_ends() -> None:
    assert show_interval((0.70, 0.80), "share") == "70.0 % … 80.0 %"
    assert show_interval(None) == "—"
