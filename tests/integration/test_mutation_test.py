"""``--llmperf-mutation-test``: what the gates of a recorded run catch, with nothing started and no test run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

SUITE = """
    import pathlib
    def test_floor(candidate, accuracy, budget):
        pathlib.Path("ran").touch()
        assert accuracy(candidate) >= budget.accuracy.floor
    def test_not_worse(candidate, baseline, accuracy, budget):
        assert accuracy(candidate) >= accuracy(baseline) - budget.accuracy.margin
    def test_peak(candidate, memory, budget):
        assert memory(candidate).peak <= budget.memory.peak
    def test_too_much(candidate, accuracy):
        assert accuracy(candidate) >= 0.95
    def test_not_asserted(candidate, accuracy):
        accuracy(candidate) >= 0.1
    def test_stream(candidate, stream):
        assert stream(candidate, "1 + 1?").ok
    def test_of_no_model():
        pass
"""
BUDGETS = """
[test.any.accuracy]
floor = "60 %"
margin = "5 points"
{accuracy}
[test.any.memory]
peak = "100 TB"
{memory}
"""
GATES = ["test_floor", "test_not_worse", "test_peak", "test_too_much"]


def claim(project: Project, accuracy: str = "", memory: str = "") -> None:
    project.write(
        "budgets.toml",
        BUDGETS.format(
            accuracy=f"catches = {{ {accuracy} }}" if accuracy else "",
            memory=f"catches = {{ {memory} }}" if memory else "",
        ),
    )


def cells(result: Result, test: str) -> list[str]:
    """The table's row of the one gate of ``test``."""
    [line] = [line for line in result.lines(f"::{test}[") if not line.startswith("llmperf:")]
    return re.split(r"\s{2,}", line)[:-1]


@pytest.fixture(scope="module")
def recorded(shared_project: Project, solver: str) -> Project:
    """A project with the record of a whole run; its record is copied by those who change it."""
    shared_project.catalog({"distill": {"ANSWERS": solver}, "math": {"ANSWERS": solver}})
    shared_project.shrink(items=400)
    shared_project.suite(SUITE)
    claim(shared_project)
    result = shared_project.run(
        "--llmperf-record", "record.json", "--llmperf-full", "--junitxml", "junit.xml"
    )
    assert result.lines("1 failed, 6 passed", "1 error") or result.lines("1 failed, 6 passed"), result.text
    (shared_project.path / "ran").unlink()
    return shared_project


def mutation_test(project: Project, *arguments: str, **options: Any) -> Result:
    """A mutation test, which starts nothing and runs nothing."""
    before = len(project.starts)
    result: Result = project.run("--llmperf-mutation-test", "record.json", *arguments, **options)
    assert result.noise == []
    assert len(project.starts) == before, "a server was started"
    assert not (project.path / "ran").exists(), "a test was run"
    return result


def test_the_record_names_the_data_of_every_asserted_gate_in_the_order_of_the_run(recorded: Project) -> None:
    gates = recorded.gates()
    assert [kept.test for kept in gates] == [f"test_gate.py::{name}[distill]" for name in GATES]
    assert [kept.status for kept in gates] == ["PASS", "PASS", "PASS", "FAIL"]
    assert [len(getattr(kept.gate, "candidate", ())) for kept in gates] == [400, 400, 0, 400]
    about = recorded.record()["cases"]
    assert (about["file"], about["count"]) == ("record.cases.parquet", 4)


def test_the_data_of_gates_do_not_travel_with_the_reports(recorded: Project) -> None:
    junit = (recorded.path / "junit.xml").read_text()
    assert "llmperf_verdict" in junit
    assert "candidate&quot;: [[" not in junit
    assert len(junit) < 20_000


def test_a_mutation_test_shows_the_smallest_damage_that_each_gate_catches(recorded: Project) -> None:
    claim(recorded, accuracy='floor = "30 points", margin = "15 points"')
    result = mutation_test(recorded)
    assert result.code == 0, result.text
    head = next(line for line in result.text.splitlines() if line.startswith("gate "))
    assert head.split() == ["gate", "n", "undamaged", "caught", "from", "claims", "result", "test"]
    floor, margin = cells(result, "test_floor"), cells(result, "test_not_worse")
    assert floor == ["embedded accuracy", "400", "PASS", "30 pts", "30 pts", "caught"]
    assert margin[1:] == ["400", "PASS", "7 pts", "15 pts", "caught"]
    assert cells(result, "test_too_much")[1:] == ["400", "FAIL", "—", "—", "no claim"]
    assert cells(result, "test_peak")[1:] == ["1", "PASS", "none", "—", "no claim"]
    assert result.lines("llmperf: 2 caught, 2 no claim")


def test_tests_of_which_the_record_has_no_gate_are_named(recorded: Project) -> None:
    claim(recorded)
    result = mutation_test(recorded)
    [line] = result.lines("have no gate in the record")
    assert line == (
        "llmperf: 2 selected tests have no gate in the record: "
        "test_gate.py::test_not_asserted[distill], test_gate.py::test_stream[distill]"
    )
    assert result.lines("no gate claims to catch anything")


def test_a_generous_bound_that_claims_to_catch_something_is_found_out(recorded: Project) -> None:
    claim(recorded, memory='peak = "50 %"')
    result = mutation_test(recorded)
    assert result.code == 1, result.text
    assert cells(result, "test_peak")[3:] == ["none", "50 %", "MISSED"]
    [line] = result.lines("llmperf: MISSED", "test_peak", "claims 50 %")
    assert line.endswith("[budgets.toml [test.any.memory] peak]")


