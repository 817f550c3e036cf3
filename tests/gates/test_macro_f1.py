"""Macro-F1 as a gate."""

from __future__ import annotations

import random

import pytest

from pytest_llmperf.gates.base import gate_from_json
from pytest_llmperf.gates.bound import points
from pytest_llmperf.gates.judgement import GateFailed, GateInconclusive, GateInvalid
from pytest_llmperf.gates.mean import Choices, MacroF1, MacroF1Gate
from pytest_llmperf.gates.verdict import Status

CLASSES = ("A", "B", "C", "D")


def choices(right: float, n: int = 600, seed: int = 1) -> Choices:
    rng, luck = random.Random(seed), random.Random(f"{right}")
    golds = [rng.choice(CLASSES) for _ in range(n)]
    return {f"i{k}": (gold, gold if luck.random() < right else "A") for k, gold in enumerate(golds)}


def f1(of: Choices) -> MacroF1:
    return MacroF1("medqa macro-F1", of, CLASSES)


def test_a_floor_is_reached_or_not() -> None:
    assert f1(choices(0.6)) >= 0.5
    with pytest.raises(GateFailed, match=r"medqa macro-F1 7\d\.\d %.* is below the floor of 80 %"):
        assert f1(choices(0.6)) >= 0.8


def test_a_model_that_is_as_good_passes_within_a_margin_and_a_worse_one_fails() -> None:
    assert f1(choices(0.60)) >= f1(choices(0.60)) - points(1)
    with pytest.raises(GateFailed, match="difference"):
        assert f1(choices(0.40)) >= f1(choices(0.60)) - points(5)


def test_thirty_right_answers_do_not_prove_that_all_are_right() -> None:
    right = {f"i{k}": (CLASSES[k % 4], CLASSES[k % 4]) for k in range(30)}
    with pytest.raises(GateInconclusive, match=r"100\.0 % .*90\.5 %"):
        assert f1(right) >= 0.95
    assert f1(right) >= 0.9
    with pytest.raises(GateInconclusive, match="difference"):
        assert f1(right) >= f1(right) - points(5)
    assert f1(right) >= f1(right) - points(10)


def test_all_answers_wrong_fail_any_floor() -> None:
    wrong = {f"i{k}": (CLASSES[k % 4], CLASSES[(k + 1) % 4]) for k in range(100)}
    with pytest.raises(GateFailed, match=r"0\.0 % .*is below the floor of 5 %"):
        assert f1(wrong) >= 0.05


def test_the_verdict_names_the_method_of_its_interval() -> None:
    level, difference = f1(choices(0.6)) >= 0.4, f1(choices(0.6)) >= f1(choices(0.6)) - points(5)
    assert level.verdict.method == "jackknife by item, Korn and Graubard"
    assert difference.verdict.method == "jackknife by item, Student's t"


def test_a_class_of_few_items_is_not_judged() -> None:
    uneven = {f"i{k}": ("A" if k % 20 else "B", "A") for k in range(60)}
    with pytest.raises(
        GateInvalid, match="class B has 3 items, 5 at least are needed: ask about 100"
    ) as raised:
        assert f1(uneven) >= 0.3
    assert raised.value.verdict.n_needed == 100


def test_few_or_lost_answers_are_invalid() -> None:
    with pytest.raises(GateInvalid, match="29 items were answered, 30 at least"):
        assert f1(choices(0.6, 29)) >= 0.1
    lost = {f"i{k}": None for k in range(30)}
    with pytest.raises(GateInvalid, match="30 of 600 answers ended in infrastructure errors"):
        assert f1({**choices(0.6), **lost}) >= 0.1


def test_what_is_no_gate_says_so() -> None:
    with pytest.raises(TypeError, match="high values are good"):
        _ = f1(choices(0.6)) <= 0.5
    with pytest.raises(TypeError, match="without a margin"):
        _ = f1(choices(0.6)) >= f1(choices(0.6))


def test_a_recorded_gate_gives_the_same_verdict_and_planted_damage_is_caught() -> None:
    case = MacroF1Gate(
        metric="m", bound=0.05, candidate={**choices(0.6), "i7": None}, baseline=choices(0.6), classes=CLASSES
    )
    assert gate_from_json(case.to_json()).judge() == case.judge()
    assert case.judge().status is Status.PASS
    assert case.mutate(0.2).judge().status is Status.FAIL
    assert case.forecast().noun == "item"
