"""The record's schema: itself valid, kept by what is written, and every key of a record explained in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.record.store import SCHEMA, RecordNotWritten, read_record, write_record
from pytest_llmperf.record.validity import first_problem, schema, undescribed

VERDICT: dict[str, Any] = {"metric": "accuracy", "status": "PASS", "n": 50, "interval": [0.7, None]}


def test_the_schema_is_a_json_schema_of_the_version_that_is_written() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["properties"]["schema"]["const"] == schema()["title"] == SCHEMA


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"verdicts": [VERDICT | {"n": -1}]}, r"verdicts\[0\]\.n"),
        ({"verdicts": [VERDICT | {"status": "GREEN"}]}, r"verdicts\[0\]\.status"),
        ({"verdicts": [VERDICT | {"interval": [0.7]}]}, r"verdicts\[0\]\.interval"),
        ({"servers": [{"weights": "x"}]}, r"servers\[0\].*'row'"),
        ({"suite": {"sha256": "abc"}}, r"suite\.sha256"),
        ({"partial": True}, "partial"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place_when_written_and_when_read(
    tmp_path: Path, changed: dict[str, Any], where: str
) -> None:
    path = tmp_path / "record.json"
    write_record(path, {"verdicts": [VERDICT]})
    with pytest.raises(RecordNotWritten, match=where) as caught:
        write_record(path, changed)
    assert "\n" not in str(caught.value)
    assert read_record(path)["verdicts"] == [VERDICT], "the old record stays"
    assert json.loads((tmp_path / "record.json.invalid").read_text())["schema"] == SCHEMA, "nothing is lost"
    (tmp_path / "record.json.invalid").replace(path)
    with pytest.raises(LlmperfError, match=where):
        read_record(path)


def test_keys_of_hooks_and_of_later_versions_are_left_alone() -> None:
    assert first_problem({"schema": SCHEMA, "mine": {"x": 1}, "verdicts": [VERDICT | {"mine": 1}]}) == ""


def test_what_the_schema_says_nothing_of_is_named_by_its_place() -> None:
    rounds = [{"requests": 2}, {"requests": 2, "mine": 0}]
    record = {
        "schema": SCHEMA,
        "mine": {"x": 1},
        "load": [{"row": "a", "rounds": rounds, "workload": {"sampling": {"anything": 1}}}],
        "scheduled_load": [{"row": "a", "rounds": rounds}],
        "telemetry": [{"row": "a", "lowered": {"power cap": 0.1}, "readings": {"time_s": [{"mine": 1}]}}],
        "calibration": [{"concurrency": 1, "error": {"errors_s": {"ttft": {"p50": 0.1}}}}],
    }
    assert undescribed(record) == [
        "mine",
        "load[].rounds[].mine",
        "scheduled_load[].rounds[].mine",
        "telemetry[].readings.time_s[]",
    ]


def test_the_checksum_of_an_own_record_is_held_to_its_form() -> None:
    wrong = {"schema": SCHEMA, "adds_to": [{"file": "record.json", "sha256": "abc"}]}
    assert first_problem(wrong).startswith("adds_to[0].sha256")


def test_a_long_value_does_not_hide_what_is_wrong_with_it() -> None:
    problem = first_problem({"schema": SCHEMA, "servers": "x" * 10_000})
    assert problem.startswith("servers: 'xxx")
    assert problem.endswith("is not of type 'array'")
    assert len(problem) < 200


def test_every_key_of_the_schema_is_explained_or_speaks_for_itself() -> None:
    for name, about in schema()["properties"].items():
        assert about.get("description") or about.get("const"), name
