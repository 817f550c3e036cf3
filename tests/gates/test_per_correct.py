"""What a right answer costs, as a gate."""

from __future__ import annotations

import random

import pytest

from pytest_llmperf.config.bounds import Bound
from pytest_llmperf.gates.base import gate_from_json
from pytest_llmperf.gates.judgement import GateFailed, GateInconclusive, GateInvalid
from pytest_llmperf.gates.mean_ratio import Costs, PerCorrect, PerCorrectGate
from pytest_llmperf.gates.verdict import Status


def costs(
    tokens: float, right: float = 0.8, n: int = 300, seed: int = 1
) -> dict[str, tuple[float, float] | None]:
    hard, luck = random.Random(1), random.Random(f"{tokens} {right} {seed}")
    found: dict[str, tuple[float, float] | None] = {}
    for k in range(n):
        long = hard.lognormvariate(0.0, 0.6)
        found[f"i{k}"] = (tokens * long * luck.uniform(0.8, 1.2), float(luck.random() < right))
    return found


def of(data: Costs, unit: str = "tokens") -> PerCorrect:
    return PerCorrect("tokens per correct", unit, data)


def test_a_model_that_is_as_dear_passes_and_a_dearer_one_fails() -> None:
    assert of(costs(100, seed=2)) <= of(costs(100)) * 1.2
    with pytest.raises(
        GateFailed, match=r"tokens per correct is [45]\d\.\d % above the baseline .*; at most 20 % is allowed"
    ):
        assert of(costs(150)) <= of(costs(100)) * 1.2


def test_wrong_answers_make_the_right_ones_dearer() -> None:
    with pytest.raises(GateFailed):
        assert of(costs(100, right=0.4)) <= of(costs(100, right=0.8)) * 1.5


def test_a_budget_is_a_number_of_tokens_and_a_close_one_is_not_decided() -> None:
    assert of(costs(100)) <= 200
    with pytest.raises(GateFailed, match=r"at least \d.* tokens with 95 % confidence"):
        assert of(costs(100)) <= 80
    mean = of(costs(100)).costs.values()
    exact = sum(one[0] for one in mean if one) / sum(one[1] for one in mean if one)
    with pytest.raises(GateInconclusive, match=r"items would decide|too close"):
        assert of(costs(100)) <= exact * 1.01


def test_items_are_paired() -> None:
    alone = PerCorrectGate(metric="m", unit="tokens", bound=1.0, candidate=costs(100)).judge().interval
    ratio = PerCorrectGate(
        metric="m", unit="tokens", bound=1.0, candidate=costs(100), baseline=costs(100, seed=3)
    )
    both = ratio.judge().interval
    assert alone is not None
    assert both is not None
    assert both[1] / both[0] < alone[1] / alone[0], (
        "a ratio of two unpaired sides would be wider than one side"
    )


def test_nothing_to_judge_is_invalid() -> None:
    with pytest.raises(GateInvalid, match="29 items were answered, 30 at least"):
        assert of(costs(100, n=29)) <= 500
    with pytest.raises(GateInvalid, match="0 answers of one side are right, 10 at least"):
        assert of(costs(100)) <= of(costs(100, right=0.0)) * 2.0
    with pytest.raises(GateInvalid, match="the server told no tokens"):
        assert of({name: one and (0.0, one[1]) for name, one in costs(100).items()}) <= 500
    with pytest.raises(GateInvalid, match="20 of 300 answers ended in infrastructure errors"):
        assert of(costs(100) | dict.fromkeys(f"i{k}" for k in range(20))) <= 500


def test_what_is_no_gate_says_so() -> None:
    with pytest.raises(TypeError, match="without a margin"):
        _ = of(costs(100)) <= of(costs(100))
    with pytest.raises(TypeError, match=r"is in s, .* in tokens"):
        _ = of(costs(100), "s") <= of(costs(100)) * 1.2
    with pytest.raises(TypeError, match="not true or false"):
        bool(of(costs(100)) * 1.2)
    with pytest.raises(TypeError, match="'tokens'"):
        _ = of(costs(100)) <= Bound(1.2, "ratio")


def test_a_recorded_gate_gives_the_same_verdict_and_planted_damage_is_caught() -> None:
    case = PerCorrectGate(
        metric="m",
        unit="tokens",
        bound=1.2,
        candidate={**costs(100), "i7": None},
        baseline=costs(100, seed=4),
    )
    assert gate_from_json(case.to_json()).judge() == case.judge()
    assert case.judge().status is Status.PASS
    assert case.mutate(0.5).judge().status is Status.FAIL
    assert case.forecast().noun == "item"
