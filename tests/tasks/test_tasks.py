"""Data sets: pinned, complete and in a reproducible order, or one line that says what to do."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.errors import DataError, UsageError
from pytest_llmperf.tasks import (
    DataFile,
    Item,
    Task,
    find_task,
    items_sha256,
    load_items,
    load_shots,
)
from pytest_llmperf.tasks.grading import Outcome, gold_number
from pytest_llmperf.tasks.rows import read_rows

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
    items = load_items(find_task("gsm8k"), DATA)
    assert len(items) == 1319
    assert len({item.id for item in items}) == 1319
    assert all("####" not in item.answer and "," not in item.answer for item in items)


@needs_data
@pytest.mark.parametrize(("name", "count"), [("math500", 500), ("svamp", 1000), ("medqa", 1273)])
def test_every_data_set_is_the_pinned_one_and_can_be_asked_by_both_protocols(name: str, count: int) -> None:
    task = find_task(name)
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
    items = {item.id: item for item in load_items(find_task("svamp"), DATA)}
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
        file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
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


@needs_data
def test_gsm8k_has_eight_worked_examples_without_calculator_marks() -> None:
    shots = load_shots(find_task("gsm8k"), DATA)
    assert len(shots) == 8
    assert all(shot.solution.splitlines()[-1].startswith("The answer is ") for shot in shots)
    assert not any("<<" in shot.solution or "####" in shot.solution for shot in shots)
    assert shots[0].solution.endswith("The answer is 72.")


@needs_data
def test_no_worked_example_is_also_asked() -> None:
    asked = {item.prompt for item in load_items(find_task("gsm8k"), DATA)}
    assert not asked & {shot.prompt for shot in load_shots(find_task("gsm8k"), DATA)}


@needs_data
def test_changed_worked_examples_are_refused(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "train.jsonl").write_text(rows(8))
    with pytest.raises(DataError, match="the first 8 rows are not the pinned ones"):
        load_shots(find_task("gsm8k"), tmp_path)


def test_the_embedded_task_needs_no_data_and_is_the_same_every_time() -> None:
    first, second = (load_items(find_task("embedded"), None, 50, seed=3) for _ in range(2))
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
        load_shots(find_task("embedded"))


def test_a_task_of_ones_own_replaces_a_built_in_one_and_unknown_names_get_the_nearest() -> None:
    mine = Task("gsm8k", Nothing())
    assert find_task("gsm8k", [mine]) is mine
    with pytest.raises(UsageError, match=r"no task 'gsmk8'; did you mean gsm8k\?"):
        find_task("gsmk8")
