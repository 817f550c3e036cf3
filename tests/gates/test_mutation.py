"""Damage planted into recorded data, and the ladder of damages that a gate is tried with."""

from __future__ import annotations

import pytest

from pytest_llmperf.gates.mutation import climb_ladder
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.quantile import QuantileGate
from pytest_llmperf.gates.ratio import RatioGate
from pytest_llmperf.gates.verdict import Status, Verdict

RIGHT: dict[str, bool | None] = {f"i{k}": k % 5 != 0 for k in range(400)}


def accuracy(outcomes: Outcomes, *, at_least: bool = True) -> ProportionGate:
    return ProportionGate(metric="accuracy", bound=0.74, candidate=outcomes, at_least=at_least)


def ratio(rounds: list[tuple[float | None, float | None]]) -> RatioGate:
    return RatioGate(metric="tpot", bound=1.20, unit="s", at_least=False, starts=[rounds])


def test_the_share_falls_by_what_was_planted() -> None:
    damaged = accuracy(RIGHT).mutate(0.10).candidate
    assert sum(map(bool, RIGHT.values())) - sum(map(bool, damaged.values())) == 40
    assert all(RIGHT[item] for item in RIGHT if damaged[item])
    assert list(damaged) == list(RIGHT)


def test_the_same_seed_plants_the_same_damage() -> None:
    gate = accuracy(RIGHT)
    assert gate.mutate(0.1, seed=3) == gate.mutate(0.1, seed=3)
    assert gate.mutate(0.1, seed=3) != gate.mutate(0.1, seed=4)


def test_lost_answers_stay_lost_and_samples_stay_samples() -> None:
    damaged = accuracy({"a": [True, None, True], "b": None, "c": True}).mutate(1.0)
    assert damaged.candidate == {"a": [False, None, False], "b": None, "c": False}
    loops = accuracy({"a": False, "b": None}, at_least=False)
    assert loops.mutate(1.0).candidate == {"a": True, "b": None}


def test_latencies_grow_by_what_was_planted() -> None:
    tail = QuantileGate(metric="ttft", bound=9.0, unit="s", q=0.5, at_least=False, samples=[1.0, None, 2.0])
    assert tail.mutate(0.5).samples == [1.5, None, 3.0]
    assert ratio([(1.0, 1.0), (None, 2.0)]).mutate(0.5).starts == [[(1.5, 1.0), (None, 2.0)]]
    with pytest.raises(ValueError, match="above -1"):
        tail.mutate(-1.0)


def test_a_floor_shows_the_smallest_loss_that_it_catches() -> None:
    climb = climb_ladder(
        lambda loss, seed: accuracy(RIGHT).mutate(loss, seed).judge(),
        [0.0, 0.05, 0.10, 0.15, 0.20],
        claims=0.10,
    )
    assert climb.red[0.05] < 1.0
    assert 0.0 not in climb.red, "what is less than a damage that was missed tells nothing more"
    assert climb.smallest == 0.10
    assert climb.missed == ()


def test_a_gate_that_claims_too_much_is_found_out() -> None:
    rounds = ratio([(1.0 + 0.01 * (k % 3), 1.0) for k in range(20)])
    climb = climb_ladder(lambda by, _: rounds.mutate(by).judge(), [0.05, 0.10, 0.40], claims=0.05)
    assert climb.missed == (0.05, 0.10)
    assert climb.smallest == 0.40


def test_a_smaller_damage_that_happens_to_be_caught_is_not_the_smallest() -> None:
    reds = {0.1: Status.FAIL, 0.2: Status.INCONCLUSIVE, 0.3: Status.FAIL}
    climb = climb_ladder(
        lambda by, _: Verdict(reds[by], "m", None, None, None, 0, None, "", ""), list(reds), claims=0.1
    )
    assert climb.smallest == 0.3
    assert climb.missed == (0.2,)
    assert climb.red == {0.3: 1.0, 0.2: 0.0, 0.1: 1.0}, "every claimed damage is tried"
