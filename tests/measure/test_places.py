"""A verdict says what the GPUs of two servers leave in the ratio of their speeds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from pytest_llmperf.measure.places import places_in_ratio
from pytest_llmperf.measure.served import Served
from pytest_llmperf.serving.gpu import GIB, Device
from pytest_llmperf.serving.placement import Placement


def side(name: str, *starts: int) -> Served:
    places = [
        Placement((Device(index, "NVIDIA H100", f"GPU-{index}", 80 * GIB, GIB, 79 * GIB),))
        for index in starts
    ]
    return cast(Served, SimpleNamespace(name=name, every_placement=places))


def test_on_one_gpu_there_is_nothing_to_say() -> None:
    assert places_in_ratio(side("new", 0, 0), side("old", 0, 0)) == ""
    assert places_in_ratio(side("new"), side("old")) == ""


def test_sides_that_changed_places_are_told_with_their_starts() -> None:
    assert places_in_ratio(side("new", 0, 1, 0), side("old", 1, 0, 1)) == (
        "the sides changed places between starts (new on GPU 0, old on GPU 1: 2 starts; "
        "new on GPU 1, old on GPU 0: 1 start)"
    )


@pytest.mark.parametrize(
    ("starts", "where"), [(1, "in the only start"), (3, "in every start")], ids=["one", "several"]
)
def test_a_difference_of_the_gpus_that_stays_in_the_ratio_is_said(starts: int, where: str) -> None:
    said = places_in_ratio(side("new", *[0] * starts), side("old", *[1] * starts))
    assert said.startswith(f"new on GPU 0, old on GPU 1 {where}: what these GPUs differ by is in the ratio")
    assert 'placement = "apart" and 3 starts or more' in said
