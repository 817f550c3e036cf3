"""Data of two runs are put together only where both were of the same files."""

from __future__ import annotations

import dataclasses
from typing import cast

import pytest

import pytest_llmperf
from pytest_llmperf.config.models import Model
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.measure.looks import row_fingerprint
from pytest_llmperf.record.compare import compare
from pytest_llmperf.record.model import Record
from pytest_llmperf.record.prior import incomparable

SAME = "f" * 16


@pytest.mark.parametrize(
    ("then", "now", "refused"),
    [
        ("a" * 16, "b" * 16, True),
        ("a" * 16, "a" * 16, False),
        (None, "b" * 16, False),
        ("a" * 16, None, False),
    ],
)
def test_runs_whose_files_differ_are_not_joined(then: str | None, now: str | None, refused: bool) -> None:
    record = {"profile": "p", "candidates": ["m"], "rows": {"m": SAME}, "content": {"m": then}}
    facts: JsonObject = {
        "profile": "p",
        "device": {},
        "baseline": "m",
        "rows": {"m": SAME},
        "content": {"m": now},
        "workload": {},
    }
    trouble = incomparable(Record.of(record), facts, ["m"])
    assert ("the files of row m are not what they were" in trouble) is refused
    assert refused or trouble == ""


def test_a_comparison_names_the_files_whose_content_is_another() -> None:
    def record(digest: str) -> Record:
        return Record.of({"servers": [{"row": "m", "files": {"./adapter": digest, "./same": "1"}}]})

    assert compare(record("a"), record("b")).differs == ["m: other content of ./adapter"]
    assert compare(Record.of({"servers": [{"row": "m"}]}), record("b")).differs == []


def as_before(row: Model) -> Model:
    """The row as a version without the key ``extra_body`` had it."""
    fields = [f for f in dataclasses.fields(row) if f.name != "extra_body"]
    older = dataclasses.make_dataclass(
        "Model", [(f.name, f.type, dataclasses.field(default=None)) for f in fields], frozen=True
    )
    return cast(Model, older(**{f.name: getattr(row, f.name) for f in fields}))


def test_a_row_of_a_version_without_a_key_is_the_same_row_while_the_key_has_its_default() -> None:
    row = Model(name="m", profile="p", weights="org/m")
    assert row_fingerprint(row) == row_fingerprint(as_before(row))
    assert row_fingerprint(dataclasses.replace(row, extra_body=False)) != row_fingerprint(row)
    assert row_fingerprint(dataclasses.replace(row, dtype="float16")) != row_fingerprint(row)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"plugin": "0.0.3"}, "or the record is of another version of pytest-llmperf (0.0.3)"),
        ({"plugin": pytest_llmperf.__version__}, "sampling)"),
        ({}, "sampling)"),
    ],
)
def test_a_row_that_cannot_be_joined_names_the_version_that_recorded_it(
    environment: dict[str, str], says: str
) -> None:
    record = {"profile": "p", "candidates": ["m"], "rows": {"m": "a" * 16}, "environment": environment}
    facts: JsonObject = {
        "profile": "p",
        "device": {},
        "baseline": "m",
        "rows": {"m": "b" * 16},
        "workload": {},
    }
    trouble = incomparable(Record.of(record), facts, ["m"])
    assert trouble.startswith("row m of the catalogue is not what it was then")
    assert trouble.endswith(says)
    assert "\n" not in trouble
