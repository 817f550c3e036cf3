"""Candidates × suites, counted once and shown by the page, the terminal and the Markdown summary alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.run_verdict import run_verdict
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.record.store import read_record
from pytest_llmperf.report.comment import comment_text
from pytest_llmperf.report.exporters.base import LocatedVerdict, RunResults
from pytest_llmperf.report.exporters.markdown import summary
from pytest_llmperf.report.overview import CandidateGate, overview, rows_of_gates
from pytest_llmperf.report.terminal import candidate_lines, verdict_table

if TYPE_CHECKING:
    from tests.report.conftest import Page, RecordedRun

BOTH = ("first", "second")


def gate(
    candidate: str, suite: str, status: Status = Status.PASS, why: str = "as it should be"
) -> CandidateGate:
    verdict = Verdict(status, "accuracy", 0.7, (0.6, 0.8), 0.6, 100, None, "m", why, "share")
    named = f"[{candidate}]" if candidate else ""
    return CandidateGate(candidate, f"{suite}::test_x{named}", verdict)


NIGHT = [
    gate("first", "suites/test_accuracy.py"),
    gate("first", "suites/test_speed.py"),
    gate("second", "suites/test_accuracy.py"),
    gate("second", "suites/test_accuracy.py", Status.INCONCLUSIVE),
    gate("second", "suites/test_speed.py", Status.INVALID, "no server"),
    gate("second", "suites/test_speed.py", Status.FAIL, "too slow"),
    gate("second", "suites/test_speed.py", Status.FAIL, "much too slow"),
    gate("", "suites/test_speed.py"),
]


def test_each_cell_counts_its_gates_with_the_worst_first() -> None:
    found = overview(NIGHT, BOTH)
    assert found is not None
    assert found.columns == ("row", "all suites", "test_accuracy.py", "test_speed.py")
    told = {name: [cell.text for cell in found.row(name)] for name in found.candidates}
    assert told == {
        "first": ["2 PASS", "1 PASS", "1 PASS"],
        "second": [
            "2 FAIL, 1 INVALID, 1 INCONCLUSIVE, 1 PASS",
            "1 INCONCLUSIVE, 1 PASS",
            "2 FAIL, 1 INVALID",
        ],
        "no candidate": ["1 PASS", "—", "1 PASS"],
    }
    assert [cell.status for cell in found.row("second")] == [Status.FAIL, Status.INCONCLUSIVE, Status.FAIL]


def test_a_waived_gate_is_counted_apart_and_does_not_make_the_cell_red() -> None:
    failed, passed = gate("first", "a.py", Status.FAIL), gate("second", "a.py")
    waived = dataclasses.replace(
        failed, verdict=dataclasses.replace(failed.verdict, waived="until 2099-01-01: known")
    )
    advisory = dataclasses.replace(passed, verdict=dataclasses.replace(passed.verdict, advisory="on trial"))
    found = overview([gate("first", "a.py"), waived, advisory], BOTH)
    assert found is not None
    assert found.row("first")[0].text == "1 PASS, 1 let through"
    assert found.row("first")[0].status is Status.PASS
    assert found.row("second")[0].text == "1 PASS"
    alone = overview([waived], BOTH)
    assert alone is not None
    assert (alone.row("first")[0].text, alone.row("first")[0].status) == ("1 let through", None)


def test_a_run_of_one_candidate_has_no_overview() -> None:
    assert overview(NIGHT[:2], ("first",)) is None


def test_files_of_one_name_in_two_directories_keep_what_tells_them_apart() -> None:
    found = overview([gate("first", "suites/a/test_x.py"), gate("first", "suites/b/test_x.py")], BOTH)
    assert found is not None
    assert found.columns[2:] == ("a/test_x.py", "b/test_x.py")


def test_the_terminal_has_a_line_for_each_candidate_with_the_first_of_its_worst_gates() -> None:
    found = overview(NIGHT[:-1], (*BOTH, "third"))
    assert found is not None
    lines = [*candidate_lines(found)]
    assert [line.text for line in lines] == [
        "first: 2 PASS",
        "second: 2 FAIL, 1 INVALID, 1 INCONCLUSIVE, 1 PASS; FAIL: too slow",
        "third: no gate was judged",
    ]
    assert [line.status for line in lines] == [Status.PASS, Status.FAIL, None]


@pytest.mark.parametrize("width", [200, 60])
def test_the_table_of_gates_names_the_candidate_of_each(width: int) -> None:
    rows = [one.candidate for one in NIGHT]
    lines = [
        line.text for line in verdict_table([one.verdict for one in NIGHT], width=width, candidates=rows)
    ]
    if width == 200:
        assert [line.split()[0] for line in lines] == ["row", *(row or "—" for row in rows)]
    else:
        assert [line for line in lines if "FAIL" in line] == ["FAIL  accuracy (second)"] * 2


def test_flips_name_the_candidate_that_they_are_of() -> None:
    flipped = [
        dataclasses.replace(
            one, verdict=dataclasses.replace(one.verdict, flips=0.1, flips_interval=(0.05, 0.2))
        )
        for one in (NIGHT[0], NIGHT[2])
    ]
    told = verdict_table([one.verdict for one in flipped], candidates=[one.candidate for one in flipped])
    assert told[-1].text.endswith(
        ": first: accuracy 10.0 % (5.0 % … 20.0 %); second: accuracy 10.0 % (5.0 % … 20.0 %)"
    )


def test_the_comment_of_a_pull_request_has_the_table_before_the_gates() -> None:
    gates = [LocatedVerdict(one.verdict, one.test, candidate=one.candidate) for one in NIGHT]
    about = {"candidate": ",".join(BOTH), "baseline": "math"}
    text = summary(RunResults(gates, run_verdict([one.verdict for one in NIGHT]), about))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == "| row | all suites | test_accuracy.py | test_speed.py |"
    assert rows[2] == "| first | ✅ 2 PASS | ✅ 1 PASS | ✅ 1 PASS |"
    assert rows[3].startswith(
        "| second | ❌ 2 FAIL, 1 INVALID, 1 INCONCLUSIVE, 1 PASS | ❔ 1 INCONCLUSIVE, 1 PASS |"
    )
    assert any(row.startswith("| ❌ FAIL | accuracy | second |") for row in rows[5:])


# On the page


def night(run: RecordedRun, candidates: Sequence[str] = BOTH) -> Page:
    """A page of two suites; ``second`` misses a floor."""

    def floor(right: int) -> ProportionGate:
        outcomes = run.outcomes(100, range(100 - right))
        return ProportionGate(metric="accuracy", bound=0.7, candidate=outcomes, at_least=True)

    run.cases = [
        (f"suites/{suite}.py::test_floor[{row}]", floor(50 if (row, suite) == ("second", "test_b") else 95))
        for row in candidates
        for suite in ("test_a", "test_b")
    ]
    tests = [
        {"test": test, "outcome": "passed", "candidate": row if len(candidates) > 1 else None}
        for (test, _), row in zip(run.cases, [row for row in candidates for _ in range(2)], strict=True)
    ]
    return run.page_of(run.write(candidates=[*candidates], tests=tests))


def test_the_page_opens_with_candidates_by_suite_linked_to_their_gates(run: RecordedRun) -> None:
    page = night(run)
    assert [text.strip() for tag, text in page.headings if tag == "h2"][:3] == [
        "Look at first",
        "Overview",
        "Gates",
    ]
    assert page.row("first") == ["first", "2 PASS", "1 PASS", "1 PASS"]
    assert page.row("second") == ["second", "1 FAIL, 1 PASS", "1 PASS", "1 FAIL"]
    links = [each["href"] for each in page.all("a") if each.get("class") in ("pass", "fail")]
    ids = {each["id"]: each for each in page.all("tr") if "id" in each}
    assert {link.removeprefix("#") for link in links} <= set(ids)
    (failed,) = {each["href"] for each in page.all("a") if each.get("class") == "fail"}
    assert ids[failed.removeprefix("#")]["data-state"] == "FAIL"
    assert page.row("FAIL", "accuracy", "second")[4:6] == ["—", "—"]
    drawn = [
        value["gate"]
        for spec in page.specs
        for value in spec.get("data", {}).get("values", [])
        if "gate" in value
    ]
    assert {"first: accuracy", "second: accuracy"} <= set(drawn)


def test_the_comment_of_a_record_names_the_candidates(run: RecordedRun) -> None:
    night(run)
    record = read_record(run.directory / "night.json")
    assert rows_of_gates(record) == ["first", "first", "second", "second"]
    assert "| second | ❌ 1 FAIL, 1 PASS | ✅ 1 PASS | ❌ 1 FAIL |" in comment_text(record, "key")


def test_a_page_of_one_candidate_has_neither_the_section_nor_the_column(run: RecordedRun) -> None:
    page = night(run, ("first",))
    assert 'id="overview"' not in page.html
    assert next(text.strip() for tag, text in page.headings if tag == "h2") == "Gates"
    assert "Overview" not in page.text
    assert page.row("verdict", "metric", "candidate")
    run.facts["candidates"] = ["first"]
    assert rows_of_gates(read_record(run.directory / "night.json")) == []


def test_names_of_candidates_are_shown_as_text(run: RecordedRun) -> None:
    page = night(run, (run.hostile, "second"))
    assert not page.all("img")
    assert any(row and "<img" in row[0] for row in page.rows)
