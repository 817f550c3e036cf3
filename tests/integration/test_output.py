"""What an engineer, and a CI, read of a run: header, table, a failed gate as a sentence, JUnit, the record."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.config.sizes import EMBEDDED
from pytest_llmperf.gates.early_stopping import FIRST_LOOK

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

PLANNED = EMBEDDED.items


@pytest.fixture(scope="module")
def run(shared_project: Project, solver: str) -> Result:
    """One run with a gate that passes, one that compares, and one that fails."""
    shared_project.catalog({"distill": {"ANSWERS": solver}, "math": {"ANSWERS": solver}})
    shared_project.suite("""
        from pytest_llmperf import points
        def test_floor(candidate, accuracy, budget):
            assert accuracy(candidate) >= budget.accuracy.floor
        def test_not_worse(candidate, baseline, accuracy):
            assert accuracy(candidate) >= accuracy(baseline) - points(5)
        def test_too_much(candidate, accuracy):
            assert accuracy(candidate) >= 0.95
        def test_stream(candidate, stream):
            assert stream(candidate, "1 + 1?").ok
    """)
    return shared_project.run("--junitxml", "junit.xml", "--llmperf-record", "record.json")


def test_the_header_names_the_profile_and_what_each_name_stands_for(run: Result) -> None:
    [header] = run.lines("llmperf:", "profile on")
    assert header.startswith("llmperf: test profile on ")
    assert re.search(r"distill → \S*/weights against math → \S*/weights", header)
    assert header.endswith("says nothing of a real model")


def test_a_failed_gate_is_a_sentence_with_its_numbers_and_no_traceback(run: Result) -> None:
    assert run.noise == []
    told = run.text[run.text.index("test_too_much[distill]") :]
    sentence, after = told.splitlines()[1:3]
    assert sentence.startswith("FAIL: embedded accuracy ")
    assert re.search(rf"decided after \d+ of {PLANNED:,} items", sentence)
    assert "below the floor of 95 %" in sentence
    assert not after.startswith(" "), "the numbers of the sentence once more are for -v"
    assert "accuracy(candidate) >=" not in run.text, "no source line of the suite is shown"
    assert "(APIServer" not in run.text, "nor the log of a server that did nothing wrong"


def test_the_table_at_the_end_shows_candidate_baseline_interval_and_bound(run: Result) -> None:
    lines = run.text[run.text.index("llmperf verdicts") :].splitlines()
    assert " ".join(lines[1].split()) == "metric candidate baseline compared interval bound n verdict"
    floor, pair, too_much = (re.split(r"\s{2,}", line) for line in lines[2:5])
    assert floor[0] == pair[0] == too_much[0] == "embedded accuracy"
    assert [row[-1] for row in (floor, pair, too_much)] == ["PASS", "PASS", "FAIL"]
    assert pair[1] == pair[2], "both models are right on the same items"
    assert (floor[-3], too_much[-3]) == ("50 %", "95 %")
    assert "…" in pair[4]
    assert lines[5].startswith("flips (one side right, the other not): embedded accuracy 0.0 % (0.0 % … ")
    assert lines[6] == "llmperf: 2 PASS, 1 FAIL"
    assert run.lines("llmperf: still significant after correcting for 3 gates (Holm)", "embedded accuracy")


def test_answers_that_were_not_needed_are_counted(run: Result, shared_project: Project) -> None:
    asked = [one["items"] for one in shared_project.record()["answers"]]
    saved = 100 * (1 - sum(asked) / (2 * PLANNED))
    assert run.lines(f"llmperf: {sum(asked)} of {2 * PLANNED:,} answers were enough", f"({saved:.0f} % saved")
    assert all(FIRST_LOOK <= n < PLANNED for n in asked)


def test_verbose_a_failed_gate_shows_every_number_of_its_verdict(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite("""
        def test_too_much(candidate, accuracy):
            assert accuracy(candidate) >= 0.95
    """)
    result = project.run("-v")
    told = result.text[result.text.index("FAIL: embedded accuracy ") :].splitlines()[1:6]
    names = [line.split()[0] for line in told]
    assert names == ["metric", "observed", "interval", "bound", "n"], result.text


def test_all_items_are_asked_when_that_is_wanted(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite("""
        def test_floor(candidate, accuracy, budget):
            assert accuracy(candidate) >= budget.accuracy.floor
    """)
    result, [verdict] = project.judged("--llmperf-full")
    assert (verdict["status"], verdict["n"], verdict["method"]) == ("PASS", PLANNED, "Clopper-Pearson")
    assert not result.lines("saved")
    assert project.record()["answers"][0]["items"] == PLANNED


def test_a_run_with_a_failed_gate_exits_with_one(run: Result) -> None:
    assert run.code == 1
    assert run.lines("1 failed, 3 passed")


def test_each_row_was_started_once(run: Result, shared_project: Project) -> None:
    assert sorted(shared_project.starts) == ["distill", "math"]


def test_the_verdicts_are_in_the_junit_xml(run: Result, shared_project: Project) -> None:
    cases = ElementTree.parse(shared_project.path / "junit.xml").iter("testcase")
    verdicts = {
        case.get("name"): [
            json.loads(one.get("value", ""))
            for one in case.iter("property")
            if one.get("name") == "llmperf_verdict"
        ]
        for case in cases
    }
    [floor] = verdicts["test_floor[distill]"]
    assert (floor["status"], floor["metric"], floor["n"]) == ("PASS", "embedded accuracy", FIRST_LOOK)
    [too_much] = verdicts["test_too_much[distill]"]
    assert (too_much["status"], too_much["bound"]) == ("FAIL", 0.95)
    assert verdicts["test_stream[distill]"] == []


def test_a_page_lies_beside_the_record_and_is_named(run: Result, shared_project: Project) -> None:
    page = (shared_project.path / "record.html").read_text(encoding="utf-8")
    for verdict in shared_project.record()["verdicts"]:
        assert verdict["metric"] in page
    assert "page: record.html" in run.text


def test_the_record_holds_the_verdicts_and_what_they_rest_on(run: Result, shared_project: Project) -> None:
    record = shared_project.record()
    assert record["schema"] == "llmperf-record/1"
    assert [verdict["status"] for verdict in record["verdicts"]] == ["PASS", "PASS", "FAIL"]
    assert (record["profile"], record["candidates"], record["baseline"]) == ("test", ["distill"], "math")
    assert [one["row"] for one in record["answers"]] == ["distill", "math"]
    assert all(sum(one["outcomes"].values()) == one["items"] for one in record["answers"])
    assert {one["planned"] for one in record["answers"]} == {PLANNED}
    assert [server["row"] for server in record["servers"]] == ["distill", "math"]
    assert all("0.0.0" in server["engine"] for server in record["servers"]), "the version of the engine"
    assert record["answers"][0]["items_sha256"] == record["answers"][1]["items_sha256"]


def test_no_key_of_a_server_is_shown_or_kept(project: Project) -> None:
    project.suite("""
        def test_key(candidate, stream, tell):
            tell()
            assert stream(candidate, "1 + 1?").ok
            assert 1 == 2
    """)
    result, _ = project.judged("--junitxml", "junit.xml", "-l")
    [server] = json.loads((project.path / "servers.json").read_text())
    assert result.lines("1 failed")
    for text in (result.text, *((project.path / name).read_text() for name in ("junit.xml", "record.json"))):
        assert server["key"] not in text
