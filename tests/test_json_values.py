"""JSON from outside is read without an exception, and a value of another kind than was asked for is none."""

from __future__ import annotations

import math

import pytest

from pytest_llmperf.json_values import Json, finite, list_of, object_of, parse_json


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, null]}', {"a": [1, None]}),
        (b"\xef\xbb\xbf[1]", [1]),
        ("true", True),
        (b"", None),
        (b"{", None),
        (b'"\xff"', "\ufffd"),
        (b"[" * 100_000, None),
    ],
)
def test_a_body_is_json_or_nothing(body: bytes | str, value: Json) -> None:
    assert parse_json(body) == value


@pytest.mark.parametrize("value", [None, True, "1", [1.0], {}, math.nan, -math.inf, 10**400])
def test_what_is_no_finite_number_is_none(value: Json) -> None:
    assert finite(value) is None


def test_a_value_of_another_kind_is_empty() -> None:
    assert (finite(2), finite(-0.5)) == (2.0, -0.5)
    assert object_of({"a": 1}) == {"a": 1}
    assert list_of([1]) == [1]
    others: list[Json] = ["ab", None, 1]
    assert [object_of(value) for value in ([1], *others)] == [{}] * 4
    assert [list_of(value) for value in ({}, *others)] == [()] * 4
