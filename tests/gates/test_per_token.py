"""Divergence and agreement as gates: by answer, never green without a bound that data can show."""

from __future__ import annotations

import dataclasses
import random

import pytest

from pytest_llmperf.config.bounds import Bound, Incomparable
from pytest_llmperf.gates.base import Asked, Gate, gate_from_json
from pytest_llmperf.gates.judgement import GateFailed, GateInconclusive, GateInvalid, Judgement
from pytest_llmperf.gates.per_token import (
    Agreement,
    AgreementGate,
    Amounts,
    Divergence,
    DivergenceGate,
    looks,
)
from pytest_llmperf.gates.verdict import Status

ASKED: Asked = {"bound": 1e-5, "origin": "", "refused": ""}


def diverging(level: float, n: int = 200, *, seed: int = 1) -> Amounts:
    """Answers of about a hundred tokens with this divergence per token on average; always the same answers."""
    lengths, draw = random.Random(7), random.Random(seed)
    sizes = [lengths.randrange(50, 150) for _ in range(n)]
    return {f"i{at}": (size, size * level * draw.expovariate(1.0)) for at, size in enumerate(sizes)}


def divergence(amounts: Amounts) -> Divergence:
    return Divergence("gsm8k divergence", amounts)


def test_equal_models_pass_any_bound_and_the_verdict_says_that_all_is_the_same() -> None:
    judgement = divergence(diverging(0.0)) <= 1e-9
    assert judgement
    assert judgement.verdict.observed == 0.0
    assert "every log probability is the same to the last bit" in judgement.verdict.detail


def test_a_model_that_diverges_fails_and_says_by_how_much() -> None:
    with pytest.raises(
        GateFailed, match=r"gsm8k divergence 9.*e-5 nat/tok is above the limit of 2e-6 nat/tok"
    ):
        assert divergence(diverging(1e-4)) <= 2e-6


def test_a_model_near_the_bound_is_undecided_and_says_what_would_decide() -> None:
    with pytest.raises(GateInconclusive, match=r"answers would decide it") as caught:
        assert divergence(diverging(1e-5)) <= 1.3e-5
    needed = caught.value.verdict.n_needed
    assert needed is not None
    assert needed > 200


def test_a_value_can_be_printed() -> None:
    assert divergence({"a": (10, 1.0), "b": (30, 1.0), "c": None}).value == 0.05
    assert divergence({"a": None}).value is None


