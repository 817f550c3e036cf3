"""Plots' data as the page holds them: smaller, and the same after unpacking."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmperf.report.plots.packing import pack
from tests.report.conftest import unpacked


def back(*data: dict[str, Any]) -> list[Any]:
    """The data after a way through the page."""
    packed = json.loads(json.dumps(pack([{"data": each} for each in data])))
    return [unpacked(spec["data"], packed)["values"] for spec in packed]


OBJECTS = [{"row": "distill", "value": 0.1 * place, "low": None, "new": place > 2} for place in range(9)]


@pytest.mark.parametrize(
    "values",
    [
        OBJECTS,
        [["math", "8 at a time", 1, 0.5], ["math", "8 at a time", 2, 0.25], ["math", "1 at a time", 3, None]],
        [{"a": 1}, {"a": 1.0}, {"a": True}],
        [{"a": "x"}, {"b": "x"}],
        [{"a": [1, 2]}, {"a": {"only": 3}}],
        [1, 2],
        [],
    ],
)
def test_data_are_the_same_after_unpacking(values: list[Any]) -> None:
    (found,) = back({"values": values})
    assert json.dumps(found) == json.dumps(values)


def test_names_and_repeated_texts_are_written_once() -> None:
    text = json.dumps(pack([{"data": {"values": OBJECTS}}]))
    assert [text.count(word) for word in ("distill", '"value"', '"low"')] == [1, 1, 1]


def test_the_data_of_two_plots_are_written_once() -> None:
    first, other, again = pack(
        [{"data": {"values": v}, "mark": "bar"} for v in (OBJECTS, OBJECTS[:2], OBJECTS)]
    )
    assert again == {"data": {"same": 0}, "mark": "bar"}
    assert "columns" in other["data"]
    assert back({"values": OBJECTS}, {"values": OBJECTS}) == [OBJECTS, OBJECTS]
    assert "columns" in first["data"]
