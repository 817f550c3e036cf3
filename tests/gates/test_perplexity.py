"""Perplexity as a gate: weighted by tokens, paired by document, never green without the same tokens on both sides."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest

from pytest_llmperf.gates.base import gate_from_json
from pytest_llmperf.gates.judgement import GateFailed, GateInconclusive, GateInvalid
from pytest_llmperf.gates.mean_ratio import Documents, Perplexity, PerplexityGate
from pytest_llmperf.gates.verdict import Status


def documents(
    level: float, n: int = 100, *, seed: int = 1, shift: float = 0.0
) -> dict[str, tuple[int, float, float]]:
    """Of about this perplexity; ``shift`` more per token and a little noise where it is another model's."""
    rng, noise = random.Random(seed), random.Random(f"noise/{shift}")
    made = {}
    for i in range(n):
        tokens = rng.randint(50, 500)
        each = math.log(level) + rng.gauss(0.0, 0.4) + shift + (noise.gauss(0.0, 0.05) if shift else 0.0)
        made[f"d{i}"] = (tokens, -each * tokens, -each)
    return made


def perplexity(of: Documents) -> Perplexity:
    return Perplexity("c4 perplexity", of)


def test_the_value_is_weighted_by_tokens() -> None:
    two = perplexity({"a": (100, -100.0, -1.0), "b": (300, -600.0, -2.0)})
    assert two.value == pytest.approx(math.exp(700 / 400))
    assert perplexity({"a": None}).value is None


def test_a_ratio_is_decided_where_the_levels_are_not() -> None:
    ours, theirs = perplexity(documents(12.0, shift=0.02)), perplexity(documents(12.0))
    judgement = ours <= theirs * 1.05
    assert judgement
    verdict = judgement.verdict
    assert verdict.observed == pytest.approx(math.exp(0.02), abs=0.02)
    assert verdict.candidate is not None
    assert verdict.baseline is not None
    assert verdict.candidate / verdict.baseline == pytest.approx(verdict.observed)
    with pytest.raises(GateInconclusive):
        assert ours <= theirs.value  # the same data, not paired


def test_the_level_of_an_unpaired_perplexity_is_what_is_observed_and_stands_nowhere_else() -> None:
    judgement = perplexity(documents(12.0)) <= 20.0
    assert judgement
    verdict = judgement.verdict
    assert verdict.observed == pytest.approx(perplexity(documents(12.0)).value)
    assert (verdict.candidate, verdict.baseline, verdict.level_unit) == (None, None, "")


def test_a_model_that_is_more_surprised_fails_and_says_by_how_much() -> None:
    ours, theirs = perplexity(documents(12.0, shift=0.2)), perplexity(documents(12.0))
    with pytest.raises(
        GateFailed, match=r"c4 perplexity is 2\d\.\d % above the baseline .*; at most 5 % is allowed"
    ):
        assert ours <= theirs * 1.05


def test_the_same_model_passes_and_needs_no_luck() -> None:
    same = documents(12.0)
    assert perplexity(same) <= perplexity(same) * 1.001


def test_other_tokens_on_a_side_are_never_compared() -> None:
    ours = documents(12.0)
    theirs = {name: (tokens + 7, logs, first) for name, (tokens, logs, first) in ours.items()}
    with pytest.raises(GateInvalid, match="the tokenizers cut the texts differently"):
        assert perplexity(ours) <= perplexity(theirs) * 2.0


def test_a_first_token_that_only_one_side_can_score_is_left_out() -> None:
    theirs = documents(12.0)
    ours = {name: (tokens + 1, logs - 30.0, -30.0) for name, (tokens, logs, _) in theirs.items()}
    assert perplexity(ours) <= perplexity(theirs) * 1.001
    assert perplexity(theirs) <= perplexity(ours) * 1.001


def test_lost_documents_count_for_nobody_and_many_of_them_make_it_invalid() -> None:
    theirs = documents(12.0)
    assert perplexity(theirs | {"d0": None}) <= perplexity(theirs) * 1.001
    lost = {f"d{i}": None for i in range(5)}
    with pytest.raises(GateInvalid, match="5 of 100 documents ended in infrastructure errors"):
        assert perplexity({**theirs, **lost}) <= perplexity(theirs) * 1.001
    with pytest.raises(GateInvalid, match="0 documents were scored"):
        assert perplexity({"a": None}) <= 10.0


def test_few_documents_are_not_judged() -> None:
    with pytest.raises(GateInvalid, match="9 documents were scored, 10 at least are needed"):
        assert perplexity(documents(12.0, 9)) <= 1000.0


@pytest.mark.parametrize("wrong", ["12", None, True])
def test_what_is_no_bound_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError):
        _ = perplexity(documents(12.0)) <= wrong
    with pytest.raises(TypeError, match="without a margin"):
        _ = perplexity(documents(12.0)) <= perplexity(documents(12.0))


def test_a_recorded_gate_gives_the_same_verdict_and_planted_damage_is_caught() -> None:
    case = PerplexityGate(
        metric="c4 perplexity",
        bound=1.05,
        candidate=documents(12.0, shift=0.01) | {"d3": None},
        baseline=documents(12.0),
    )
    again = gate_from_json(case.to_json())
    assert again.judge() == case.judge()
    assert case.judge().status is Status.PASS
    assert again.mutate(0.10).judge().status is Status.FAIL
    assert dataclasses.replace(case).forecast().noun == "document"
