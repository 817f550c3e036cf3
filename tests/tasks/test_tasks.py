"""Data sets: pinned, complete and in a reproducible order, or one line that says what to do."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.errors import DataError, UsageError
from pytest_llmperf.tasks import BUILT_IN
from pytest_llmperf.tasks.embedded import EMBEDDED
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.grading.choice import grade_choice
from pytest_llmperf.tasks.grading.number import gold_number, grade
from pytest_llmperf.tasks.grading.symbolic import grade_symbolic
from pytest_llmperf.tasks.gsm8k import GSM8K
from pytest_llmperf.tasks.math500 import MATH500
from pytest_llmperf.tasks.rows import read_rows
from pytest_llmperf.tasks.source import DataFile
from pytest_llmperf.tasks.svamp import SVAMP
from pytest_llmperf.tasks.task import (
    Grader,
    Item,
    Task,
    find_named,
    items_sha256,
    load_items,
    load_shots,
    remarks,
)

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (DATA / "gsm8k" / "test.jsonl").is_file(), reason="../shared/data/gsm8k is not beside the repository"
)


def task(text: str | bytes, tmp_path: Path, **more: Any) -> Task:
    file = tmp_path / "mine" / "test.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    source = DataFile(
        path="mine/test.jsonl",
        item=lambda row, i: Item(row.get("id", f"mine-{i}"), row["question"], row["answer"]),
        fetch="cp mine.jsonl DIR/mine/test.jsonl",
        **more,
    )
    return Task(name="mine", source=source, check_gold=gold_number)


def rows(n: int) -> str:
    return "".join(json.dumps({"question": f"{i} + 1?", "answer": str(i + 1)}) + "\n" for i in range(n))


@needs_data
def test_gsm8k_is_the_pinned_1319_items() -> None:
    items = load_items(GSM8K, DATA)
    assert len(items) == 1319
    assert len({item.id for item in items}) == 1319
    assert all("####" not in item.answer and "," not in item.answer for item in items)


@needs_data
@pytest.mark.parametrize(("name", "count"), [("math500", 500), ("svamp", 1000), ("medqa", 1273)])
def test_every_data_set_is_the_pinned_one_and_can_be_asked_by_both_protocols(name: str, count: int) -> None:
    task = find_named("task", name, BUILT_IN)
    items = load_items(task, DATA)
    assert len(items) == len({item.prompt for item in items} | {item.id for item in items}) - count == count
    assert task.protocols == ("chat", "few-shot")
    shots = load_shots(task, DATA)
    assert len(shots) == 4
    for shot in shots:
        answer = shot.solution.rpartition("The answer is ")[2]
        gold = answer.removesuffix(".").strip("$")
        graded = task.grader(shot.solution, gold, finish_reason="stop", protocol="few-shot")
        assert graded.outcome is Outcome.CORRECT, shot
    assert not {shot.prompt for shot in shots} & {item.prompt for item in items}


@needs_data
def test_the_golds_of_svamp_are_integers_and_its_sentences_end() -> None:
    items = {item.id: item for item in load_items(SVAMP, DATA)}
    assert items["svamp-chal-1"].answer == "51"
    assert items["svamp-chal-1"].prompt == (
        "Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on each pack. "
        "How much do you have to pay to buy each pack?"
    )


@pytest.mark.parametrize("name", ["test.json", "test.jsonl.gz", "test.json.gz", "test.parquet"])
def test_a_file_of_any_kind_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    written = [{"question": "1 + 1?", "answer": "2"}, {"question": "2 + 2?", "answer": "4"}]
    file = tmp_path / name
    if name.endswith(".parquet"):
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(written), file)
    else:
        array = name.startswith("test.json.") or name.endswith(".json")
        text = json.dumps(written) if array else "\n".join(map(json.dumps, written))
        file.write_bytes(gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode())
    assert read_rows(file, sha256=None, fetch="cp") == written


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("x.json", b"[1]", "row 1: needs a JSON object, not int"),
        ("x.json", b"[]", "is an empty array"),
        ("x.json", b"[{]", "not JSON"),
        ("x.json", b'[{"a":\n"\xe9"}]', "line 2: not UTF-8"),
        ("x.jsonl.gz", b"plain", "not gzip"),
        ("x.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-6], "not gzip"),
        ("x.jsonl.gz", gzip.compress(b" ", mtime=0), "is empty"),
        ("x.parquet", b"plain", "not Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(
    name: str, data: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path / name, sha256=None, fetch="cp")
    assert f"{name}: {reason}" in str(caught.value)
    assert "\n" not in str(caught.value)


ROW = '{"question": "1 + 1?", "answer": "2"}'


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        (
            "x.jsonl",
            b"question,answer\n1 + 1?,2\n2 + 2?,4\n",
            "is CSV (comma-separated): write one JSON object",
        ),
        ("x.jsonl", b"question;answer\n1 + 1?;2\n", "is CSV (with ;)"),
        ("x.jsonl", b"question\tanswer\n1 + 1?\t2\n", "is TSV (tab-separated)"),
        (
            "x.jsonl",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "is a Git LFS pointer",
        ),
        ("x.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("x.jsonl.gz", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("x.jsonl", b"../.git/annex/objects/x/y", "is a git-annex pointer"),
        ("x.jsonl", b"<!DOCTYPE html>\n<html><body>Sign in", "is an HTML page"),
        ("x.json", b"\n  <HTML lang='en'>", "is an HTML page"),
        ("x.jsonl", b"<?xml version='1.0'?><a/>", "is XML"),
        (
            "x.jsonl",
            f"[{ROW},\n{ROW}]".encode(),
            "is a JSON array, not one object a line: give it a name that ends in .json",
        ),
        ("x.jsonl", f"[\n{ROW}\n]".encode(), "is a JSON array"),
        ("x.jsonl.gz", gzip.compress(f"[{ROW}]".encode(), mtime=0), "is a JSON array"),
        ("x.jsonl", b'["1 + 1?", "2"]\n["2 + 2?", "4"]', "is lines of JSON arrays without names"),
        (
            "x.jsonl",
            json.dumps({"data": [{"question": "?"}]}, indent=1).encode(),
            "one JSON object over several lines (its rows may be in 'data')",
        ),
        (
            "x.jsonl",
            b'{\n "question": "?"\n}\n{\n "question": "?"\n}',
            "is JSON objects over several lines each",
        ),
        ("x.jsonl", b"{'question': '1 + 1?', 'answer': None}\n", "is in Python's notation"),
        ("x.jsonl", f"{ROW},\n{ROW},\n".encode(), "is JSON objects with commas between them"),
        ("x.jsonl", f"{ROW}{ROW}".encode(), "is several JSON objects on one line"),
        ("x.jsonl", f"\x1e{ROW}\n\x1e{ROW}\n".encode(), "is a JSON text sequence"),
        ("x.jsonl", b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> x\n", "is in the middle of a git merge"),
        ("x.jsonl", b"question|answer\n1 + 1?|2\n", "is CSV (with |)"),
        ("x.jsonl", f"{ROW}\n".encode() + bytes(4096), "is filled up with NUL bytes"),
        ("x.jsonl", bytes(4096), "is nothing but NUL bytes"),
        ("x.jsonl", '{"question": "一加一等于几？"}'.encode("utf-16-le"), "is UTF-16 text"),
        ("x.parquet", f"{ROW}\n".encode(), "is JSON, not Parquet: give it a name that ends in .jsonl"),
        ("x.jsonl", b"- question: 1 + 1?\n  answer: 2\n", "is YAML"),
        ("x.jsonl", gzip.compress(ROW.encode(), mtime=0), "is gzip: give it a name that ends in .gz"),
        ("x.jsonl", b"PK\x03\x04" + bytes(40), "is a zip archive"),
        ("x.jsonl", b"BZh91AY", "compressed with bzip2"),
        ("x.jsonl", b"\x28\xb5\x2f\xfd\x00", "compressed with zstd"),
        ("x.jsonl", b"PAR1\x15\x04", "is Parquet: give it a name that ends in .parquet"),
        ("x.jsonl", b"ARROW1\0\0", "is an Arrow file"),
        ("x.parquet", gzip.compress(ROW.encode(), mtime=0), "is gzip"),
        ("x.jsonl", b"SQLite format 3\x00" + bytes(80), "is an SQLite database"),
        ("x.jsonl", b"\x80\x04\x95\x10", "is a Python pickle"),
        ("x.jsonl", ROW.encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        ("x.json", ROW.encode("utf-16-be"), "is UTF-16 text"),
        ("x.jsonl", ROW.encode("utf-32"), "is UTF-32 text"),
        (
            "x.jsonl",
            b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a",
            "is a binary file",
        ),
    ],
)
def test_a_file_of_another_kind_is_called_by_its_name(
    name: str, data: bytes, kind: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path / name, sha256=None, fetch="cp")
    assert f"{name}: is " in str(caught.value)
    assert kind in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_pointer_of_a_pinned_file_is_called_a_pointer(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(DataError, match="is a Git LFS pointer, not the file"):
        read_rows(tmp_path / "x.jsonl", sha256="0" * 64, fetch="cp")


def test_a_directory_in_place_of_a_file_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(DataError, match=r"x\.jsonl: is a directory, needs a file"):
        read_rows(tmp_path / "x.jsonl", sha256=None, fetch="cp")


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.jsonl.gz", "X.JSONL"])
def test_a_byte_order_mark_is_passed_over(name: str, tmp_path: Path) -> None:
    text = f"[{ROW}]" if name == "x.json" else f"{ROW}\n{ROW}"
    data = b"\xef\xbb\xbf" + text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    assert read_rows(tmp_path / name, sha256=None, fetch="cp")[0] == {"question": "1 + 1?", "answer": "2"}


@pytest.mark.parametrize(
    "data",
    [f"{ROW}\r{ROW}\r", f"{ROW}\r\n{ROW}\r\n", f"{ROW}\n\ufeff{ROW}\n", f"\ufeff{ROW}\r\n\r\n\ufeff{ROW}"],
    ids=["old Mac", "Windows", "two files with marks put together", "both"],
)
def test_rows_are_read_whatever_ends_their_lines(data: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(data.encode())
    assert read_rows(tmp_path / "x.jsonl", sha256=None, fetch="cp") == [json.loads(ROW)] * 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Entry not found", "the row is 'Entry not found'"),
        ("404: Not Found", "the row is '404: Not Found'"),
        ('{"question": None}', "the row is '{\"question\": None}'"),
        (
            "Access to this data set is restricted; log in first",
            "the row begins with 'Access to this data set",
        ),
    ],
)
def test_a_row_that_is_not_json_is_shown(text: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(DataError, match="row 1: not JSON") as caught:
        read_rows(tmp_path / "x.jsonl", sha256=None, fetch="cp")
    assert shown in str(caught.value)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        (None, "its source gave NoneType, needs a sequence of Items"),
        ([{"id": "a"}], "item 1: its source gave dict, needs an Item"),
        ([Item("a", "\u200b", "18")], "the question is empty"),
        ([Item("a", "\ufeff \x00", "18")], "the question is empty"),
        ([Item("a", "1 + 1?", "\u200b")], "the expected answer is empty"),
        ([Item("\u2060", "1 + 1?", "2")], "the id is empty"),
    ],
)
def test_what_is_no_item_is_refused_before_it_is_asked(items: Any, reason: str) -> None:
    class Own:
        def items(self, data_dir: Path | None) -> Any:
            return items

        sha256 = None

        def describe(self) -> str:
            return "own"

    with pytest.raises(DataError, match=reason):
        load_items(Task(name="mine", source=Own()))


def test_prose_within_json_lines_is_still_told_by_its_row(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(f"{ROW}\nquestion, answer\n")
    with pytest.raises(DataError, match="row 2: not JSON"):
        read_rows(tmp_path / "x.jsonl", sha256=None, fetch="cp")


@needs_data
def test_gsm8k_has_eight_worked_examples_without_calculator_marks() -> None:
    shots = load_shots(GSM8K, DATA)
    assert len(shots) == 8
    assert all(shot.solution.splitlines()[-1].startswith("The answer is ") for shot in shots)
    assert not any("<<" in shot.solution or "####" in shot.solution for shot in shots)
    assert shots[0].solution.endswith("The answer is 72.")


@needs_data
def test_no_worked_example_is_also_asked() -> None:
    asked = {item.prompt for item in load_items(GSM8K, DATA)}
    assert not asked & {shot.prompt for shot in load_shots(GSM8K, DATA)}


@needs_data
def test_changed_worked_examples_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "train.jsonl").write_text(rows(8))
    with pytest.raises(DataError, match="the first 8 rows are not the pinned ones"):
        load_shots(GSM8K, tmp_path)


def test_the_embedded_task_needs_no_data_and_is_the_same_every_time() -> None:
    first, second = (load_items(EMBEDDED, None, 50, seed=3) for _ in range(2))
    assert first == second
    assert items_sha256(first) == items_sha256(second)
    assert {"family", "steps"} <= set(first[0].meta)


def test_the_order_is_the_seeds_and_a_smaller_n_takes_the_first_of_it(tmp_path: Path) -> None:
    mine = task(rows(100), tmp_path)
    whole = load_items(mine, tmp_path, seed=1)
    assert load_items(mine, tmp_path, 10, seed=1) == whole[:10]
    assert load_items(mine, tmp_path, seed=2) != whole
    assert sorted(whole, key=lambda i: i.id) == sorted(load_items(mine, tmp_path, seed=2), key=lambda i: i.id)


def test_the_fingerprint_changes_with_any_item(tmp_path: Path) -> None:
    items = load_items(task(rows(3), tmp_path), tmp_path)
    assert items_sha256(items) != items_sha256(items[:2])
    assert items_sha256(items) != items_sha256([*items[:2], Item(items[2].id, items[2].prompt, "0")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty; fetch it with: cp mine.jsonl"),
        ("\n\n", "is empty"),
        (rows(2) + "{", "row 3: not JSON"),
        (rows(2) + "[1]", "row 3: needs a JSON object, not list"),
        (rows(1) + '{"question": "1?"}', "row 2: no field 'answer'"),
        (rows(1).encode() + b'{"question": "\xe9"}', "row 2: not UTF-8 at byte 14 of the row"),
        ('{"question": " ", "answer": "1"}', "the question is empty"),
        (
            '{"question": "1?", "answer": "many"}',
            "item 1 ('mine-0'): the expected answer is not a number: 'many'",
        ),
        ('{"id": "a", "question": "1?", "answer": "1"}\n' * 2, "item 2 ('a'): this id was given before"),
        ("[" * 100_000, "row 1: not JSON"),
    ],
)
def test_bad_data_is_one_line_with_row_and_reason(tmp_path: Path, text: str | bytes, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        load_items(task(text, tmp_path), tmp_path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def with_row(row: str, tmp_path: Path, grader: Grader = grade) -> Task:
    """A task of one's own as most are written: no check of the golds, ids and answers as the file has them."""
    (tmp_path / "mine.jsonl").write_text(f'{{"id": "first", "question": "1 + 1?", "answer": "2"}}\n{row}\n')
    source = DataFile(
        path="mine.jsonl",
        item=lambda row, i: Item(row["id"], row["question"], row["answer"]),
        fetch="cp mine.jsonl DIR",
    )
    return Task("mine", source, grader=grader)


