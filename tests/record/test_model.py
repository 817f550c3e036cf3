"""The types of a record: enforced when a record is written and read, and every key explained."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.record import SCHEMA
from pytest_llmperf.record.model import Record, RunOutcome, VerdictEntry
from pytest_llmperf.record.store import RecordNotWritten, read_record, write_record
from tests.undescribed import undescribed

VERDICT: dict[str, Any] = {"metric": "accuracy", "status": "PASS", "n": 50, "interval": [0.7, None]}


def test_a_verdict_has_a_key_in_the_record_for_each_of_its_fields() -> None:
    assert {field.name for field in dataclasses.fields(Verdict)} <= VerdictEntry.model_fields.keys()


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"verdicts": [VERDICT | {"n": -1}]}, r"verdicts\[0\]\.n"),
        ({"verdicts": [VERDICT | {"status": "GREEN"}]}, r"verdicts\[0\]\.status"),
        ({"verdicts": [VERDICT | {"interval": [0.7]}]}, r"verdicts\[0\]\.interval"),
        ({"servers": [{"weights": "x"}]}, r"servers\[0\]\.row"),
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
    assert read_record(path).as_json()["verdicts"] == [VERDICT], "the old record stays"
    assert json.loads((tmp_path / "record.json.invalid").read_text())["schema"] == SCHEMA, "nothing is lost"
    (tmp_path / "record.json.invalid").replace(path)
    with pytest.raises(LlmperfError, match=where):
        read_record(path)


def test_keys_of_hooks_and_of_later_versions_are_kept() -> None:
    fields = {"schema": SCHEMA, "mine": {"x": 1}, "verdicts": [VERDICT | {"mine": 1}]}
    assert Record.of(fields).as_json() == fields


def test_a_record_is_written_again_as_it_was_read() -> None:
    fields = {
        "schema": SCHEMA,
        "device": {"class": "CPU", "name": "CPU"},
        "sampling": [{"row": "a", "what": "t", "parameters": {"seed": {"value": None, "from": "request"}}}],
        "load": [{"row": "a", "concurrency": None, "rounds": [{"ttft_s": [0.5, None]}]}],
        "metrics": [],
    }
    assert Record.of(fields).as_json() == fields, "what is absent stays absent"


@pytest.mark.parametrize("value", [True, "1", 1.5])
def test_values_are_not_converted(value: object) -> None:
    with pytest.raises(ValueError, match=r"verdicts\[0\]\.n: Input should be a valid integer"):
        Record.of({"verdicts": [VERDICT | {"n": value}]})


def test_numbers_are_finite() -> None:
    with pytest.raises(ValueError, match=r"^load\[0\]\.rounds\[0\]\.ttft_s\[0\]: .* a finite number"):
        Record.of({"load": [{"row": "a", "rounds": [{"ttft_s": [float("nan")]}]}]})


def test_an_end_of_an_interval_that_is_not_known_is_infinite_in_the_verdict() -> None:
    [verdict] = Record.of({"verdicts": [VERDICT | {"test": "t.py::test", "mine": 1}]}).judged
    assert (verdict.interval, verdict.status) == ((0.7, math.inf), Status.PASS)


def test_a_partial_run_is_never_green() -> None:
    green = {"verdicts": [VERDICT], "run": {"status": "PASS", "green": True}}
    assert Record.of(green).outcome.green
    partial = Record.of(green | {"partial": "it was killed"}).outcome
    assert (partial.green, partial.status) == (False, Status.INVALID)
    assert "it was killed" in partial.why


def test_a_run_that_says_that_it_was_red_is_not_green_whatever_its_verdicts_say() -> None:
    assert not Record.of({"verdicts": [VERDICT], "run": {"status": "PASS", "green": False}}).outcome.green


def test_what_the_types_say_nothing_of_is_named_by_its_place() -> None:
    rounds = [{"requests": 2}, {"requests": 2, "mine": 0}]
    record = {
        "mine": {"x": 1},
        "load": [{"row": "a", "rounds": rounds, "workload": {"sampling": {"anything": 1}}}],
        "scheduled_load": [{"row": "a", "rounds": rounds}],
        "telemetry": [{"row": "a", "lowered": {"power cap": 0.1}, "readings": {"time_s": [1.0], "mine": []}}],
        "calibration": [{"concurrency": 1, "error": {"errors_s": {"ttft": {"p50": 0.1}}}}],
    }
    assert undescribed(Record.of(record)) == [
        "mine",
        "load[].rounds[].mine",
        "scheduled_load[].rounds[].mine",
        "telemetry[].readings.mine",
    ]


def test_the_checksum_of_an_earlier_record_is_held_to_its_form() -> None:
    with pytest.raises(ValueError, match=r"^adds_to\[0\]\.sha256"):
        Record.of({"adds_to": [{"file": "record.json", "sha256": "abc"}]})


def test_a_long_value_does_not_hide_what_is_wrong_with_it() -> None:
    with pytest.raises(ValueError, match=r"^servers: Input should be a valid array, not 'xxx") as caught:
        Record.of({"servers": "x" * 10_000})
    assert len(str(caught.value)) < 200


def test_every_key_of_the_record_is_explained() -> None:
    for model in (Record, RunOutcome):
        plain = {name for name, field in model.model_fields.items() if not field.description}
        assert plain <= {"status"}
