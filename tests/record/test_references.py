"""Only what somebody promoted is a reference, and it is found again by what it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.json_values import object_of
from pytest_llmperf.record.model import Record
from pytest_llmperf.record.references import key_of, promote, reference_for, references, replaced_by
from pytest_llmperf.record.store import read_record, write_record
from pytest_llmperf.record.tables import ANSWERS, load_answers, store_table
from tests.record.test_tables import ANSWER

RUN: dict[str, Any] = {
    "profile": "gpu",
    "device": {"name": "NVIDIA H100 80GB HBM3"},
    "candidates": ["distill"],
    "baseline": "math",
    "servers": [{"row": "distill", "engine": "vllm 0.32.0", "arguments": ["--x"]}],
    "verdicts": [{"metric": "accuracy", "status": "PASS", "n": 1}],
}
RED = {"status": "FAIL", "green": False, "green_by_itself": False}


def recorded(directory: Path, **changed: Any) -> Path:
    path = directory / "night.json"
    write_record(path, RUN | {ANSWERS.key: store_table(path, ANSWERS, [ANSWER])} | changed)
    return path


def test_a_promoted_record_is_found_again_with_its_answers(tmp_path: Path) -> None:
    directory = tmp_path / "references"
    assert reference_for(Record.of(RUN), directory) is None
    place = promote(recorded(tmp_path), directory, "before the upgrade")
    assert place.parent.name.startswith("gpu-NVIDIA-H100-80GB-HBM3-distill-vs-math-")
    (tmp_path / "night.json").unlink()
    found = reference_for(Record.of(RUN), directory)
    assert found is not None
    assert found.path == place
    assert "before the upgrade" in str(found)
    assert load_answers(found.path, found.record) == [ANSWER]


def test_another_device_has_no_reference_and_another_engine_has_the_last_one(tmp_path: Path) -> None:
    promote(recorded(tmp_path), tmp_path / "references")
    assert reference_for(Record.of(RUN | {"device": {"name": "A100"}}), tmp_path / "references") is None
    servers = [{"row": "distill", "engine": "vllm 0.33.0", "arguments": ["--x"]}]
    upgraded = Record.of(RUN | {"servers": servers})
    assert key_of(upgraded) != key_of(Record.of(RUN))
    assert reference_for(upgraded, tmp_path / "references") is not None
    promote(recorded(tmp_path, servers=servers), tmp_path / "references")
    assert len(references(tmp_path / "references")) == 2
    exact = reference_for(Record.of(RUN), tmp_path / "references")
    assert exact is not None
    assert exact.record.servers == Record.of(RUN).servers


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"partial": "the run was interrupted"}, r"partial .* --force promotes it"),
        (
            {"verdicts": [RUN["verdicts"][0] | {"status": "FAIL"}], "run": RED},
            r"not green .* --force promotes it",
        ),
        ({"verdicts": []}, "no verdict"),
    ],
)
def test_what_is_not_a_whole_run_is_not_promoted(tmp_path: Path, changed: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        promote(recorded(tmp_path, **changed), tmp_path / "references")
    assert not (tmp_path / "references").exists()


def test_a_reference_names_nobody_and_carries_no_traces(tmp_path: Path) -> None:
    record = read_record(promote(recorded(tmp_path), tmp_path / "references")).as_json()
    assert set(object_of(record["promoted"])) == {"date", "note"}
    assert "traces_file" not in record


def test_a_run_with_waived_gates_is_promoted_only_by_saying_so(tmp_path: Path) -> None:
    waived = {"metric": "tpot", "status": "FAIL", "n": 9, "waived": "until 2026-12-31: a known fault"}
    source = recorded(tmp_path, verdicts=[*RUN["verdicts"], waived])
    with pytest.raises(UsageError, match=r"a waiver lets 1 verdict of it through, .* --waived promotes it"):
        promote(source, tmp_path / "references")
    assert not (tmp_path / "references").exists()
    record = read_record(promote(source, tmp_path / "references", "release 3", waived=True))
    assert record.promoted is not None
    assert record.promoted.note == "release 3; 1 waived"


def test_a_red_or_partial_run_is_promoted_by_force_and_its_note_says_so(tmp_path: Path) -> None:
    red = [RUN["verdicts"][0] | {"status": "FAIL"}]
    source = recorded(tmp_path, verdicts=red, run=RED, partial="the run was interrupted")
    record = read_record(promote(source, tmp_path / "references", "only for tonight", force=True))
    assert record.promoted is not None
    note = record.promoted.note or ""
    assert note.startswith("only for tonight; the record is partial (the run was interrupted); ")
    assert "the run was not green (" in note


def test_force_promotes_nothing_without_a_verdict(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no verdict"):
        promote(recorded(tmp_path, verdicts=[]), tmp_path / "references", force=True)


def test_what_is_replaced_is_told_also_if_it_is_broken(tmp_path: Path) -> None:
    source, directory = recorded(tmp_path), tmp_path / "references"
    assert replaced_by(source, directory) == ""
    place = promote(source, directory, "release 3")
    assert replaced_by(source, directory).endswith("(release 3)")
    place.write_text("{}")
    assert replaced_by(source, directory) == f"{place}, which could not be read"
