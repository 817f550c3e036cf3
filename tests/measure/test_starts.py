"""Which starts meet which concurrencies, and what a failure at one of them takes along."""

from __future__ import annotations

import pytest

from pytest_llmperf.errors import NotMeasured, StartError
from pytest_llmperf.load.interleave import Rounds
from pytest_llmperf.measure.speed import over_starts


class Machine:
    """Notes what is asked of it; measuring fails at the (start, concurrency) pairs of ``broken``."""

    def __init__(self, *broken: tuple[int, int]) -> None:
        self.broken = broken
        self.start = 1
        self.asked: list[tuple[int, int]] = []
        self.made: list[tuple[Rounds, str]] = []

    def start_anew(self) -> None:
        self.start += 1

    def measure(self, concurrency: int, rounds: int, number: int) -> Rounds:
        assert number == self.start
        self.asked.append((self.start, concurrency))
        if (self.start, concurrency) in self.broken:
            raise NotMeasured(f"nothing at {concurrency}")
        made = Rounds((), (), (), ())
        self.made.append((made, f"{rounds} rounds of start {number} at {concurrency}"))
        return made

    def named(self, rounds: Rounds) -> str:
        return next(name for made, name in self.made if made is rounds)


def test_every_pair_of_starts_meets_every_concurrency_in_the_same_order() -> None:
    machine = Machine()
    found = over_starts(machine.measure, machine.start_anew, [8, 1], 64, 3)
    assert machine.asked == [(start, concurrency) for start in (1, 2, 3) for concurrency in (8, 1)]
    measured = found[1]
    assert isinstance(measured, tuple)
    assert [machine.named(one) for one in measured] == [
        f"22 rounds of start {start} at 1" for start in (1, 2, 3)
    ]


def test_what_fails_at_one_concurrency_leaves_the_others_alone_and_is_not_tried_again() -> None:
    machine = Machine((2, 32))
    found = over_starts(machine.measure, machine.start_anew, [1, 32, 8], 64, 3)
    assert isinstance(found[32], NotMeasured)
    for concurrency in (1, 8):
        measured = found[concurrency]
        assert isinstance(measured, tuple)
        assert len(measured) == 3
    assert (3, 32) not in machine.asked


def test_nothing_is_started_for_concurrencies_that_have_all_failed() -> None:
    machine = Machine((1, 1), (1, 8))
    over_starts(machine.measure, machine.start_anew, [1, 8], 64, 5)
    assert machine.start == 1


def test_a_server_that_cannot_be_started_anew_ends_the_comparison() -> None:
    def refuse() -> None:
        raise StartError("no")

    with pytest.raises(StartError):
        over_starts(Machine().measure, refuse, [1], 64, 3)
