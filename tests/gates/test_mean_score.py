"""The mean of a score as a gate."""

from __future__ import annotations

import random

import pytest

from pytest_llmperf.gates.base import gate_from_json
from pytest_llmperf.gates.bound import points
from pytest_llmperf.gates.judgement import GateFailed, GateInconclusive, GateInvalid
from pytest_llmperf.gates.mean import MeanScore, MeanScoreGate, Scores
from pytest_llmperf.gates.verdict import Status


def scores(mean: float, n: int = 240, noise: float = 0.02) -> dict[str, float | None]:
    """Items differ a lot, and two models on the same item little."""
    hard, luck = random.Random(1), random.Random(f"{mean}")
    return {f"i{k}": mean + hard.uniform(-0.2, 0.2) + luck.uniform(-noise, noise) for k in range(n)}


def rouge(of: Scores) -> MeanScore:
    return MeanScore("ROUGE-L", of)


def test_a_floor_is_reached_or_not() -> None:
    assert rouge(scores(0.30)) >= 0.25
    with pytest.raises(GateFailed, match=r"ROUGE-L [23]\d\.\d %.* is below the floor of 40 %"):
        assert rouge(scores(0.30)) >= 0.4
    with pytest.raises(GateInconclusive):
        assert rouge(scores(0.30)) >= 0.30


def test_items_are_paired_so_that_a_small_margin_is_decided() -> None:
    # Unpaired, the bounds of the difference would lie .85 points apart from it, and .3 more for an item that was not
    # seen and could be worth nothing: nothing would be decided.
    assert rouge(scores(0.30, 1000)) >= rouge(scores(0.301, 1000)) - points(1)
    with pytest.raises(GateFailed, match="difference"):
        assert rouge(scores(0.28, 1000)) >= rouge(scores(0.30, 1000)) - points(1)


def test_scores_that_are_all_the_same_do_not_prove_that_all_others_are() -> None:
    same: Scores = {f"i{k}": 0.5 for k in range(60)}
    # A share of 4.9 % can be unseen among 60 items, and each of those could be worth nothing.
    with pytest.raises(GateInconclusive):
        assert rouge(same) >= 0.48
    assert rouge(same) >= 0.47
    # Without any spread the width falls with the number of items: 60 · 4.9 / 4.
    with pytest.raises(GateInconclusive, match="about 73 items would decide"):
        assert rouge(same) >= rouge(same) - points(4)
    assert rouge(same) >= rouge(same) - points(5)


def test_few_or_lost_items_are_invalid() -> None:
    with pytest.raises(GateInvalid, match="29 items were answered, 30 at least"):
        assert rouge(scores(0.3, 29)) >= 0.1
    with pytest.raises(GateInvalid, match="20 of 240 answers ended in infrastructure errors"):
        assert rouge(scores(0.3) | dict.fromkeys([f"i{k}" for k in range(20)])) >= 0.1
    with pytest.raises(GateInvalid, match="220 of 240 answers ended in infrastructure errors"):
        assert rouge(scores(0.3) | dict.fromkeys([f"i{k}" for k in range(220)])) >= 0.1


def test_an_item_that_one_side_has_lost_counts_on_neither() -> None:
    lost = {**scores(0.3), "i0": None}
    case = MeanScoreGate(metric="m", bound=0.05, candidate=scores(0.3), baseline=lost)
    assert case.judge().n == 239


def test_what_is_no_gate_says_so() -> None:
    with pytest.raises(TypeError, match="high values are good"):
        _ = rouge(scores(0.3)) <= 0.5
    with pytest.raises(TypeError, match="without a margin"):
        _ = rouge(scores(0.3)) >= rouge(scores(0.3))


def test_a_recorded_gate_gives_the_same_verdict_and_planted_damage_is_caught() -> None:
    case = MeanScoreGate(metric="m", bound=0.05, candidate={**scores(0.3), "i7": None}, baseline=scores(0.3))
    assert gate_from_json(case.to_json()).judge() == case.judge()
    assert case.judge().status is Status.PASS
    damaged = case.mutate(0.1)
    assert damaged.judge().status is Status.FAIL
    assert damaged.judge().observed == pytest.approx(-0.1, abs=0.003)
    assert case.forecast().noun == "item"
