"""The page of merged shards: each shard's clock has a zero of its own, and the shards are no earlier runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.record.merge import merge
from pytest_llmperf.record.shard_set import read_shards
from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import TOKENS, TRACES, load_traces, store_table
from pytest_llmperf.report.html.facts import read_facts
from pytest_llmperf.report.html.history import history_section, records_beside
from pytest_llmperf.report.html.telemetry import telemetry_section
from pytest_llmperf.report.html.timeline import timeline_section
from tests.report.conftest import recorded_run

if TYPE_CHECKING:
    from tests.report.conftest import RecordedRun


def shard(directory: Path, number: int, **facts: Any) -> Path:
    """The record of one of two shards that ran the same loads, on clocks that both began at zero."""
    directory.mkdir()
    run: RecordedRun = recorded_run(directory)
    run.cases = run.cases[:1]
    run.facts["load"] = [run.load_facts(row, 8, 3, 8, number) for row in ("math", "distill")]
    run.keep_traces()
    run.keep_answers(lambda row, item: f"{row} says {item}", items=2)
    tokens = store_table(directory / "night.json", TOKENS, [])
    suite = {"sha256": "a" * 64, "files": ["test_gates.py"], "tests": [run.cases[0][0]]}
    made = run.write(
        shard={"number": number, "of": 2, "suite": suite}, order_seed=1, tokens_file=tokens, **facts
    )
    for beside in made.parent.glob("night.*"):
        beside.rename(directory.parent / beside.name.replace("night", f"shard-{number}"))
    path = directory.parent / f"shard-{number}.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"night.', f'"shard-{number}.'), encoding="utf-8"
    )
    return path


def merged(tmp_path: Path, *facts: dict[str, Any]) -> Path:
    paths = [
        shard(tmp_path / f"{number}", number, **each)
        for number, each in enumerate(facts or ({}, {}), start=1)
    ]
    out = tmp_path / "merged.json"
    merge(read_shards(paths), out)
    return out


def test_rounds_of_two_shards_at_one_load_are_no_single_round(tmp_path: Path) -> None:
    out = merged(tmp_path)
    traces = load_traces(out, read_record(out))
    assert len(traces) == 2 * 2 * 3 * 8
    assert {(trace["start"], trace["round"]) for trace in traces} == {
        (s, r) for s in (1, 2) for r in range(3)
    }
    section = timeline_section(read_facts(out))
    assert section is not None
    assert [row[:4] for row in section.tables[0].rows] == [
        ("8 at a time", "math", "6", "48"),
        ("8 at a time", "distill", "6", "48"),
    ]


def test_a_merge_changes_nothing_else_of_the_requests(tmp_path: Path) -> None:
    out = merged(tmp_path)
    apart = [
        row
        for number in (1, 2)
        for path in [tmp_path / f"shard-{number}.json"]
        for row in load_traces(path, read_record(path))
    ]
    together = load_traces(out, read_record(out))
    assert [{**row, "start": 1} for row in together] == apart
    assert set(together[0]) == set(TRACES.columns)


def test_readings_of_devices_follow_each_other_shard_by_shard(tmp_path: Path) -> None:
    readings = {"time_s": [0.0, 1.0, 2.0], "used_bytes": [5e9, 6e9, 7e9]}
    entry = {"row": "distill", "rows": ["distill"], "what": "load", "device": "0, H100", "readings": readings}
    section = telemetry_section(read_facts(merged(tmp_path, {"telemetry": [entry]}, {"telemetry": [entry]})))
    assert section is not None
    points = section.plots[0].spec["data"]["values"]
    assert [one["time"] for one in points] == [0.0, 1.0, 2.0, 2.0, 3.0, 4.0]
    assert [row[0] for row in section.tables[0].rows] == ["load, shard 1", "load, shard 2"]
    assert any("clocks of their own" in note for note in section.notes)


def test_shards_beside_a_merged_record_are_no_earlier_runs(tmp_path: Path) -> None:
    out = merged(tmp_path)
    beside = records_beside(out)
    assert [path.name for path in beside] == ["shard-1.json", "shard-2.json"]
    assert history_section(read_facts(out, beside)) is None


def test_shards_of_another_night_are_no_history_of_the_whole(tmp_path: Path) -> None:
    out = merged(tmp_path)
    for path in records_beside(out):
        path.rename(path.with_name(f"earlier-{path.name}"))
    section = history_section(read_facts(out, records_beside(out)))
    assert section is not None
    assert not section.plots
    assert any("2 of the records found are about other" in note for note in section.notes)
