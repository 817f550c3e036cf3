"""Data that are not what they should be, and a record that cannot be written: one line each, and red."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    def test_gsm8k(candidate, accuracy):
        assert accuracy(candidate, "gsm8k") >= 0.5
"""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["no such file", "fetch it with"]),
        ("", ["is empty", "fetch it with"]),
        ('{"question": "1 + 1?", "answer": "#### 2"}\n', ["is not the pinned file", "sha256"]),
    ],
    ids=["missing", "empty", "changed"],
)
def test_a_data_set_that_is_not_the_pinned_one_is_told_in_one_line(
    project: Project, content: str | None, words: list[str]
) -> None:
    (project.path / "data").mkdir()
    if content is not None:
        for name in ("gsm8k/test.jsonl", "gsm8k/train.jsonl", "test.jsonl"):
            project.write(f"data/{name}", content)
    project.suite(SUITE)
    result = project.run("--llmperf-data", "data")
    assert result.code == 1, result.text
    assert result.noise == []
    assert result.lines(*words), result.text
    assert result.lines("llmperf: 1 INVALID"), result.text
    assert project.starts == [], "no server is started for data that cannot be asked"


def test_an_unknown_task_is_named(project: Project) -> None:
    project.suite(SUITE.replace("gsm8k", "gms8k"))
    result = project.run()
    assert result.code == 1, result.text
    assert result.noise == []
    assert result.lines("gms8k", "gsm8k"), result.text
    assert project.starts == []


def test_a_full_disk_makes_a_green_run_red_and_keeps_the_old_record(project: Project) -> None:
    project.suite("def test_nothing(candidate): pass")
    project.write("record.json", "old")
    # A limit on the size of files fails as a full disk does, in the middle of the writing.
    with (project.path / "conftest.py").open("a") as conftest:
        conftest.write("""
import resource
def pytest_configure():
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))
def pytest_llmperf_update_record(record):
    record["ballast"] = "x" * 256 * 1024
""")
    result = project.run("--llmperf-record", "record.json")
    assert result.code == 1, result.text
    assert result.noise == []
    assert result.lines("the record was not written to record.json", "File too large")
    assert (project.path / "record.json").read_text() == "old"
    assert list(project.path.glob(".record.json*")) == []


def test_a_record_that_has_no_place_is_told(project: Project) -> None:
    project.suite("def test_nothing(candidate): pass")
    result = project.run("--llmperf-record", "models.toml/record.json")
    assert result.code == 1, result.text
    assert result.noise == []
    assert result.lines("the record was not written to models.toml/record.json")
