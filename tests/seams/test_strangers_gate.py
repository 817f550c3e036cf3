"""A kind of gate that somebody else wrote in one file does whatever the plugin's own kinds do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_llmperf.config.bounds import Bound, Incomparable
from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.base import GATE_KINDS, Gate, SidedJudge, strict
from pytest_llmperf.gates.early_stopping import spending
from pytest_llmperf.gates.judgement import GateFailed, GateInvalid
from pytest_llmperf.gates.mutation import Result, mutation_test
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.record.gate_files import RecordedGate, gathered, keep, load_gates, store_gates
from pytest_llmperf.record.model import Record
from pytest_llmperf.report.plan_table import plan_table
from tests.seams.worst_case import Worst, WorstGate

PAUSES = WorstGate(metric="pause", bound=0.2, values=(0.05, 0.1))


def test_it_is_judged() -> None:
    assert Worst("pause", [0.05, 0.1]) <= 0.2
    with pytest.raises(GateFailed, match=r"pause is 0\.3 s at the worst"):
        assert Worst("pause", [0.05, 0.3]) <= Bound(0.2, "s", "budgets.toml [x] pause", "at most")
    with pytest.raises(GateInvalid, match="nothing was measured"):
        assert Worst("pause", []) <= 0.2
    with pytest.raises(GateInvalid, match="no budget for device"):
        assert Worst("pause", [0.1]) <= Incomparable("H100", "[gpu.H100.latency] pause")
    with pytest.raises(GateInvalid, match="a warm cache"):
        assert Worst("pause", [0.1], unusable="a warm cache") <= 0.2


def test_its_judge_sees_it_and_its_side() -> None:
    seen: list[Gate] = []

    def judge(gate: Gate) -> object:
        seen.append(gate)
        return strict(gate)

    assert Worst("pause", (0.05, 0.1), judge=SidedJudge(judge, "candidate")) <= 0.2  # type: ignore[arg-type]
    assert seen == [PAUSES]


def test_it_is_recorded_and_read_back(tmp_path: Path) -> None:
    kept = RecordedGate("test_pauses.py::test_pause", Status.PASS, PAUSES)
    keep(tmp_path / "cases" / "main.jsonl", 0, 1, kept)
    path = tmp_path / "night" / "record.json"
    record = Record.of({"cases": store_gates(path, gathered(tmp_path / "cases"))})
    assert load_gates(path, record) == [kept]


def test_it_is_planned() -> None:
    assert PAUSES.forecast(PAUSES.judge()).remark == "room of 2.00"
    assert any("pause" in line for line in plan_table([PAUSES.forecast()]))


def test_it_is_pooled_with_an_earlier_look() -> None:
    later = WorstGate(metric="pause", bound=0.2, values=(0.15,))
    pooled = later.add_to(PAUSES, Status.INCONCLUSIVE, spending(2))
    assert (pooled.values, pooled.judge().observed) == ([0.05, 0.1, 0.15], 0.15)
    assert "look 2" in pooled.judge().detail
    other = WorstGate(metric="gap", bound=0.2, values=(0.15,))
    assert "asked something else" in other.add_to(PAUSES, Status.INCONCLUSIVE, spending(2)).judge().why


def test_it_is_mutation_tested() -> None:
    tested = mutation_test(PAUSES, Status.PASS, claim=2.0)
    assert (tested.result, tested.smallest) == (Result.CAUGHT, 2.0)
    assert mutation_test(PAUSES, Status.PASS, claim=0.5).result is Result.MISSED


def test_a_kind_that_no_imported_module_defines_is_named(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    line = '{"test": "a", "status": "PASS", "case": {"kind": "opinion"}}'
    record = Record.of({"cases": store_gates(path, [line])})
    with pytest.raises(UsageError, match="'opinion'"):
        load_gates(path, record)


def test_a_class_without_a_kind_cannot_be_recorded_and_a_name_belongs_to_one_class() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Unnamed(WorstGate):
        pass

    with pytest.raises(TypeError, match="write class Unnamed"):
        Unnamed(metric="pause", bound=0.2, values=()).to_json()
    with pytest.raises(ValueError, match="two kinds of gate are called 'worst case'"):
        type("Other", (Gate,), {}, kind="worst case")
    assert GATE_KINDS["worst case"] is WorstGate
