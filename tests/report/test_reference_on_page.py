"""The promoted reference beside a run, on its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.record.references import promote
from pytest_llmperf.report.html.facts import read_facts
from pytest_llmperf.report.html.history import MOST_RUNS, history_section, records_beside
from pytest_llmperf.report.page import write_page
from tests.report.conftest import Page

if TYPE_CHECKING:
    from tests.report.conftest import RecordedRun

TONIGHT = "2026-11-25T03:00:00+00:00"


@pytest.fixture
def references(tmp_path: Path) -> Path:
    return tmp_path / "promoted"


def earlier(record: Path, night: int, boxed: float, **changed: Any) -> Path:
    """A run of another night beside ``record``, in which the gate "boxed answers" had this value."""
    this = json.loads(record.read_text())
    verdicts = [
        one | ({"observed": boxed} if one["metric"] == "boxed answers" else {}) for one in this["verdicts"]
    ]
    path = record.with_name(f"night-{night:02}.json")
    written = f"2026-10-{night % 28 + 1:02}T{night // 28:02}:00:00+00:00"
    path.write_text(json.dumps({**this, "verdicts": verdicts, "written": written, **changed}))
    return path


def with_tests(run: RecordedRun) -> Path:
    """The record, whose verdicts know their tests as those of a run do."""
    record = run.write(written=TONIGHT)
    fields = json.loads(record.read_text())
    for (test, _), verdict in zip(run.cases, fields["verdicts"], strict=True):
        verdict["test"] = test
    record.write_text(json.dumps(fields))
    return record


def page_of(record: Path, references: Path) -> Page:
    out = record.with_suffix(".html")
    write_page(record, out, (), references)
    return Page(out.read_text(encoding="utf-8"))


def test_every_gate_has_the_references_value_beside_the_candidates(
    run: RecordedRun, references: Path
) -> None:
    record = with_tests(run)
    promote(earlier(record, 0, 0.875), references, "release 3")
    page = page_of(record, references)
    assert page.row("FAIL", "boxed answers")[2:4] == ["60.0 %", "87.5 %"]
    ratio = page.row("INCONCLUSIVE", "TPOT at 8 ratio")
    assert "×" in ratio[3], "a comparison has what was compared as well"
    assert "(release 3)" in page.text


def test_without_a_reference_the_table_has_no_place_for_one(run: RecordedRun, references: Path) -> None:
    page = page_of(with_tests(run), references)
    assert page.row("FAIL", "boxed answers")[3] == "—"
    assert "promoted reference" not in page.text.partition("History")[0]


def test_a_gate_that_the_reference_did_not_have_is_said_to_have_none(
    run: RecordedRun, references: Path
) -> None:
    record = with_tests(run)
    before = earlier(record, 0, 0.875)
    fields = json.loads(before.read_text())
    fields["verdicts"] = [one for one in fields["verdicts"] if one["metric"] != "boxed answers"]
    before.write_text(json.dumps(fields))
    promote(before, references)
    assert page_of(record, references).row("FAIL", "boxed answers")[2:4] == ["60.0 %", "—"]


def test_what_is_worse_than_the_reference_stands_first_in_a_table_of_its_own(
    run: RecordedRun, references: Path
) -> None:
    run.keep_answers(lambda row, item: "so")
    record = with_tests(run)
    before = earlier(record, 0, 0.875, suite={"tests": ["suites/test_gone.py::test_gone"]})
    promote(before, references)
    for one in run.answers:
        one["outcome"] = "wrong" if one["row"] == "distill" else one["outcome"]
    page = page_of(with_tests(run), references)
    rows = [row for row in page.rows if row[0].strip() in {"worse", "better", "no difference shown"}]
    assert [cell.strip() for cell in rows[0][:2]] == ["worse", "distill: embedded accuracy"]
    assert "0 gained, 10 lost" in rows[0][4]
    assert "Asked of the reference and not of this run: suites/test_gone.py::test_gone." in page.text


def test_references_of_something_else_are_counted_and_nothing_is_put_beside(
    run: RecordedRun, references: Path
) -> None:
    record = with_tests(run)
    promote(earlier(record, 0, 0.875, device={"class": "CPU", "name": "another"}), references)
    page = page_of(record, references)
    assert "None of the 1 promoted records is of this profile, device and rows." in page.text
    assert page.row("FAIL", "boxed answers")[3] == "—"


def test_a_reference_that_cannot_be_read_costs_no_page(run: RecordedRun, references: Path) -> None:
    record = with_tests(run)
    promote(earlier(record, 0, 0.875), references).write_text("{}")
    page = page_of(record, references)
    assert "No reference is shown: promoted/" in page.text
    assert str(references.parent) not in page.html


def test_a_run_that_was_promoted_itself_is_compared_with_nothing(run: RecordedRun, references: Path) -> None:
    record = with_tests(run)
    promote(record, references)
    page = page_of(record, references)
    assert "This run is itself the promoted reference" in page.text
    assert page.row("FAIL", "boxed answers")[3] == "—"


def test_another_run_that_ended_in_the_same_second_is_not_taken_for_the_promoted_one(
    run: RecordedRun, references: Path
) -> None:
    record = with_tests(run)
    promote(earlier(record, 0, 0.875, written=TONIGHT, id="a"), references, "release 3")
    record.with_name("night-00.json").unlink()
    record.write_text(json.dumps({**json.loads(record.read_text()), "id": "b"}))
    page = page_of(record, references)
    assert page.row("FAIL", "boxed answers")[2:4] == ["60.0 %", "87.5 %"]
    assert [one["observed"] for one in history(record, references)] == [0.875, 0.6]


def test_a_promoted_run_is_known_again_by_its_own_number(run: RecordedRun, references: Path) -> None:
    record = run.write(written=TONIGHT, id="a")
    promote(record, references)
    written = json.loads(record.read_text())
    record.write_text(json.dumps({**written, "written": "2026-11-25T03:00:01+00:00"}))
    assert "This run is itself the promoted reference" in page_of(record, references).text


def history(record: Path, references: Path) -> list[dict[str, Any]]:
    facts = read_facts(record, records_beside(record), references)
    section = history_section(facts)
    assert section is not None
    (plot,) = section.plots
    return [one for one in plot.spec["data"]["values"] if one["metric"] == "boxed answers"]


def test_the_history_has_the_reference_as_a_run_and_its_value_as_a_line(
    run: RecordedRun, references: Path
) -> None:
    record = with_tests(run)
    promote(earlier(record, 0, 0.875), references)
    record.with_name("night-00.json").unlink()
    earlier(record, 1, 0.7)
    found = history(record, references)
    assert [one["observed"] for one in found] == [0.875, 0.7, 0.6]
    assert [one["promoted"] for one in found] == [True, False, False]
    assert {one["reference"] for one in found} == {0.875}


def test_a_run_that_was_promoted_is_in_the_history_once(run: RecordedRun, references: Path) -> None:
    record = with_tests(run)
    promote(earlier(record, 0, 0.875), references)
    found = history(record, references)
    assert [(one["observed"], one["promoted"]) for one in found] == [(0.875, True), (0.6, False)]


def test_the_reference_stays_in_a_history_that_has_more_runs_than_are_drawn(
    run: RecordedRun, references: Path
) -> None:
    record = with_tests(run)
    promote(earlier(record, 0, 0.875), references)
    for night in range(1, MOST_RUNS + 1):
        earlier(record, night, 0.7)
    found = history(record, references)
    assert len(found) == MOST_RUNS + 1
    assert found[0]["observed"] == 0.875