@pytest.mark.parametrize(
    ("written", "gold"),
    [
        ("18", "18"),
        ("-3", "-3"),
        ("18.0", "18"),
        ("0.5", "0.5"),
        ("1e3", "1000"),
        ("0.1", "0.1"),
        ('"1,200"', "1,200"),
        ("1e-7", "1e-07"),
        ("90071992547409931", "90071992547409931"),
    ],
)
def test_a_number_as_expected_answer_is_the_text_that_says_it(
    written: str, gold: str, tmp_path: Path
) -> None:
    row = f'{{"id": "a", "question": "?", "answer": {written}}}'
    for grader in (grade, functools.partial(grade), grade_symbolic):
        item = {item.id: item for item in load_items(with_row(row, tmp_path, grader), tmp_path)}["a"]
        assert item.answer == gold
    assert grade(f"\\boxed{{{gold}}}", item.answer, finish_reason="stop").outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("null", "the expected answer is missing (null)"),
        ("NaN", "the expected answer is nan, which is no number"),
        ("-Infinity", "the expected answer is -inf"),
        ("1e400", "the expected answer is inf"),
        ("[18, 19]", "the expected answer is [18, 19] (list), needs a text or a number"),
        ('{"value": 18}', "the expected answer is {'value': 18} (dict)"),
        ("true", "the expected answer is true (bool)"),
        ('"eighteen"', "the expected answer is not a number: 'eighteen'"),
        ('"18 or 19"', "the expected answer is not a number"),
        ('""', "the expected answer is empty"),
        ("0.10000000149011612", "looks like a number of single precision"),
        ("1e300", "too large to be exact"),
    ],
)
def test_an_expected_answer_that_cannot_be_graded_is_told_before_anything_is_asked(
    written: str, reason: str, tmp_path: Path
) -> None:
    row = f'{{"id": "a", "question": "?", "answer": {written}}}'
    with pytest.raises(DataError) as caught:
        load_items(with_row(row, tmp_path), tmp_path)
    assert f"{tmp_path / 'mine.jsonl'}: row 2: item 2 ('a'): " in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_letter_is_expected_of_a_multiple_choice_whoever_wrote_the_task(tmp_path: Path) -> None:
    row = '{"id": "a", "question": "?", "answer": 2}'
    (tmp_path / "mine.jsonl").touch()
    task = with_row(row, tmp_path, grade_choice)
    (tmp_path / "mine.jsonl").write_text(row)
    with pytest.raises(DataError, match="the expected answer is not a letter of A to J: '2'"):
        load_items(task, tmp_path)


