"""Data that are not what they should be, and a record that cannot be written: one line each, and red."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    def test_it(candidate, accuracy):
        assert accuracy(candidate, "gsm8k") >= 0.5
"""
GSM8K_ROW = '{"question": "1 + 1?", "answer": "#### 2"}\n'
FILES = {
    "gsm8k": "gsm8k/test.jsonl",
    "math500": "math500/test.jsonl",
    "svamp": "svamp/SVAMP.json",
    "medqa": "medqa/test.jsonl",
}


@pytest.mark.parametrize("task", FILES)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["no such file", "fetch it with: curl"]),
        (b"", ["is empty", "fetch it with: curl"]),
        (GSM8K_ROW.encode(), ["is not the pinned file", "sha256", "fetch it with: curl"]),
    ],
    ids=["missing", "empty", "changed"],
)
def test_a_data_set_that_is_not_the_pinned_one_is_told_in_one_line(
    project: Project, task: str, content: bytes | None, words: list[str]
) -> None:
    (project.path / "data").mkdir()
    if content is not None:
        project.write(f"data/{FILES[task]}", content.decode())
    project.suite(SUITE.replace("gsm8k", task))
    result = project.run("--llmperf-data", "data")
    assert result.code == 4, result.text
    assert result.noise == []
    assert result.lines(f"data/{FILES[task]}", *words), result.text
    assert result.lines("llmperf: 1 INVALID"), result.text
    assert project.starts == [], "no server is started for data that cannot be asked"


OWN_TASK = """
    from pytest_llmperf import DataFile, Item, Task
    from pytest_llmperf.tasks.grading.{module} import {grader}, {check}

    MINE = Task(
        name="mine",
        source=DataFile(
            path="mine.jsonl",
            fetch="cp mine.jsonl DIR/mine.jsonl",
            item=lambda row, number: Item(row["id"], row["question"], row["answer"]),
        ),
        grader={grader},
        check_gold={check},
    )

    def pytest_llmperf_tasks():
        return [MINE]
"""
GRADERS = {
    "grade": ("number", "gold_number"),
    "grade_symbolic": ("symbolic", "check_symbolic"),
    "grade_choice": ("choice", "check_choice"),
}
GOOD = b'{"id": "a", "question": "1 + 1?", "answer": "%s"}\n'
RIGHT = {"grade": b"2", "grade_symbolic": b"x + 2", "grade_choice": b"C"}


@pytest.mark.parametrize("grader", GRADERS)
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"id": "b"', "row 2: not JSON"),
        (b"[1]", "row 2: needs a JSON object, not list"),
        (b'{"id": "b", "question": "2 + 2?"}', "row 2: no field 'answer'"),
        (b'{"id": "b", "question": "\xe9", "answer": "4"}', "row 2: not UTF-8 at byte 25 of the row"),
        (b'{"id": "a", "question": "2 + 2?", "answer": "A"}', "item 2 ('a'): this id was given before"),
        (b'{"id": "b", "question": " ", "answer": "4"}', "item 2 ('b'): the question is empty"),
        (b'{"id": "b", "question": "2 + 2?", "answer": null}', "item 2 ('b'): the expected answer"),
    ],
    ids=["malformed", "no object", "missing field", "not UTF-8", "duplicate id", "no question", "no gold"],
)
def test_a_bad_row_of_a_task_of_ones_own_is_told_with_file_row_and_reason(
    project: Project, grader: str, bad: bytes, reason: str
) -> None:
    module, check = GRADERS[grader]
    with (project.path / "conftest.py").open("a") as conftest:
        conftest.write(textwrap.dedent(OWN_TASK.format(module=module, grader=grader, check=check)))
    (project.path / "mine.jsonl").write_bytes(GOOD % RIGHT[grader] + bad + b"\n")
    project.suite(SUITE.replace("gsm8k", "mine"))
    result = project.run("--llmperf-data", ".")
    assert result.code == 4, result.text
    assert result.noise == []
    assert result.lines("mine", reason), result.text
    assert project.starts == []


def test_an_unknown_task_is_named(project: Project) -> None:
    project.suite(SUITE.replace("gsm8k", "gms8k"))
    result = project.run()
    assert result.code == 1, result.text
    assert result.noise == []
    assert result.lines("gms8k", "gsm8k"), result.text
    assert project.starts == []


def test_a_full_disk_makes_a_green_run_red_and_keeps_the_record_of_before_it_was_full(
    project: Project,
) -> None:
    project.suite("def test_its_name(candidate):\n    assert candidate.name")
    project.write("record.json", "old")
    # A limit on the size of files fails as a full disk does, in the middle of the writing.
    with (project.path / "conftest.py").open("a") as conftest:
        conftest.write("""
import resource, sys
sys.dont_write_bytecode = True
def pytest_configure():
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))
def pytest_llmperf_update_record(record):
    record["ballast"] = "x" * 256 * 1024
""")
    result = project.run("--llmperf-record", "record.json")
    assert result.code == 1, result.text
    assert result.noise == []
    assert result.lines(
        "the record was not written to record.json: File too large", "bytes needed", "free space"
    )
    kept = json.loads((project.path / "record.json").read_text())
    assert kept["partial"] == "the rest of the run's data could not be written"
    assert kept["run"]["green"] is False
    assert [one["outcome"] for one in kept["tests"]] == ["passed"]
    assert list(project.path.glob(".record.json*")) == []


def test_a_record_that_has_no_place_ends_the_run_before_a_server_starts(project: Project) -> None:
    project.suite("def test_its_name(candidate):\n    assert candidate.name")
    result = project.run("--llmperf-record", "models.toml/record.json")
    assert result.code == 4, result.text
    assert result.noise == []
    assert result.lines(
        "--llmperf-record: the record was not written to models.toml/record.json: models.toml is a file, not a "
        "directory; choose another --llmperf-record"
    )
    assert project.starts == []
