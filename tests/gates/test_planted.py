"""Damage planted into recorded data."""

from __future__ import annotations

import pytest

from pytest_llmperf.gates.planted import prove, slower, slower_rounds, turned_true, turned_wrong
from pytest_llmperf.gates.ratio_within import ratio_within
from pytest_llmperf.gates.share_gates import at_least
from pytest_llmperf.gates.verdict import Status, Verdict

RIGHT: dict[str, bool | None] = {f"i{k}": k % 5 != 0 for k in range(400)}


def test_the_share_falls_by_what_was_planted() -> None:
    damaged = turned_wrong(RIGHT, 0.10)
    assert sum(map(bool, RIGHT.values())) - sum(map(bool, damaged.values())) == 40
    assert all(RIGHT[item] for item in RIGHT if damaged[item])
    assert list(damaged) == list(RIGHT)


def test_the_same_seed_plants_the_same_damage() -> None:
    assert turned_wrong(RIGHT, 0.1, seed=3) == turned_wrong(RIGHT, 0.1, seed=3)
    assert turned_wrong(RIGHT, 0.1, seed=3) != turned_wrong(RIGHT, 0.1, seed=4)


def test_lost_answers_stay_lost_and_samples_stay_samples() -> None:
    damaged = turned_wrong({"a": [True, None, True], "b": None, "c": True}, 1.0)
    assert damaged == {"a": [False, None, False], "b": None, "c": False}
    assert turned_true({"a": False, "b": None}, 1.0) == {"a": True, "b": None}


def test_latencies_grow_by_what_was_planted() -> None:
    assert slower([1.0, None, 2.0], 0.5) == [1.5, None, 3.0]
    assert slower_rounds([(1.0, 1.0), (None, 2.0)], 0.5) == [(1.5, 1.0), (None, 2.0)]
    with pytest.raises(ValueError, match="above -1"):
        slower([1.0], -1.0)


def test_a_floor_proves_the_smallest_loss_that_it_catches() -> None:
    proof = prove(
        lambda loss, seed: at_least("accuracy", turned_wrong(RIGHT, loss, seed), 0.74),
        [0.0, 0.05, 0.10, 0.15, 0.20],
        claims=0.10,
    )
    assert proof.red[0.05] < 1.0
    assert 0.0 not in proof.red, "what is less than a damage that was missed tells nothing more"
    assert proof.smallest == 0.10
    assert proof.missed == ()


def test_a_gate_that_claims_too_much_is_found_out() -> None:
    rounds = [(1.0 + 0.01 * (k % 3), 1.0) for k in range(20)]
    proof = prove(
        lambda by, _: ratio_within("tpot", slower_rounds(rounds, by), 1.20), [0.05, 0.10, 0.40], claims=0.05
    )
    assert proof.missed == (0.05, 0.10)
    assert proof.smallest == 0.40


def test_a_smaller_damage_that_happens_to_be_caught_is_not_the_smallest() -> None:
    reds = {0.1: Status.FAIL, 0.2: Status.INCONCLUSIVE, 0.3: Status.FAIL}
    proof = prove(
        lambda by, _: Verdict(reds[by], "m", None, None, None, 0, None, "", ""), list(reds), claims=0.1
    )
    assert proof.smallest == 0.3
    assert proof.missed == (0.2,)
    assert proof.red == {0.3: 1.0, 0.2: 0.0, 0.1: 1.0}, "every claimed damage is tried"
