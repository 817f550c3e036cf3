"""The record of a run that goes on: whole after every test, at a cost that does not grow with the tests before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.record import store, summary
from pytest_llmperf.record.redaction import GONE, hide
from pytest_llmperf.record.store import UnfinishedRecord, read_record
from pytest_llmperf.runs import recording
from pytest_llmperf.runs.ledger import Ledger
from pytest_llmperf.runs.recording import Recording

TESTS = [f"t.py::test_{number}" for number in range(12)]


class Measured:
    """One more load after each test, as :class:`Measurements` tells it: the same objects for what stays the same."""

    def __init__(self) -> None:
        self.loads: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []

    def measure(self, number: int) -> None:
        rounds = [{"requests": 8, "window_s": 1.0, "ttft_s": [0.1 + number] * 8, "output_tokens": 80}] * 64
        shape = {"input_tokens": 64 + number, "output_tokens": 10}
        self.loads.append({"row": "distill", "concurrency": 8, "workload": shape, "rounds": rounds})
        asked = {"row": "distill", "task": f"t{number}", "variant": "v", "items": 10}
        self.answers.append(asked | {"outcomes": {"correct": 9, "wrong": 1}})

    def facts(self) -> dict[str, Any]:
        return {"profile": "test", "answers": [*self.answers], "load": [*self.loads]}

    def events(self) -> list[dict[str, str]]:
        return []

    def take_answers(self) -> list[dict[str, Any]]:
        return []

    take_traces = take_tokens = take_answers


def run(path: Path, counted: dict[str, int]) -> list[dict[str, int]]:
    """A run of all tests; returns what each counted, after reading the record that it left."""
    ledger, measured = Ledger("fail"), Measured()
    state = path.parent / "state"
    state.mkdir()
    made: Any = measured
    kept = Recording(path, state, "main", path.parent, made, ledger, lambda record: None)
    kept.expect(dict.fromkeys(TESTS, path.parent / "t.py"), [])
    kept.begin()
    for test in TESTS:
        ledger.enter(test, needs="load")
    costs = []
    for number, test in enumerate(TESTS):
        before = dict(counted)
        ledger.begin(test)
        measured.measure(number)
        verdict = Verdict(Status.PASS, "TTFT", float(number), None, 1.0, 1, None, "x", "y")
        *_, asserted = ledger.judged(verdict)
        asserted()
        ledger.end(test)
        ledger.leave()
        assert kept.keep(test, []) == ""
        kept.update()
        costs.append({name: counted[name] - before.get(name, 0) for name in counted})
        record = read_record(path)
        assert record.partial == f"the run has not ended: {number + 1} tests of 12 have"
        assert [entry.verdict.observed for entry in record.verdicts] == [*map(float, range(number + 1))]
        assert len(record.load) == len(record.answers) == number + 1
        times = [metric.value for metric in record.metrics if metric.metric == "ttft_p50"]
        assert times == [pytest.approx(0.1 + before) for before in range(number + 1)]
    return costs


def test_a_test_costs_the_same_however_many_were_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = {"characters encoded": 0, "entries parsed": 0, "loads summarised": 0}
    encoded, entry_of, of_load = store._encoded, recording._entry_of, summary._of_load

    def count_encoded(value: Any) -> str:
        text = encoded(value)
        counted["characters encoded"] += len(text)
        return text

    def count_parsed(key: str, entry: Any) -> Any:
        counted["entries parsed"] += 1
        return entry_of(key, entry)

    def count_summarised(*starts: Any) -> Any:
        counted["loads summarised"] += 1
        return of_load(*starts)

    monkeypatch.setattr(store, "_encoded", count_encoded)
    monkeypatch.setattr(recording, "_entry_of", count_parsed)
    monkeypatch.setattr(summary, "_of_load", count_summarised)
    costs = run(tmp_path / "record.json", counted)
    assert [cost["entries parsed"] for cost in costs] == [2] * 12
    assert [cost["loads summarised"] for cost in costs] == [1] * 12
    assert costs[-1]["characters encoded"] < 1.1 * costs[1]["characters encoded"]


def test_a_secret_that_became_known_is_taken_out_of_what_was_encoded_before(tmp_path: Path) -> None:
    path, secret = tmp_path / "record.json", "a-key-that-is-known-later"
    written, fields = UnfinishedRecord(path), {"events": [{"time": "now", "text": f"the key is {secret}"}]}
    written.write(fields)
    assert secret in path.read_text(encoding="utf-8")
    hide(secret)
    written.write(fields)
    assert json.loads(path.read_text(encoding="utf-8"))["events"][0]["text"] == f"the key is {GONE}"
