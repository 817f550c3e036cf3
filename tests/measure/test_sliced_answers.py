"""The items of a shard: a partition of the run's, the same everywhere, and no group is torn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.config.shard import RunShard
from pytest_llmperf.measure.sliced_answers import places_of
from pytest_llmperf.tasks.task import Item, sample_of


@given(groups=st.lists(st.integers(0, 6), max_size=200), of=st.integers(1, 20))
def test_shards_partition_the_items_and_keep_groups_whole(groups: list[int], of: int) -> None:
    # Group 0: the item is by itself.
    items = [
        Item(str(place), "?", "1", group=f"g{group}" if group else "") for place, group in enumerate(groups)
    ]
    parts = [places_of(items, RunShard(number, of)) for number in range(1, of + 1)]
    assert sorted(place for part in parts for place in part) == list(range(len(items)))
    units = [{sample_of(items[place]) for place in part} for part in parts]
    assert sum(map(len, units)) == len({sample_of(item) for item in items})
    assert max(map(len, units)) - min(map(len, units)) <= 1
    assert sorted(map(len, units), reverse=True) == list(map(len, units))


@given(count=st.integers(0, 300), of=st.integers(1, 9), n=st.integers(0, 300))
def test_the_part_of_the_first_items_is_the_beginning_of_the_part_of_all(count: int, of: int, n: int) -> None:
    items = [Item(str(place), "?", "1") for place in range(count)]
    for number in range(1, of + 1):
        every = places_of(items, RunShard(number, of))
        first = places_of(items[:n], RunShard(number, of))
        assert first == [place for place in every if place < n]
