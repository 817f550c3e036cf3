"""Interleaved rounds are measured as far as gates ask: which starts meet which concurrencies, and what a failure takes
along.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmperf.config.sizes import LoadShape
from pytest_llmperf.errors import NotMeasured, StartError
from pytest_llmperf.load.interleave import Rounds
from pytest_llmperf.measure.memo import Memo
from pytest_llmperf.measure.speed import InterleavedRounds, schedule_of

SHAPE = LoadShape(64, 32, 64)


def _side(name: str) -> SimpleNamespace:
    lives = {"death": lambda wait_s: None, "is_healthy": lambda: True}
    return SimpleNamespace(name=name, started=False, crashes=0, **lives)


class Machine:
    """Two servers, in place of ``Speed``: notes what is asked of it, and fails at the (start, concurrency) pairs of
    ``broken``.
    """

    def __init__(
        self, *broken: tuple[int, int], starts: int = 3, concurrencies: tuple[int, ...] = ()
    ) -> None:
        self.broken = broken
        self.start = 1
        self.asked: list[tuple[int, int]] = []
        self.warm: list[tuple[range, bool]] = []
        self.sides = [
            SimpleNamespace(
                name=name, started=False, crashes=0, death=lambda wait_s: None, is_healthy=lambda: True
            )
            for name in ("distill", "math")
        ]
        self.servers = SimpleNamespace(
            settings=SimpleNamespace(starts=starts, full=False),
            sizes=SimpleNamespace(load=SHAPE, workers=None),
            concurrencies=concurrencies,
            start_anew=self.start_anew,
        )
        self.alone: list[tuple[str, int, range, bool]] = []
        self.memo = Memo()

    def start_anew(self, *sides: object) -> None:
        del sides
        self.start += 1

    def prepare(self, side: object, shape: object) -> None:
        del side, shape

    def interleaved(
        self, *how: Any, start: int, rounds: range, of: int, workers: int | None, warm: bool
    ) -> Rounds:
        concurrency = how[-1]
        assert start == self.start
        assert of in (22, 64)
        assert workers is None or warm or rounds.start
        self.asked.append((start, concurrency))
        self.warm.append((rounds, warm))
        if (start, concurrency) in self.broken:
            raise NotMeasured(f"nothing at {concurrency}")
        count = len(rounds)
        run: Any = SimpleNamespace(workers=())
        return Rounds((start,) * count, (start,) * count, (run,) * count, (run,) * count)  # type: ignore[arg-type]

    def one_sided(
        self, side: Any, *how: Any, workers: int | None, warm: bool
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        concurrency, _, rounds = how
        assert workers
        self.alone.append((side.name, concurrency, rounds, warm))
        return (SimpleNamespace(workers=()),) * len(rounds), ("alone",) * len(rounds)

    def at(self, concurrency: int) -> InterleavedRounds:
        speed: Any = self
        candidate: Any
        baseline: Any
        candidate, baseline = self.sides
        return InterleavedRounds(speed, self.memo, candidate, baseline, concurrency, SHAPE)


def test_gates_look_ever_later_and_not_shortly_before_the_end() -> None:
    assert schedule_of(64, 1) == (8, 12, 18, 27, 40, 64)
    assert schedule_of(12, 1) == (8, 12)
    assert schedule_of(9, 1) == (9,)
    assert schedule_of(64, 15) == (36, 60, 96, 132, 180)
    assert schedule_of(64, 3) == (66,)


def test_rounds_go_on_where_the_look_before_ended() -> None:
    machine = Machine(starts=1)
    rounds = machine.at(4)
    assert len(rounds.first(8)[0]) == 8
    assert len(rounds.first(18)[0]) == 18
    assert len(rounds.first(12)[0]) == 12, "a prefix, and nothing is asked again"
    assert [(asked.start, asked.stop) for asked, _ in machine.warm] == [(0, 8), (8, 18)]
    assert [warm for _, warm in machine.warm] == [False, True], "warmed up once, as no pause was made"
    assert (rounds.measured, rounds.tail_size) == (18, 64)


def test_a_tail_takes_the_rounds_of_the_comparison_and_the_rest_of_the_candidate_alone() -> None:
    machine = Machine(starts=1)
    rounds = machine.at(4)
    rounds.first(12)
    runs, metrics = rounds.tail()
    assert (len(runs), metrics.count("alone"), rounds.measured) == (64, 52, 12)
    assert machine.alone == [("distill", 4, range(12, 64), True)]
    assert len(rounds.first(18)[0]) == 18, "ratios go on with rounds of both"
    assert machine.warm[-1] == (range(12, 18), False), "the baseline has rested"
    assert rounds.tail() == (runs, metrics), "the same for every gate"
    assert len(machine.alone) == 1


def test_a_tail_that_is_asked_first_leaves_the_ratios_a_look() -> None:
    machine = Machine(starts=1)
    rounds = machine.at(4)
    rounds.tail()
    assert machine.warm == [(range(8), False)]
    assert machine.alone == [("distill", 4, range(8, 64), True)]


def test_a_tail_measures_nothing_where_the_rounds_of_the_comparison_are_enough() -> None:
    machine = Machine(starts=1)
    rounds = machine.at(4)
    rounds.first(64)
    assert len(rounds.tail()[0]) == 64
    several = Machine(concurrencies=(4,))
    assert len(several.at(4).tail()[0]) == 66
    assert not machine.alone
    assert not several.alone


def test_a_tail_is_not_put_together_of_two_processes() -> None:
    machine = Machine(starts=1)
    rounds = machine.at(4)
    rounds.first(8)
    machine.sides[0].crashes = 1
    with pytest.raises(NotMeasured, match="started again"):
        rounds.tail()
    assert not machine.alone


def test_a_pause_between_two_looks_asks_for_another_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(starts=1)
    rounds = machine.at(4)
    rounds.first(8)
    monkeypatch.setattr("pytest_llmperf.measure.speed.STAYS_WARM_S", 0.0)
    rounds.first(12)
    assert [warm for _, warm in machine.warm] == [False, False]


def test_rounds_of_two_processes_are_not_put_together() -> None:
    machine = Machine(starts=1)
    rounds = machine.at(4)
    rounds.first(8)
    machine.sides[0].crashes = 1
    with pytest.raises(NotMeasured, match="started again"):
        rounds.first(12)
    assert len(rounds.first(8)[0]) == 8


def test_every_pair_of_starts_meets_every_concurrency_in_the_same_order() -> None:
    machine = Machine(concurrencies=(8, 1))
    every: list[Any] = [found.candidate for found in machine.at(8).first(66)]
    assert [set(found) for found in every] == [{1}, {2}, {3}]
    assert machine.asked == [(start, concurrency) for start in (1, 2, 3) for concurrency in (8, 1)]
    assert [len(found) for found in machine.at(1).first(66)] == [22] * 3
    assert len(machine.asked) == 6


def test_what_fails_at_one_concurrency_leaves_the_others_alone_and_is_not_tried_again() -> None:
    machine = Machine((2, 32), concurrencies=(1, 32, 8))
    assert len(machine.at(1).first(66)) == 3
    with pytest.raises(NotMeasured, match="nothing at 32"):
        machine.at(32).first(66)
    assert len(machine.at(8).first(66)) == 3
    assert (3, 32) not in machine.asked


def test_nothing_is_started_for_a_concurrency_that_has_failed() -> None:
    machine = Machine((1, 1))
    with pytest.raises(NotMeasured, match="nothing at 1"):
        machine.at(1).first(66)
    assert machine.start == 1


def test_a_server_that_cannot_be_started_anew_ends_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()

    def refuse(*_: object) -> None:
        raise StartError("no")

    monkeypatch.setattr(machine.servers, "start_anew", refuse)
    with pytest.raises(StartError):
        machine.at(1).first(66)
