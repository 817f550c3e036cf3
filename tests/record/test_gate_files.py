"""The data of a run's gates beside its record: in the order of the run, whole, and of no other run."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.quantile import QuantileGate
from pytest_llmperf.gates.scalar import ScalarGate
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.record.gate_files import RecordedGate, gathered, keep, load_gates, store_gates
from pytest_llmperf.record.model import Record

PEAK = RecordedGate(
    "test_memory.py::test_peak[ü]",
    Status.PASS,
    ScalarGate(metric="peak", bound=2.0, value=1.0, unit="bytes", at_least=False),
)


def of_test(name: str) -> RecordedGate:
    return dataclasses.replace(PEAK, test=name)


def stored(tmp_path: Path, *kept: RecordedGate) -> tuple[Path, Record]:
    """A record and its path, with ``kept`` beside it."""
    for place, one in enumerate(kept):
        keep(tmp_path / "cases" / "main.jsonl", place, 1, one)
    path = tmp_path / "night" / "record.json"
    return path, Record.of({"cases": store_gates(path, gathered(tmp_path / "cases"))})


def test_what_was_kept_is_read_back(tmp_path: Path) -> None:
    path, record = stored(tmp_path, PEAK, of_test("b"))
    assert record.cases is not None
    assert (record.cases.count, record.cases.file) == (2, "record.cases.parquet")
    assert load_gates(path, record) == [PEAK, of_test("b")]


def test_a_process_that_has_judged_nothing_reads_every_kind(tmp_path: Path) -> None:
    path, record = stored(tmp_path, PEAK)
    path.write_text(json.dumps({"cases": record.model_dump(mode="json")["cases"]}))
    script = """
import json, sys
from pathlib import Path
from pytest_llmperf.gates.base import GATE_KINDS
from pytest_llmperf.record.gate_files import load_gates
from pytest_llmperf.record.model import Record
path = Path(sys.argv[1])
[kept] = load_gates(path, Record.of(json.loads(path.read_text())))
print(kept.test, len(GATE_KINDS))
"""
    read = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert read.stdout.split()[0] == PEAK.test
    assert int(read.stdout.split()[1]) >= 10


def test_the_order_is_that_of_the_run_whichever_process_was_first(tmp_path: Path) -> None:
    for process, place, name in (("gw1", 11, "c"), ("gw0", 2, "b"), ("gw1", 0, "a"), ("gw0", 2, "b2")):
        keep(tmp_path / f"{process}.jsonl", place, 1, of_test(name))
    assert [json.loads(text)["test"] for text in gathered(tmp_path)] == ["a", "b", "b2", "c"]


def test_of_a_test_that_was_tried_again_the_last_try_is_kept(tmp_path: Path) -> None:
    for process, attempt, name in (("gw0", 1, "first"), ("gw1", 2, "last"), ("gw0", 1, "first too")):
        keep(tmp_path / f"{process}.jsonl", 0, attempt, of_test(name))
    assert [json.loads(text)["test"] for text in gathered(tmp_path)] == ["last"]


def test_a_line_that_a_killed_process_did_not_end_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "gw0.jsonl"
    keep(file, 0, 1, PEAK)
    whole = file.read_text()
    file.write_text(whole + whole[: len(whole) // 2])
    assert len(gathered(tmp_path)) == 1


def test_a_run_without_gates_keeps_nothing(tmp_path: Path) -> None:
    assert gathered(tmp_path / "nowhere") == []
    path, record = stored(tmp_path)
    with pytest.raises(UsageError, match="no gate was judged"):
        load_gates(path, record)


def test_a_record_that_was_moved_with_its_file_is_read(tmp_path: Path) -> None:
    path, record = stored(tmp_path, PEAK)
    path.parent.rename(tmp_path / "elsewhere")
    assert load_gates(tmp_path / "elsewhere" / "record.json", record) == [PEAK]


def test_a_file_that_is_missing_changed_or_empty_is_one_line_that_says_so(tmp_path: Path) -> None:
    path, record = stored(tmp_path, PEAK)
    file = path.with_name("record.cases.parquet")
    changes = {
        "SHA-256 differs": file.read_bytes()[:-1],
        "SHA-256": b"",
        "cannot be read: No such file": None,
    }
    for words, data in changes.items():
        file.unlink()
        if data is not None:
            file.write_bytes(data)
        with pytest.raises(UsageError, match=words) as caught:
            load_gates(path, record)
        assert "\n" not in str(caught.value)
        assert str(file) in str(caught.value)


def test_a_record_of_an_older_version_says_that_it_keeps_no_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keeps no data of its gates"):
        load_gates(tmp_path / "record.json", Record.of({}))


def test_a_gate_of_a_later_version_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    line = '{"test": "a", "status": "PASS", "case": {"kind": "opinion"}}'
    record = Record.of({"cases": store_gates(path, [line])})
    with pytest.raises(UsageError, match="cannot be read by this version") as caught:
        load_gates(path, record)
    assert "\n" not in str(caught.value)


def test_a_record_cannot_point_to_a_file_elsewhere(tmp_path: Path) -> None:
    path, record = stored(tmp_path, PEAK)
    assert record.cases is not None
    astray = record.cases.model_copy(update={"file": f"../{path.parent.name}/record.cases.parquet"})
    assert load_gates(path, record.model_copy(update={"cases": astray})) == [PEAK], (
        "only the name counts, beside the record"
    )


def test_the_table_is_several_times_smaller_than_its_json(tmp_path: Path) -> None:
    chance = random.Random(1)
    times = tuple(round(chance.lognormvariate(-3, 0.3), 9) for _ in range(2000))
    gates = [
        QuantileGate(metric="ITL", bound=0.1, samples=times, q=q, unit="s", at_least=False)
        for q in (0.5, 0.95)
    ]
    path, record = stored(tmp_path, *(RecordedGate("t", Status.PASS, gate) for gate in gates))
    assert record.cases is not None
    size = path.with_name(record.cases.file).stat().st_size
    assert 3 * size < sum(len(json.dumps(gate.to_json())) for gate in gates)
