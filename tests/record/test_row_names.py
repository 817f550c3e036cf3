"""Rows of another name are compared by their role; nothing else of the record changes."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.record.compare import Change, compare
from pytest_llmperf.record.model import Record
from pytest_llmperf.record.row_names import by_role, given_pairs, renamed
from tests.record.test_compare import run


def record(candidate: str, baseline: str, right: int = 80) -> Record:
    fields: dict[str, Any] = run(right, 100 - right, candidates=[candidate], baseline=baseline)
    for part in (*fields["answers"], *fields["metrics"]):
        part["row"] = candidate
    fields["servers"] = [{"row": candidate}, {"row": baseline}]
    fields["suite"] = {"tests": [f"t.py::test_floor[{candidate}]"]}
    fields["rows"] = {candidate: "ab" * 8, baseline: "cd" * 8}
    return Record.of(fields)


def test_candidate_and_baseline_are_paired_by_role_where_their_names_differ() -> None:
    before = record("distill", "math")
    assert by_role(before, record("distill", "math")) == {}
    assert by_role(before, record("int8", "math")) == {"int8": "distill"}
    assert by_role(before, record("damaged", "distill")) == {"damaged": "distill", "distill": "math"}
    assert by_role(before, record("distill", "other")) == {}, "rows of one name are the same row"


def test_the_second_candidate_is_compared_with_the_first() -> None:
    before, now = record("distill", "math"), record("damaged", "distill", right=40)
    pairs = by_role(before, now)
    found = compare(before, renamed(now, pairs))
    assert [one.what for one in found.of(Change.WORSE)] == ["distill: gsm8k accuracy"]
    assert (found.vanished, found.new) == ([], [])


def test_only_names_of_rows_change() -> None:
    now = record("int8", "math")
    there = renamed(now, {"int8": "distill"})
    assert there.candidates == ("distill",)
    assert [server.row for server in there.servers] == ["distill", "math"]
    assert set(there.rows) == {"distill", "math"}
    back = renamed(there, {"distill": "int8"})
    assert back.as_json() == now.as_json()


@pytest.mark.parametrize(
    ("test", "wanted"),
    [
        ("t.py::test_a[int8]", "t.py::test_a[distill]"),
        ("t.py::test_a[int8-8]", "t.py::test_a[distill-8]"),
        ("t.py::test_a[8-int8]", "t.py::test_a[8-distill]"),
        ("t.py::test_a[int8x-8]", "t.py::test_a[int8x-8]"),
        ("t.py::test_int8", "t.py::test_int8"),
    ],
)
def test_names_in_test_ids_change_only_where_they_are_whole(test: str, wanted: str) -> None:
    now = record("int8", "math")
    now = Record.of({**now.as_json(), "suite": {"tests": [test]}})
    assert renamed(now, {"int8": "distill"}).suite.tests == (wanted,)


def test_a_row_that_would_share_a_name_is_told_apart() -> None:
    now = record("int8", "distill")
    there = renamed(now, {"int8": "distill"})
    assert [server.row for server in there.servers] == ["distill", "distill (second run)"]


@pytest.mark.parametrize(
    "rows", [["int8"], ["math=nothing"], ["nothing=int8"], ["distill=int8", "math=int8"]]
)
def test_pairs_that_cannot_be_are_refused(rows: list[str]) -> None:
    with pytest.raises(UsageError, match="--rows"):
        given_pairs(rows, record("distill", "math"), record("int8", "math"))


def test_pairs_can_be_given() -> None:
    before, now = record("distill", "math"), record("int8", "math")
    assert given_pairs(["math=int8"], before, now) == {"int8": "math"}
