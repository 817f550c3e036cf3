"""Earlier runs beside this one."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.report.html import history
from pytest_llmperf.report.html.change_points import LEAST_RUNS, change_points
from pytest_llmperf.report.html.facts import read_facts
from pytest_llmperf.report.html.history import history_section, records_beside
from pytest_llmperf.report.html.parts import Section

if TYPE_CHECKING:
    from tests.report.conftest import RecordedRun


def nights(record: Path, boxed: list[float], **changed: Any) -> None:
    """Records of earlier nights beside ``record``: the gate "boxed answers" had these values."""
    this = json.loads(record.read_text())
    for night, value in enumerate(boxed):
        verdicts = [
            one | ({"observed": value} if one["metric"] == "boxed answers" else {})
            for one in this["verdicts"]
        ]
        earlier = {**this, "verdicts": verdicts, "written": f"2026-10-{night + 1:02}T03:00:00Z", **changed}
        record.with_name(f"night-{night:02}.json").write_text(json.dumps(earlier))


def section_of(record: Path) -> Section:
    section = history_section(read_facts(record, records_beside(record)))
    assert section is not None
    return section


def test_each_gate_has_its_values_in_the_order_of_time_and_this_run_last(run: RecordedRun) -> None:
    record = run.write(written="2026-11-25T03:00:00Z")
    nights(record, [0.9, 0.91, 0.89])
    (plot,) = section_of(record).plots
    values = [one for one in plot.spec["data"]["values"] if one["metric"] == "boxed answers"]
    assert [one["observed"] for one in values] == [0.9, 0.91, 0.89, 0.6]
    assert [one["run"] for one in values] == [1, 2, 3, 4]
    assert "boxed answers" in plot.spec["params"][0]["bind"]["options"]


def test_a_change_of_level_is_found_and_named_with_its_first_run(run: RecordedRun) -> None:
    draw = random.Random(7)
    values = [draw.gauss(0.9, 0.01) for _ in range(8)] + [draw.gauss(0.6, 0.01) for _ in range(5)]
    record = run.write(written="2026-11-25T03:00:00Z")
    nights(record, values)
    section = section_of(record)
    ((gate, first, before, since),) = section.tables[0].rows
    assert (gate, first) == ("boxed answers", "night-08")
    assert before.startswith(("89.", "90."))
    assert since.startswith(("59.", "60."))
    changed = [one["run"] for one in section.plots[0].spec["data"]["values"] if one["changed"]]
    assert changed == [9]


def test_records_of_something_else_are_left_out_and_counted(run: RecordedRun) -> None:
    record = run.write(written="2026-11-25T03:00:00Z")
    nights(record, [0.9, 0.9], baseline="another")
    record.with_name("package.json").write_text("{}")
    section = section_of(record)
    assert section.plots == ()
    assert "No earlier record of this comparison" in section.notes[0]
    assert section.notes[1].startswith("2 of the records found are about other models")


def test_many_gates_over_many_nights_are_drawn_as_far_as_a_page_holds_them(
    run: RecordedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(7)
    values = [draw.gauss(0.9, 0.01) for _ in range(8)] + [draw.gauss(0.6, 0.01) for _ in range(5)]
    record = run.write(written="2026-11-25T03:00:00Z")
    nights(record, values)
    gates = {one["metric"] for one in section_of(record).plots[0].spec["data"]["values"]}
    assert len(gates) > 2
    monkeypatch.setattr(history, "MOST_POINTS", 2 * 14)
    section = section_of(record)
    drawn = section.plots[0].spec["data"]["values"]
    assert len(drawn) <= 2 * 14
    assert "boxed answers" in {one["metric"] for one in drawn}, "the gate whose level has changed is drawn"
    assert any(f"2 of {len(gates)} gates" in note for note in section.notes)


def test_a_promoted_reference_is_marked(run: RecordedRun) -> None:
    record = run.write(written="2026-11-25T03:00:00Z")
    nights(record, [0.9], promoted={"date": "2026-10-01", "note": "good"})
    (plot,) = section_of(record).plots
    assert [one["promoted"] for one in plot.spec["data"]["values"] if one["metric"] == "boxed answers"] == [
        True,
        False,
    ]


def test_later_runs_are_no_history(run: RecordedRun) -> None:
    record = run.write(written="2026-09-25T03:00:00Z")
    nights(record, [0.9, 0.9])
    assert history_section(read_facts(record, records_beside(record))) is None


def test_few_runs_have_no_change_points(run: RecordedRun) -> None:
    assert change_points([0.0] * 4 + [9.0] * (LEAST_RUNS - 5)) == []


def test_runs_without_the_gate_are_passed_over() -> None:
    draw = random.Random(3)
    series: list[float | None] = [draw.gauss(0 if i < 10 else 50, 1) for i in range(20)]
    series[4] = series[12] = None
    assert change_points(series) == [10]


def test_where_the_library_is_missing_it_says_what_to_install(
    run: RecordedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ruptures", None)
    record = run.write(written="2026-11-25T03:00:00Z")
    nights(record, [0.9 + 0.001 * i for i in range(12)])
    assert any("pytest-llmperf[history]" in note for note in section_of(record).notes)


def test_a_constant_series_has_not_changed_and_noise_alone_rarely_has() -> None:
    assert change_points([0.75] * 30) == []
    found = [change_points([random.Random(seed).gauss(0, 1) for _ in range(20)]) for seed in range(60)]
    assert sum(map(bool, found)) <= 6
