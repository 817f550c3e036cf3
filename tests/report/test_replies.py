"""The replies to what changed, on the page."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.report.html.facts import read_facts
from pytest_llmperf.report.html.replies import MOST, exchanges

if TYPE_CHECKING:
    from tests.report.conftest import Page, RecordedRun

FLIPPED = (*range(7), 60, 61)
"""The items of ``run`` that one side has right and the other wrong: only their replies are on the page."""


def reply(row: str, item: int) -> str:
    return f"<think>{row} thinks of {item}</think>It is \\boxed{{{item}}}, says {row}."


def shown(page: Page) -> list[dict[str, str]]:
    return [one for one in page.all("details") if one.get("class") == "exchange"]


def test_every_changed_item_has_both_replies_and_what_got_worse_comes_first(run: RecordedRun) -> None:
    run.keep_answers(reply)
    page = run.page_of(run.write())
    assert [one["data-state"] for one in shown(page)] == ["worse"] * 7 + ["better"] * 2
    text = page.text[page.text.index("replies to what changed") :]
    for said in ("math thinks of 3", "distill thinks of 3", "What is 3 + 1?", "right is 4", "says distill."):
        assert said in text
    assert "math thinks of 20" not in text, "an item that stayed the same"
    lines = " ".join(text.split())
    assert "item-3: What is 3 + 1?; right is 4" in lines, "the line of a fold has the question"


def test_a_long_question_is_shortened_in_the_line_and_whole_in_the_fold(run: RecordedRun) -> None:
    run.keep_answers(reply)
    question = " ".join(["word"] * 60)
    for row in run.answers:
        row["question"] = question
    found = exchanges(read_facts(run.write()))[0].several[0]
    assert found.asked == " ".join(["word"] * 19) + " …"
    assert question in found.question


def test_thinking_is_folded_away_and_the_box_is_drawn(run: RecordedRun) -> None:
    run.keep_answers(reply)
    page = run.page_of(run.write())
    folded = [one for one in page.all("details") if one.get("class") == "thinking"]
    assert len(folded) == 18
    assert not any("open" in one for one in folded)
    assert len([one for one in page.all("mrow") if one.get("class") == "boxed"]) == 18


def test_a_reply_that_never_ends_its_thinking_is_shown_as_it_is(run: RecordedRun) -> None:
    run.keep_answers(lambda row, item: f"<think>{row} goes on and on")
    found = exchanges(read_facts(run.write()))[0].several[0]
    assert found.candidate.thinking == ""
    assert "distill goes on and on" in found.candidate.reply


def test_hundreds_of_long_replies_are_cut_to_what_a_page_can_hold(run: RecordedRun) -> None:
    test, margin = run.cases[1]
    assert isinstance(margin, PairedGate)
    all_right, all_wrong = (
        dict.fromkeys((f"item-{i}" for i in range(400)), value) for value in (True, False)
    )
    run.cases[1] = (test, dataclasses.replace(margin, candidate=all_wrong, baseline=all_right))
    run.keep_answers(lambda row, item: "<" * 20_000, 400)
    page = run.page_of(run.write())
    assert len(shown(page)) == MOST
    assert len(page.html.encode()) < 5_000_000
    assert "more characters]" in page.text


@pytest.mark.parametrize("character", ["M", "<", "\x1b", "模"])
def test_replies_of_a_megabyte_leave_the_page_below_five(run: RecordedRun, character: str) -> None:
    megabyte = f"<think>{character * 300_000}</think>{character * 700_000}"
    run.keep_answers(lambda row, item: megabyte if item in FLIPPED else "short, and on no page")
    record = run.write()
    run.page_of(record)
    assert record.with_suffix(".html").stat().st_size < 5_000_000
    assert "more characters]" in record.with_suffix(".html").read_text()


def test_hostile_replies_are_text(run: RecordedRun) -> None:
    hostile = f"{run.hostile} \\[\\text{{{run.hostile}}}\\] $x$ \ud83d"
    run.keep_answers(
        lambda row, item: f"<think>{hostile}</think>{hostile}".encode("utf-8", "replace").decode()
    )
    page = run.page_of(run.write())
    plain = {"script", "style", "img", "iframe", "svg"}
    assert len([n for n, _ in page.elements if n in plain]) == 5, "our style, our data and our three scripts"
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert set("\u202e\u2028\x1b\x00") & set(page.html) == set()


def test_without_the_table_it_says_why(run: RecordedRun) -> None:
    assert (
        "The text of the answers is not known: this record has no table of them"
        in run.page_of(run.write()).text
    )
    (run.directory / "kept" / "main.jsonl").unlink()
    run.keep_answers(reply)
    record = run.write()
    next(record.parent.glob("night.answers.*")).write_bytes(b"other")
    page = run.page_of(record)
    assert "The text of the answers is not known: night.answers.parquet" in page.text
    assert str(record.parent) not in page.html


def of_the_second(run: RecordedRun, test: str) -> None:
    """The gate on the margin was asked by ``test``, in a run of two candidates."""
    _, margin = run.cases[1]
    run.cases[1] = (test, margin)
    run.facts["candidates"] = ["w4", "distill"]
    run.keep_answers(reply)


@pytest.mark.parametrize("test", ["t.py::test_a", "t.py::test_a[w4]", "t.py::test_a[w4-distill-0]"])
def test_the_replies_are_those_of_the_candidate_for_which_the_test_was_repeated(
    run: RecordedRun, test: str
) -> None:
    of_the_second(run, test)
    tests = [{"test": test, "outcome": "passed", "candidate": "distill"}]
    assert len(shown(run.page_of(run.write(tests=tests)))) == 9


def test_an_older_record_names_the_candidate_in_the_tests_id(run: RecordedRun) -> None:
    of_the_second(run, "t.py::test_a[distill-8]")
    tests = [{"test": "t.py::test_a[distill-8]", "outcome": "passed"}]
    assert len(shown(run.page_of(run.write(tests=tests)))) == 9


def test_no_replies_are_shown_where_no_candidate_is_known(run: RecordedRun) -> None:
    of_the_second(run, "t.py::test_a")
    assert shown(run.page_of(run.write(tests=[{"test": "t.py::test_a", "outcome": "passed"}]))) == []
