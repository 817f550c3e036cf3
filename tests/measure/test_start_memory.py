"""What earlier runs know of how starts differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.measure.start_memory import KEPT, ServerPair, StartMemory, StartsOf

PAIR = ServerPair("a machine", ("a", "b"), "8 at a time", ("vllm 1", "vllm 1"), ("x", "y"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "starts.jsonl"


def run(path: Path, centre: float, comparison: ServerPair = PAIR) -> None:
    memory = StartMemory(path)
    memory.note(comparison, "tpot", [(centre, 0.01)])
    memory.keep()


def test_a_run_knows_the_starts_of_earlier_runs_and_not_its_own(path: Path) -> None:
    memory = StartMemory(path)
    memory.note(PAIR, "tpot", [(0.01, 0.002)])
    assert memory.known(PAIR, "tpot") == ()
    memory.keep()
    assert StartMemory(path).known(PAIR, "tpot") == (((0.01, 0.002),),)
    assert StartMemory(path).known(PAIR, "ttft") == ()


@pytest.mark.parametrize(
    "other",
    [
        replace(PAIR, machine="another"),
        replace(PAIR, entries=("a", "c")),
        replace(PAIR, load="32 at a time"),
        replace(PAIR, engines=("vllm 2", "vllm 1")),
    ],
)
def test_starts_of_something_else_are_not_taken_for_these(path: Path, other: ServerPair) -> None:
    run(path, 0.01, other)
    assert StartMemory(path).known(PAIR, "tpot") == ()


def test_other_files_are_a_group_of_their_own(path: Path) -> None:
    for centre, comparison in (
        (0.0, PAIR),
        (0.3, replace(PAIR, contents=("new", "y"))),
        (0.1, PAIR),
        (0.5, replace(PAIR, contents=(None, "y"))),
        (0.6, replace(PAIR, contents=(None, "y"))),
    ):
        run(path, centre, comparison)
    assert sorted(len(group) for group in StartMemory(path).known(PAIR, "tpot")) == [1, 1, 1, 2]


def test_a_plan_knows_the_starts_of_any_engine_version(path: Path) -> None:
    run(path, 0.01)
    assert StartMemory(path).known(replace(PAIR, engines=(None, None)), "tpot")


def test_the_file_does_not_grow_for_ever(path: Path) -> None:
    for number in range(KEPT + 5):
        run(path, number / 1000.0)
    (group,) = StartMemory(path).known(PAIR, "tpot")
    assert len(group) == KEPT
    assert group[-1] == ((KEPT + 4) / 1000.0, 0.01)


NOT_FINITE = (
    b'{"machine": "a machine", "entries": ["a", "b"], "load": "8 at a time", "engines": ["vllm 1", "vllm 1"], '
    b'"contents": ["x", "y"], "metrics": {"tpot": [[NaN, 0.01], ["0.02", 0.01]]}}\n'
)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{}\n[1]\nnull\n", b'{"metrics": 3}\n', b"", NOT_FINITE])
def test_a_file_that_is_not_ours_is_no_memory_and_no_error(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    assert StartMemory(path).known(PAIR, "tpot") == ()
    run(path, 0.02)
    assert StartMemory(path).known(PAIR, "tpot") == (((0.02, 0.01),),)


def test_a_cache_that_cannot_be_written_costs_the_memory_alone(path: Path) -> None:
    path.parent.write_text("a file where the directory should be")
    run(path, 0.02)
    assert StartMemory(path).known(PAIR, "tpot") == ()


def test_a_start_that_lost_its_rounds_is_not_remembered(path: Path) -> None:
    memory = StartMemory(path)
    good = [(1.01, 1.0)] * 8
    StartsOf(PAIR, memory).note("tpot", [good, [(None, 1.0)] * 8])
    memory.keep()
    ((start,),) = StartMemory(path).known(PAIR, "tpot")
    assert start[0] == pytest.approx(0.00995, abs=1e-4)


def test_of_two_gates_on_the_same_starts_the_one_of_more_rounds_is_remembered(path: Path) -> None:
    memory = StartMemory(path)
    for error in (0.003, 0.001, 0.002):
        memory.note(PAIR, "tpot", [(0.01, error)])
    memory.keep()
    assert StartMemory(path).known(PAIR, "tpot") == (((0.01, 0.001),),)
