"""``--llmperf-shard-items``: a task's items shared out to several machines are judged together, as on one machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.record.gate_files import load_gates
from pytest_llmperf.record.store import read_record
from tests.integration.test_shards import NIGHT, changed, shards, verdicts

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITES = {
    "test_answers.py": """
        from pytest_llmperf import points
        import pytest
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.5
        def test_close(candidate, accuracy):
            assert accuracy(candidate) >= 0.86
        def test_too_much_and_never_reached(candidate, accuracy):
            assert accuracy(candidate) >= 0.98
            assert accuracy(candidate) >= 0.5
        def test_few(candidate, accuracy):
            assert accuracy(candidate, items=37) >= 0.2
        def test_not_worse(candidate, baseline, accuracy):
            assert accuracy(candidate) >= accuracy(baseline) - points(8)
        def test_wide_margin(candidate, baseline, accuracy):
            assert accuracy(candidate) >= accuracy(baseline) - points(25)
        def test_flips(candidate, baseline, flips):
            assert flips(candidate, baseline) <= 0.6
        @pytest.mark.llmperf_advisory("tried for a week")
        def test_tried(candidate, accuracy):
            assert accuracy(candidate) >= 0.99
    """,
    "test_shown.py": """
        def test_boxed(candidate, answers):
            assert answers(candidate).boxed >= 0.5
    """,
    "test_speed_of.py": """
        def test_replies(candidate, openai_client):
            assert candidate.name
    """,
}
CUT = (*NIGHT, "--llmperf-shard-items")
TESTS_CUT = 8


@pytest.fixture(scope="module")
def nights(shared_project: Project, solver: str) -> Project:
    """A project with the record ``whole.json`` of one run, and those of four shards cut by items."""
    project = shared_project
    project.catalog(
        {
            "distill": {"ANSWERS": solver, "RIGHT_PERCENT": 84},
            "math": {"ANSWERS": solver, "RIGHT_PERCENT": 88},
        }
    )
    for name, source in SUITES.items():
        project.suite(source, name)
    project.write(
        "budgets.toml",
        '[waive."test_answers.py::test_too_much_and_never_reached[distill]"]\nuntil = 2099-01-01\nreason = "known"\n',
    )
    project.shrink(items=400)
    whole = project.run("--llmperf-record", "whole.json", *NIGHT)
    assert whole.code == 1, whole.text
    for number in range(1, 5):
        given = ("--llmperf-shard", f"{number}/4", "--llmperf-record", f"4-{number}.json")
        result = project.run(*given, *CUT)
        assert result.lines(f"shard {number}/4 has"), result.text
        assert result.code == 0, result.text
        assert result.lines(f"{TESTS_CUT} xfailed"), result.text
    return project


def merged(out: Path, records: list[str]) -> int:
    return main(["merge", *records, "--out", str(out), "--references", str(out.parent)])


def test_slices_are_judged_together_as_the_run_on_one_machine(
    nights: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, whole = tmp_path / "merged.json", nights.path / "whole.json"
    code = merged(out, shards(nights, 4))
    assert verdicts(out) == verdicts(whole), capsys.readouterr().out
    joined, single = read_record(out), read_record(whole)
    assert joined.outcome == single.outcome
    assert code == 1
    assert [(t.test, t.outcome) for t in joined.tests] == [(t.test, t.outcome) for t in single.tests]
    assert [(g.test, g.status, g.gate) for g in load_gates(out, joined)] == [
        (g.test, g.status, g.gate) for g in load_gates(whole, single)
    ]


def test_slices_of_all_items_are_judged_together_as_the_run_of_all_items(
    nights: Project, tmp_path: Path
) -> None:
    out, records = tmp_path / "merged.json", []
    nights.run("--llmperf-record", "full.json", "--llmperf-full", *NIGHT)
    for number in (1, 2, 3):
        record = f"full-{number}.json"
        nights.run("--llmperf-shard", f"{number}/3", "--llmperf-record", record, "--llmperf-full", *CUT)
        records.append(str(nights.path / record))
    merged(out, records)
    assert verdicts(out) == verdicts(nights.path / "full.json")
    assert {v["n"] for v in verdicts(out) if "test_floor" in v["test"]} == {400}


def test_the_joined_gates_stop_where_the_run_on_one_machine_stops(nights: Project, tmp_path: Path) -> None:
    out = tmp_path / "merged.json"
    merged(out, shards(nights, 4))
    sizes = {v["test"].rpartition("::")[2]: v["n"] for v in verdicts(out)}
    assert sizes["test_floor[distill]"] < 400
    assert sizes["test_close[distill]"] == 400
    assert sizes["test_few[distill]"] == 37


def test_each_item_is_asked_in_one_shard_of_both_models(nights: Project) -> None:
    asked: dict[str, list[int]] = {}
    for path in shards(nights, 4):
        for entry in read_record(Path(path)).answers:
            if entry.slice is not None:
                asked.setdefault(entry.row, []).append(entry.items)
    assert asked["math"] == [100, 100, 100, 100]


def test_a_shard_alone_judges_no_part(nights: Project) -> None:
    record = read_record(Path(shards(nights, 4)[0]))
    parts = [entry for entry in record.verdicts if entry.test.startswith("test_answers.py")]
    assert {entry.status for entry in parts} == {Status.INCONCLUSIVE}
    assert all("slice 1 of 4" in entry.why for entry in parts)
    assert record.outcome.status is Status.INCONCLUSIVE
    assert record.shard is not None
    assert len(record.shard.cut_tests) == TESTS_CUT


def broken(path: str, directory: Path, **fields: object) -> str:
    return changed(Path(path), directory, "other", **fields)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"order_seed": 8}, "other --llmperf-order than"),
        ({"shard__cut_tests": []}, "other --llmperf-shard-items, or tests cut by it than"),
        ({"answers__0__source_sha256": "0" * 64}, "the items of embedded (items_sha256) are not those of"),
        ({"shard__number": 1}, "is there twice"),
        ({"rows__math": "0123456789abcdef"}, "row math of the catalogue is not that of"),
        ({"environment__git": {"commit": "c" * 40, "changed": False}}, "other commit than"),
    ],
)
def test_slices_of_other_runs_are_invalid_by_name(
    nights: Project, fields: dict[str, object], why: str, tmp_path: Path
) -> None:
    *most, last = shards(nights, 4)
    out = tmp_path / "merged.json"
    assert merged(out, [*most, broken(last, tmp_path, **fields)]) == 1
    record = read_record(out)
    assert record.outcome.status is Status.INVALID
    problems = record.run.problems if record.run else ()
    assert any(why in problem and "other.json" in problem for problem in problems), problems


def test_a_missing_slice_is_invalid_by_name_and_never_judged_without(nights: Project, tmp_path: Path) -> None:
    first, _, *rest = shards(nights, 4)
    out = tmp_path / "merged.json"
    assert merged(out, [first, *rest]) == 1
    record = read_record(out)
    assert record.run is not None
    assert "1 shard of 4 missing: 2" in record.run.problems[0]
    parts = [entry for entry in record.verdicts if entry.test.startswith("test_answers.py")]
    assert {entry.status for entry in parts} == {Status.INVALID}
    assert all("slice 2 of 4 of its items is missing" in entry.why for entry in parts)


def test_a_test_that_needs_the_value_of_a_part_is_invalid(project: Project, tmp_path: Path) -> None:
    project.suite("def test_value(candidate, accuracy):\n    assert accuracy(candidate).value > 0.1\n")
    paths = []
    for number in (1, 2):
        project.run("--llmperf-shard", f"{number}/2", "--llmperf-record", f"{number}.json", *CUT)
        paths.append(str(project.path / f"{number}.json"))
    assert merged(tmp_path / "merged.json", paths) == 1
    found: list[dict[str, Any]] = json.loads((tmp_path / "merged.json").read_text("utf-8"))["verdicts"]
    assert [verdict["status"] for verdict in found] == ["INVALID"]
    assert "only part 1/2 of the items is asked here" in found[0]["why"]


def test_a_merged_record_is_compared_with_a_reference_and_a_part_never(
    nights: Project, tmp_path: Path
) -> None:
    given = ("--llmperf-shard", "1/2", "--llmperf-record", "r.json", "--llmperf-reference")
    for option in (NIGHT, CUT):
        result = nights.run(*given, *option)
        assert result.code == 4, result.text
        assert result.lines("--llmperf-reference: this is shard 1/2", "pytest-llmperf compare"), result.text
    out = tmp_path / "merged.json"
    merged(out, shards(nights, 4))
    assert main(["compare", str(nights.path / "whole.json"), str(out), "--gaps", "fail"]) == 0


def test_a_shard_is_never_promoted(
    nights: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["promote", shards(nights, 4)[0], "--to", str(tmp_path)]) == 4
    assert "it is shard 1 of 4; promote the record of `pytest-llmperf merge`" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_the_option_needs_a_shard(nights: Project) -> None:
    result = nights.run("--llmperf-shard-items", *NIGHT)
    assert result.code == 4
    assert result.lines("--llmperf-shard-items: needs --llmperf-shard I/N"), result.text