def test_a_grader_of_ones_own_gets_the_expected_answer_as_the_suite_wrote_it(tmp_path: Path) -> None:
    def lenient(text: str | None, gold: str, **more: Any) -> Grade:
        return Grade(Outcome.CORRECT)

    row = '{"id": "a", "question": "?", "answer": ["A", "B"]}'
    items = load_items(with_row(row, tmp_path, lenient), tmp_path)
    answers: list[object] = [item.answer for item in items]
    assert ["A", "B"] in answers
    assert len(items_sha256(items)) == 64


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"id": "a", "question": null, "answer": 1}', "the question is missing (null)"),
        ('{"id": "a", "question": 12, "answer": 1}', "the question is 12 (int), needs a text"),
        ('{"id": "a", "question": ["x"], "answer": 1}', "the question is ['x'] (list), needs a text"),
        ('{"id": "a", "question": "\\t", "answer": 1}', "the question is empty"),
        ('{"id": "a", "question": "\\ud83d", "answer": 1}', "half of a surrogate pair at character 0"),
        ('{"id": null, "question": "?", "answer": 1}', "the id is missing (null)"),
        ('{"id": "first", "question": "?", "answer": 1}', "this id was given before"),
        ('{"id": "a", "prompt": "?", "answer": 1}', "no field 'question'; the row has id, prompt, answer"),
    ],
)
def test_a_question_that_is_none_is_told_with_file_and_row(row: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_items(with_row(row, tmp_path), tmp_path)
    assert f"{tmp_path / 'mine.jsonl'}: row 2: " in str(caught.value)
    assert reason in str(caught.value)


def test_ids_that_are_numbers_are_their_texts_and_must_differ_as_such(tmp_path: Path) -> None:
    items = load_items(with_row('{"id": 7, "question": "?", "answer": 1}', tmp_path), tmp_path)
    assert {item.id for item in items} == {"first", "7"}
    rows = '{"id": 7, "question": "?", "answer": 1}\n{"id": "7", "question": "?", "answer": 1}'
    with pytest.raises(DataError, match=r"item 3 \('7'\): this id was given before"):
        load_items(with_row(rows, tmp_path), tmp_path)


@pytest.mark.parametrize(
    "error", [IndexError("list index out of range"), ZeroDivisionError(), RecursionError("deep")]
)
def test_whatever_an_item_function_raises_names_its_row(error: Exception, tmp_path: Path) -> None:
    def item(row: Any, number: int) -> Item:
        raise error

    (tmp_path / "mine.jsonl").write_text(ROW)
    source = DataFile(path="mine.jsonl", item=item, fetch="cp")
    with pytest.raises(DataError, match=f"mine.jsonl: row 1: {error or type(error).__name__}"):
        load_items(Task("mine", source), tmp_path)


def test_an_item_function_that_gives_no_item_names_its_row(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(ROW)
    source = DataFile(path="mine.jsonl", item=lambda row, i: dict(row), fetch="cp")  # type: ignore[arg-type,return-value]
    with pytest.raises(DataError, match="row 1: `item` gave dict, needs an Item"):
        load_items(Task("mine", source), tmp_path)


def test_a_line_separator_inside_a_question_is_no_new_row(tmp_path: Path) -> None:
    text = '{"question": "1\u2028+ 1?", "answer": "2"}\r\n'
    assert load_items(task(text, tmp_path), tmp_path)[0].prompt == "1\u2028+ 1?"


def test_a_missing_file_is_answered_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    mine = task(rows(1), tmp_path)
    with pytest.raises(
        DataError, match=r"no such file; fetch it with: cp mine.jsonl .*/other/mine/test.jsonl"
    ):
        load_items(mine, tmp_path / "other")
    with pytest.raises(DataError, match="needs --llmperf-data DIR; fetch it with"):
        load_items(mine, None)


def test_a_changed_file_is_refused_with_both_checksums(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not the pinned file: sha256 [0-9a-f]{64}, needs 0000; fetch"):
        load_items(task(rows(1), tmp_path, sha256="0000"), tmp_path)


@pytest.mark.parametrize("n", [0, -1, 4])
def test_more_items_than_there_are_or_none_is_an_error(tmp_path: Path, n: int) -> None:
    with pytest.raises(DataError, match=f"{n} items were asked for"):
        load_items(task(rows(3), tmp_path), tmp_path, n)


@dataclass(frozen=True)
class Nothing:
    sha256: str | None = None

    def items(self, data_dir: Path | None) -> Sequence[Item]:
        return []

    def describe(self) -> str:
        return "nowhere"


def test_a_source_without_items_is_an_error() -> None:
    with pytest.raises(DataError, match="task mine: no items in nowhere"):
        load_items(Task("mine", Nothing()))


def test_a_task_without_worked_examples_cannot_be_asked_few_shot() -> None:
    with pytest.raises(DataError, match="task embedded has no worked examples"):
        load_shots(EMBEDDED)


def test_a_task_of_ones_own_replaces_a_built_in_one_and_unknown_names_get_the_nearest() -> None:
    mine = Task("gsm8k", Nothing())
    assert find_named("task", "gsm8k", [*BUILT_IN, mine]) is mine
    with pytest.raises(UsageError, match=r"no task 'gsmk8'; did you mean gsm8k\?"):
        find_named("task", "gsmk8", BUILT_IN)


def asked_of(*pairs: tuple[str, str]) -> list[Item]:
    return [Item(f"i{number}", prompt, answer) for number, (prompt, answer) in enumerate(pairs)]


def test_questions_that_are_asked_again_are_told() -> None:
    task = GSM8K
    assert remarks(task, asked_of(("a", "1"), ("b", "2"))) == []
    (line,) = remarks(task, asked_of(*[("What is 2 + 2?", "4")] * 60, ("b", "2")))
    assert (
        "61 items ask 2 different questions (59 repeat one; 'What is 2 + 2?' (str) is asked 60 times)" in line
    )
    assert "remove the repetitions" in line


def test_golds_that_cannot_be_read_as_formulas_are_told_and_do_not_refuse_the_set() -> None:
    task = MATH500
    assert remarks(task, asked_of(("a", "x^2"), ("b", "\\text{east}"), ("c", "52_8"))) == []
    (line,) = remarks(task, asked_of(("a", "x^2"), ("b", "x \\to 3")))
    assert "the expected answers of 1 of 2 items cannot be read as formulas" in line
    assert "i1 'x \\\\to 3'" in line


def test_numbers_of_a_parquet_file_are_read_and_its_nulls_refused(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    source = DataFile("x.parquet", lambda row, i: Item(f"x-{i}", row["question"], row["answer"]), "cp")
    columns: list[list[Any]] = [[18, 5], [18.0, 0.5], [Decimal("18.00"), Decimal("0.50")]]
    for answers in columns:
        parquet.write_table(pa.table({"question": ["1?", "2?"], "answer": answers}), tmp_path / "x.parquet")
        items = load_items(Task("x", source), tmp_path)
        assert {gold_number(item.answer) for item in items} == {
            gold_number(f"{answer}") for answer in answers
        }
    parquet.write_table(pa.table({"question": ["1?", "2?"], "answer": [18, None]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet: row 2: .* the expected answer is missing \(null\)"):
        load_items(Task("x", source), tmp_path)
