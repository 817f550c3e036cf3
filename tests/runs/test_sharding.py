"""The cut of a run into shards: the same everywhere, each test once, and nothing is measured twice."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from pytest_llmperf.config.shard import RunShard
from pytest_llmperf.runs.sharding import TestToCut, cut

SUITES = {
    "test_accuracy.py": ({"answers"}, 6),
    "test_health.py": ({"answers"}, 4),
    "test_latency.py": ({"load"}, 15),
    "test_throughput.py": ({"load"}, 3),
    "test_memory.py": (set(), 4),
    "test_quality.py": ({"long answers", "perplexity"}, 5),
    "test_plain.py": (set(), 2),
}


def collected(*candidates: str) -> list[TestToCut]:
    return [
        TestToCut(f"{file}::test_{n}[{row}]", file, row, frozenset(measures))
        for row in candidates
        for file, (measures, count) in SUITES.items()
        for n in range(count)
    ]


@pytest.mark.parametrize("of", [1, 2, 3, 4, 7, 50])
def test_each_test_is_in_one_shard_whatever_the_order(of: int) -> None:
    every = collected("distill", "awq")
    first = cut(every, of)
    assert set(first) == {each.test for each in every}
    assert set(first.values()) <= set(range(1, of + 1))
    random.Random(of).shuffle(every)
    assert cut(every, of) == first


def test_the_cut_is_always_this_one() -> None:
    """A machine with another version of Python must cut alike: change this only with the cut itself."""
    taken = Counter(cut(collected("distill", "awq"), 4).values())
    assert taken == {1: 20, 2: 20, 3: 19, 4: 19}


@pytest.mark.parametrize("of", [2, 4, 9])
def test_tests_that_share_a_file_or_a_measurement_stay_together(of: int) -> None:
    every = collected("distill", "awq")
    numbers = cut(every, of)
    shared: dict[tuple[str, str], set[int]] = {}
    for each in every:
        for what in (each.file, *each.measures):
            shared.setdefault((each.candidate, what), set()).add(numbers[each.test])
    assert all(len(found) == 1 for found in shared.values())


def test_two_candidates_may_go_to_two_shards() -> None:
    numbers = cut(collected("distill", "awq"), 2)
    assert {numbers["test_latency.py::test_0[distill]"], numbers["test_latency.py::test_0[awq]"]} == {1, 2}


def test_a_file_joins_all_that_its_tests_measure() -> None:
    both = [
        TestToCut("a.py::test_1", "a.py", "", frozenset({"answers"})),
        TestToCut("a.py::test_2", "a.py", "", frozenset({"load"})),
        TestToCut("b.py::test_1", "b.py", "", frozenset({"load"})),
        TestToCut("c.py::test_1", "c.py", "", frozenset({"answers"})),
    ]
    assert len(set(cut(both, 4).values())) == 1


@pytest.mark.parametrize(
    ("text", "shard"), [("1/1", RunShard(1, 1)), ("2/4", RunShard(2, 4)), ("200/200", RunShard(200, 200))]
)
def test_a_shard_is_read(text: str, shard: RunShard) -> None:
    assert RunShard.parse(text) == shard
    assert str(shard) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "0/2",
        "3/2",
        "-1/2",
        "1/0",
        "1.0/2",
        "1/2/3",
        "1 / 2",
        "a/b",
        "1/99999999999",
        "１/２",
        "1/2\n",
    ],
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be i/n"):
        RunShard.parse(text)


def test_tests_that_are_cut_by_items_move_no_other_test() -> None:
    every = collected("distill", "awq")
    parts = [replace(each, test=f"parts_{each.test}", by_items=True) for each in every[::3]]
    assert cut([*every, *parts], 4) == cut(every, 4)
    mixed = [*parts, *every]
    random.Random(3).shuffle(mixed)
    assert cut(mixed, 4) == cut(every, 4)