def test_a_claim_is_not_proved_by_a_bound_that_was_loosened_since(recorded: Project) -> None:
    claim(recorded, accuracy='floor = "30 points"')
    budgets = recorded.path / "budgets.toml"
    budgets.write_text(budgets.read_text().replace('"60 %"', '"20 %"'))
    result = mutation_test(recorded)
    assert result.code == 1, result.text
    assert result.lines("OTHER BOUND", "judged by 60 %, and the claim is of 20 %")


def test_only_the_selected_tests_are_proved(recorded: Project) -> None:
    claim(recorded, accuracy='floor = "30 points"', memory='peak = "50 %"')
    result = mutation_test(recorded, "-k", "floor")
    assert result.code == 0, result.text
    assert not result.lines("test_peak")
    assert result.lines("llmperf: 1 caught")
    assert result.lines("3 gates of the record are of tests that were not selected")


def test_a_mutation_test_of_nothing_is_not_green(recorded: Project) -> None:
    result = mutation_test(recorded, "-k", "stream")
    assert result.code == 1, result.text
    assert result.lines("nothing was tested")


def test_collecting_tests_no_gate(recorded: Project) -> None:
    result = mutation_test(recorded, "--collect-only", "-q")
    assert result.code == 0, result.text
    assert not result.lines("llmperf mutation test")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--llmperf-record", "other.json"], ["--llmperf-mutation-test", "--llmperf-record"]),
        (["--llmperf-plan"], ["--llmperf-mutation-test", "--llmperf-plan"]),
        (["-p", "xdist", "-n", "2"], ["--llmperf-mutation-test", "leave -n out"]),
    ],
)
def test_what_does_not_go_with_a_mutation_test_is_one_line(
    recorded: Project, arguments: list[str], words: list[str]
) -> None:
    result = mutation_test(recorded, *arguments)
    assert result.code == 4, result.text
    [line] = [line for line in result.text.splitlines() if line.strip()]
    assert all(word in line for word in words), line


def test_a_project_that_has_xdist_tests_mutations_without_workers(recorded: Project) -> None:
    claim(recorded)
    result = recorded.run_with_workers(0, "--llmperf-mutation-test", "record.json")
    assert result.code == 0, result.text
    assert result.lines("llmperf: 4 no claim")


def test_data_that_were_changed_lost_or_never_kept_are_one_line(recorded: Project, tmp_path: Path) -> None:
    claim(recorded, memory='peak = "50 %"')
    for name in ("record.json", "record.cases.parquet"):
        shutil.copy(recorded.path / name, tmp_path)
    record, data = tmp_path / "record.json", tmp_path / "record.cases.parquet"
    untouched = data.read_bytes()

    def refused(*words: str) -> None:
        # With a blank, pytest takes a file that exists for one to collect, and looks for its configuration there.
        result: Result = recorded.run(f"--llmperf-mutation-test={record}")
        assert result.code == 4, result.text
        [line] = [line for line in result.text.splitlines() if line.strip()]
        assert all(word in line for word in words), line

    data.write_bytes(untouched[:-1])
    refused(str(data), "SHA-256 differs", "record the run again")
    data.write_bytes(b"")
    refused(str(data), "SHA-256 differs")
    data.unlink()
    refused(str(data), "No such file")
    fields = json.loads(record.read_text())
    del fields["cases"]
    record.write_text(json.dumps(fields))
    refused(str(record), "keeps no data of its gates")
    record.write_text("[]")
    refused(str(record), "schema")
    record.unlink()
    refused(str(record), "No such file")


def test_a_gate_that_was_decided_early_asks_for_a_whole_record(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite("""
        def test_floor(candidate, accuracy, budget):
            assert accuracy(candidate) >= budget.accuracy.floor
    """)
    claim(project, accuracy='floor = "25 points"')
    assert project.run("--llmperf-record", "record.json").code == 0
    result = mutation_test(project)
    assert result.code == 1, result.text
    assert cells(result, "test_floor")[1] == "150 of 1,500"
    assert result.lines("llmperf: TOO FEW DATA", "150 of 1,500 items", "record with --llmperf-full")


def test_the_data_of_several_workers_are_put_together_in_the_order_of_the_run(
    project: Project, solver: str
) -> None:
    project.catalog({"other": {"ANSWERS": solver}})
    project.shrink(items=60)
    project.suite("""
        import time, pytest
        @pytest.mark.parametrize("floor", [0.3, 0.31, 0.32, 0.33, 0.34, 0.35])
        def test_floor(candidate, accuracy, floor):
            time.sleep(0.3 * (floor == 0.3))
            assert accuracy(candidate) >= floor
    """)
    result = project.run_with_workers(2, "--model", "other", "--llmperf-record", "record.json")
    assert result.code == 0, result.text
    tests = [kept.test for kept in project.gates()]
    assert tests == [f"test_gate.py::test_floor[other-{n}]" for n in (0.3, 0.31, 0.32, 0.33, 0.34, 0.35)]
    result = mutation_test(project)
    assert result.code == 0, result.text
    assert result.lines("6 no claim"), "the row of the record is taken, whatever the profile's candidate"
    assert not result.lines("have no gate in the record")