def test_a_bound_over_the_noise_takes_the_noise_off() -> None:
    noisy = diverging(1e-6)
    with pytest.raises(GateFailed, match="divergence above noise"):
        assert divergence(diverging(1e-4)) <= divergence(noisy) + 1e-5
    judgement = divergence(noisy) <= divergence(noisy) + 1e-5
    assert judgement
    assert judgement.verdict.observed == 0.0
    assert judgement.verdict.candidate == pytest.approx(judgement.verdict.baseline)
    assert divergence(diverging(3e-6, seed=2)) <= divergence(noisy) * 4 + 1e-5


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda d: d >= 1e-5, "is good when it is low"),
        (lambda d: d <= d, "without a margin"),
        (lambda d: d <= d * 2, "noise may be exactly zero"),
        (lambda d: d <= d * -1, "above zero"),
        (lambda d: d <= d + 1e-5 + 1e-5, "two things"),
        (lambda d: bool(d + 1e-5), "not true or false"),
        (lambda d: d <= Bound(3.0, "s"), "is measured in 'nat/tok'"),
    ],
)
def test_what_means_nothing_is_refused(wrong: object, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        wrong(divergence(diverging(1e-6)))  # type: ignore[operator]


def test_without_a_budget_for_the_device_it_is_invalid() -> None:
    with pytest.raises(GateInvalid, match="no budget for device H100"):
        assert divergence(diverging(0.0)) <= Incomparable("H100", "[gpu.H100.fidelity] divergence")


def test_a_bound_of_nothing_at_all_is_invalid() -> None:
    with pytest.raises(GateInvalid, match="write what is still acceptable"):
        assert divergence(diverging(0.0)) <= 0
    with pytest.raises(GateInvalid, match="write what is still acceptable"):
        assert Agreement("agreement", diverging(0.0)) >= 1.0


def test_too_few_or_lost_answers_are_invalid() -> None:
    with pytest.raises(GateInvalid, match="29 answers were scored, 30 at least are needed"):
        assert divergence(diverging(0.0, 29)) <= 1e-5
    lossy = {**diverging(0.0, 100), "a": None, "b": None, "c": None}
    with pytest.raises(GateInvalid, match="3 of 103 answers ended in infrastructure errors"):
        assert divergence(lossy) <= 1e-5


def test_an_answer_that_holds_everything_is_truncated_and_told_and_passes_nothing() -> None:
    one = {**diverging(0.0), "i7": (100, 1.0)}
    with pytest.raises(GateInconclusive) as caught:
        assert divergence(one) <= 1e-5
    verdict = caught.value.verdict
    assert "1 answer above 40 times what the bound allows to one, counted as that" in verdict.detail
    assert verdict.observed == pytest.approx(5e-5, rel=0.05)


def disagreeing(share: float, n: int = 200) -> Amounts:
    draw = random.Random(3)
    return {f"i{at}": (100, sum(draw.random() < share for _ in range(100))) for at in range(n)}


def test_agreement_is_a_share_of_tokens_with_a_floor() -> None:
    judgement = Agreement("top-token agreement", disagreeing(0.001)) >= 0.995
    assert judgement
    verdict = judgement.verdict
    assert verdict.observed == pytest.approx(0.999, abs=5e-4)
    assert verdict.interval is not None
    assert 0.995 <= verdict.interval[0] < verdict.interval[1] <= 1.0
    with pytest.raises(GateFailed, match=r"is below the floor of 99\.5 %"):
        assert Agreement("top-token agreement", disagreeing(0.02)) >= 0.995
    with pytest.raises(TypeError, match="is good when it is high"):
        Agreement("top-token agreement", disagreeing(0.0)) <= 0.5  # noqa: B015


def test_planted_damage_turns_it_red() -> None:
    gate = DivergenceGate(metric="d", candidate=diverging(0.0), **ASKED)
    assert gate.judge().status is Status.PASS
    assert gate.mutate(3.0).judge().status is Status.FAIL
    share = AgreementGate(metric="a", candidate=disagreeing(0.0), bound=0.99)
    assert share.judge().status is Status.PASS
    assert share.mutate(0.05).judge().status is Status.FAIL


def test_the_same_data_give_the_same_verdict_through_json_and_with_earlier_answers() -> None:
    gate = DivergenceGate(
        metric="d", candidate=diverging(1e-4), baseline=diverging(1e-6), factor=1.0, **ASKED
    )
    assert gate_from_json(gate.to_json()).judge() == gate.judge()
    more = {f"later {item}": value for item, value in diverging(1e-4, seed=5).items()}
    later = dataclasses.replace(gate, candidate=more, baseline=dict.fromkeys(more, (100, 0.0)))
    assert later.add_to(gate, Status.INCONCLUSIVE, (0.025, 0.025)).judge().n == 400


def test_a_plan_says_what_passes_and_warns_of_what_cannot() -> None:
    planned = DivergenceGate(metric="d", candidate=diverging(0.0), **ASKED).forecast()
    assert planned.n == 200
    assert "passes where nothing differs" in planned.remark
    assert not planned.warning
    assert "can never pass" in DivergenceGate(metric="d", candidate={}, bound=0.0).forecast().warning
    few = DivergenceGate(metric="d", candidate=diverging(0.0, 10), **ASKED).forecast()
    assert "30 answers are needed" in few.warning


class Answered:
    """Amounts that are asked for, with how many were."""

    def __init__(self, each: float, planned: int = 200) -> None:
        self.each, self.planned, self.asked = each, planned, 0

    def first(self, n: int) -> dict[str, tuple[float, float]]:
        self.asked = n
        return {f"item-{number}": (50.0, 50.0 * self.each) for number in range(n)}


@pytest.mark.parametrize(
    ("each", "status", "asked"), [(0.0, "PASS", 150), (1e-4, "FAIL", 60), (1e-5, "", 200)]
)
def test_a_gate_asks_for_as_many_answers_as_decide_it(each: float, status: str, asked: int) -> None:
    growing = Answered(each)
    verdicts = []

    def judge(gate: Gate) -> Judgement:
        settled = gate.settled()
        verdicts.append(settled.judge())
        assert settled.unasked == 200 - asked
        # What was recorded is judged as it was.
        assert gate_from_json(settled.to_json()).judge() == verdicts[-1]
        return Judgement(verdicts[-1], "warn")

    assert (Divergence("divergence", {}, judge=judge, growing=growing) <= 1e-5) is not None
    [verdict] = verdicts
    assert growing.asked == verdict.n == asked
    assert verdict.status.value == (status or "INCONCLUSIVE")
    assert ("stopped early of 200 answers" in verdict.detail) == (asked < 200)


@pytest.mark.parametrize("growing_side", ["candidate", "noise"])
@pytest.mark.parametrize(("each", "status"), [(0.0, Status.PASS), (1e-4, Status.FAIL)])
def test_where_one_side_is_measured_at_once_the_other_grows_as_far_as_it_must(
    growing_side: str, each: float, status: Status
) -> None:
    more, none = Answered(each), Answered(0.0)
    grown = more if growing_side == "candidate" else none
    judged = []

    def judge(gate: Gate) -> Judgement:
        judged.append(gate.settled().judge())
        return Judgement(judged[-1], "warn")

    def estimand(answered: Answered) -> Divergence:
        if answered is grown:
            return Divergence("divergence", {}, judge=judge, growing=answered)
        return Divergence("divergence", answered.first(200), judge=judge)

    assert (estimand(more) <= estimand(none) + 1e-5) is not None
    [verdict] = judged
    assert (verdict.status, verdict.n) == (status, grown.asked)
    assert grown.asked < 200


def test_noise_of_other_answers_is_not_taken_off() -> None:
    """Such as that of the candidate's own answers, which are longer or shorter than the baseline's."""
    other = {name: (found[0] + 1, 0.0) for name, found in diverging(0.0).items() if found}
    with pytest.raises(GateInvalid, match=r"has \d+ tokens in the divergence and \d+ in the noise"):
        assert divergence(diverging(0.0)) <= divergence(other) + 1e-5


def test_looks_end_with_all_answers_and_begin_where_a_verdict_is_possible() -> None:
    assert looks(200) == [60, 100, 150, 200]
    assert looks(40) == [30, 40]
    assert looks(20) == [20]
