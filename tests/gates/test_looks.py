"""A further look at a gate has the data of all looks, and a part of the error of its own."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_llmperf.gates.base import Gate, gate_from_json
from pytest_llmperf.gates.early_stopping import early, final, spending
from pytest_llmperf.gates.mean import MacroF1Gate, MeanScoreGate
from pytest_llmperf.gates.mean_ratio import PerCorrectGate, PerplexityGate
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.quantile import QuantileGate
from pytest_llmperf.gates.ratio import RatioGate
from pytest_llmperf.gates.scalar import ScalarGate, ScalarRatioGate
from pytest_llmperf.gates.verdict import Status

SECOND = spending(2)


def outcomes(name: str, right: int, wrong: int) -> dict[str, bool]:
    return {f"{name}{index}": index < right for index in range(right + wrong)}


def floor(right: int, wrong: int, name: str = "a", bound: float = 0.74, **more: Any) -> ProportionGate:
    return ProportionGate(
        metric="accuracy", bound=bound, candidate=outcomes(name, right, wrong), at_least=True, **more
    )


def ratio(rounds: Sequence[float], bound: float = 1.05, starts: int = 1) -> RatioGate:
    pairs = [[(value, 1.0) for value in rounds]] * starts
    return RatioGate(metric="TPOT", bound=bound, starts=pairs, unit="s", at_least=False)


def noisy(centre: float, rounds: int, seed: int) -> list[float]:
    draw = random.Random(seed)
    return [centre * math.exp(draw.gauss(0.0, 0.04)) for _ in range(rounds)]


# The error


def test_without_announcement_the_first_look_has_the_promised_error_and_all_looks_stay_below_its_double() -> (
    None
):
    assert spending(1) == (0.05,)
    assert spending(3) == (0.05, 0.025, 0.0125)
    assert sum(spending(40)) < 0.10


def test_announced_looks_share_the_promised_error() -> None:
    assert sum(spending(3, 3)) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="look 3 of 2"):
        spending(3, 2)


@pytest.mark.parametrize("look", [1, 2, 5])
def test_what_is_spent_on_looking_while_answers_come_in_is_spent_once(look: int) -> None:
    spent = spending(look)
    finals = [final(spent[:number]) for number in range(1, look + 1)]
    assert early(spent) + sum(finals) == pytest.approx(sum(spent))


def test_the_verdict_of_a_further_look_says_which_error_it_has() -> None:
    verdict = ratio(noisy(1.0, 20, 2)).add_to(ratio(noisy(1.0, 20, 1)), Status.INCONCLUSIVE, SECOND).judge()
    assert "look 2" in verdict.detail
    assert "decides at 2.5 %, all looks together err in at most 7.5 %" in verdict.detail
    assert "look" not in ratio(noisy(1.0, 20, 1)).judge().detail


# The data


def test_rounds_of_two_runs_decide_what_neither_could() -> None:
    first, second = ratio(noisy(1.03, 20, 30)), ratio(noisy(1.03, 20, 130))
    assert [case.judge().status for case in (first, second)] == [Status.INCONCLUSIVE] * 2
    both = second.add_to(first, Status.INCONCLUSIVE, SECOND)
    verdict = both.judge()
    assert (verdict.status, verdict.n) == (Status.PASS, 40)


def test_rounds_of_two_runs_at_different_levels_are_no_neighbours() -> None:
    both = ratio(noisy(1.4, 200, 1)).add_to(ratio(noisy(1.0, 200, 2)), Status.INCONCLUSIVE, SECOND)
    assert "outlasts a round" not in both.judge().detail
    again = gate_from_json(both.to_json())
    assert again.judge() == both.judge(), "the record keeps which rounds belong together"


def test_starts_are_added_as_starts_where_they_are_the_sample() -> None:
    one = ratio(noisy(1.0, 12, 5), starts=3)
    assert one.add_to(one, Status.INCONCLUSIVE, SECOND).judge().n == 6
    single = ratio(noisy(1.0, 12, 5))
    assert "starts" in single.add_to(one, Status.INCONCLUSIVE, SECOND).judge().why


def test_other_items_are_further_items() -> None:
    both = floor(160, 40, "b").add_to(floor(160, 40), Status.INCONCLUSIVE, SECOND)
    assert both.judge().n == 400


def test_the_same_items_asked_again_are_no_further_items() -> None:
    both = floor(160, 40).add_to(floor(160, 40), Status.INCONCLUSIVE, SECOND)
    verdict = both.judge()
    assert verdict.n == 200
    once = replace(floor(160, 40), spent=SECOND).judge().interval
    assert verdict.interval == pytest.approx(once, abs=1e-6), "the same answers once more are worth nothing"


def test_pairs_are_joined_by_item() -> None:
    def margin(name: str, lost: int) -> PairedGate:
        return PairedGate(
            metric="accuracy",
            bound=0.03,
            candidate=outcomes(name, 150 - lost, 50 + lost),
            baseline=outcomes(name, 150, 50),
            at_least=True,
        )

    verdict = margin("b", 3).add_to(margin("a", 2), Status.INCONCLUSIVE, SECOND).judge()
    assert verdict.n == 400
    assert "5 items got worse, 0 got better, 395 stayed the same" in verdict.detail


def test_rounds_with_the_same_number_in_two_runs_are_two_groups() -> None:
    case = QuantileGate(
        metric="TTFT",
        bound=1.0,
        unit="s",
        at_least=False,
        q=0.95,
        samples=[0.1 + 0.001 * index for index in range(70)],
        groups=[index // 7 for index in range(70)],
        errors=1,
    )
    both = case.add_to(case, Status.INVALID, SECOND)
    assert both.judge().status is Status.INVALID, "what could not be judged is not added to"
    both = case.add_to(case, Status.INCONCLUSIVE, SECOND)
    assert (len(both.samples), len(set(both.groups or ())), both.errors) == (140, 20, 2)


@pytest.mark.parametrize("order", [1, -1])
def test_of_what_is_measured_once_the_worse_counts(order: int) -> None:
    values = [ScalarGate(metric="peak", bound=2.0, value=v, unit="bytes", at_least=False) for v in (1.0, 3.0)]
    first, second = values[::order]
    assert second.add_to(first, Status.INCONCLUSIVE, SECOND).judge().status is Status.FAIL
    pairs = [
        ScalarRatioGate(metric="m", bound=1.1, candidate=v, baseline=1.0, unit="bytes", at_least=False)
        for v in (1.0, 1.2)
    ]
    first_pair, second_pair = pairs[::order]
    assert second_pair.add_to(first_pair, Status.INCONCLUSIVE, SECOND).judge().status is Status.FAIL


# What stands


def test_a_failure_is_not_undone_by_better_data() -> None:
    bad, good = ratio(noisy(1.2, 20, 1)), ratio(noisy(0.8, 60, 2))
    assert good.add_to(bad, Status.INCONCLUSIVE, SECOND).judge().status is Status.PASS
    verdict = good.add_to(bad, Status.FAIL, SECOND).judge()
    assert verdict.status is Status.FAIL
    assert "the FAIL of an earlier look stands" in verdict.why


def test_a_pass_stands_while_the_data_do_not_speak_against_it() -> None:
    good, unclear, bad = (ratio(noisy(centre, 20, 1)) for centre in (1.0, 1.055, 1.4))
    assert unclear.add_to(good, Status.PASS, SECOND).judge().status is Status.PASS
    assert bad.add_to(good, Status.PASS, SECOND).judge().status is Status.FAIL


def test_an_answered_question_is_not_asked_again() -> None:
    def never(n: int) -> Any:
        raise AssertionError(f"asked for {n}")

    before = floor(195, 5, planned=1000)
    now = floor(0, 0, planned=1000, more=never)
    verdict = now.add_to(before, Status.PASS, SECOND).settled().judge()
    assert (verdict.status, verdict.n) == (Status.PASS, 200)


# Early stopping


def growing(right: float, planned: int, seed: int) -> tuple[list[int], ProportionGate]:
    """A floor of 74 % whose answers come when they are asked for, and how many were asked for."""
    draw = random.Random(seed)
    answers = {f"{seed}-{index}": draw.random() < right for index in range(planned)}
    asked: list[int] = []

    def more(n: int) -> Any:
        asked.append(n)
        return dict(list(answers.items())[:n]), {}

    return asked, ProportionGate(
        metric="accuracy", bound=0.74, candidate={}, at_least=True, planned=planned, more=more
    )


def test_betting_goes_on_where_the_look_before_ended() -> None:
    _, first = growing(0.78, 400, 1)
    before = first.settled()
    assert before.judge().status is Status.INCONCLUSIVE
    asked, second = growing(0.84, 1000, 2)
    now = second.add_to(before, Status.INCONCLUSIVE, SECOND).settled()
    verdict = now.judge()
    assert verdict.status is Status.PASS
    assert verdict.n == 400 + asked[-1] < 1400
    assert f"decided after {verdict.n} of 1,400 items" in verdict.why
    assert list(now.candidate)[:400] == list(before.candidate)


def test_undecided_to_the_end_all_looks_are_judged_together() -> None:
    _, first = growing(0.75, 300, 3)
    before = first.settled()
    asked, second = growing(0.75, 300, 4)
    now = second.add_to(before, Status.INCONCLUSIVE, SECOND).settled()
    assert asked[-1] == 300
    verdict = now.judge()
    assert (verdict.n, verdict.method) == (600, "Clopper-Pearson")
    assert "97.5 %" in verdict.why


def test_after_a_look_that_spent_nothing_on_looking_all_is_asked_at_once() -> None:
    asked, second = growing(0.99, 1000, 5)
    now = second.add_to(floor(160, 50), Status.INCONCLUSIVE, SECOND).settled()
    assert asked == [1000]
    assert now.judge().n == 1210


# Refusals


def test_another_bound_or_another_question_is_refused() -> None:
    def why(before: Gate, now: Gate) -> str:
        verdict = now.add_to(before, Status.INCONCLUSIVE, SECOND).judge()
        assert verdict.status is Status.INVALID
        return verdict.why

    assert "judged by 0.74, this one by 0.7" in why(floor(150, 50), floor(150, 50, bound=0.7))
    assert "asked something else" in why(ratio([1.0] * 20), floor(150, 50))
    refused = ratio([1.0] * 20)
    assert "warm cache" in why(RatioGate(**{**vars(refused), "refused": "a warm cache"}), refused)


def by_item(kind: str, first: int, count: int, seed: int) -> Gate:
    """Items ``first`` and on of a gate that has one measurement of each, with a baseline."""
    draw = random.Random(seed)
    names = [f"item {n}" for n in range(first, first + count)]
    about: dict[str, Any] = {"metric": kind, "bound": 1.05 if kind in ("cost", "perplexity") else 0.05}

    def side() -> dict[str, Any]:
        if kind == "score":
            return {name: draw.uniform(0.4, 0.6) for name in names}
        if kind == "f1":
            return {name: ("AB"[n % 2], draw.choice("AB")) for n, name in enumerate(names)}
        if kind == "cost":
            return {name: (draw.uniform(80, 120), 1.0) for name in names}
        return {name: (20.0, -20 * draw.uniform(1.0, 1.2), -1.0) for name in names}

    sides: dict[str, Any] = {"candidate": side(), "baseline": side()}
    if kind == "score":
        return MeanScoreGate(**about, **sides)
    if kind == "f1":
        return MacroF1Gate(**about, **sides, classes=("A", "B"))
    return (
        PerCorrectGate(**about, **sides, unit="tokens")
        if kind == "cost"
        else PerplexityGate(**about, **sides)
    )


@pytest.mark.parametrize("kind", ["score", "f1", "cost", "perplexity"])
def test_what_is_measured_of_each_item_is_joined_by_item(kind: str) -> None:
    first = by_item(kind, 0, 60, 1)
    both = by_item(kind, 60, 60, 2).add_to(first, Status.INCONCLUSIVE, SECOND).judge()
    assert both.n == 120, "the data of both looks"
    again = by_item(kind, 0, 60, 3).add_to(first, Status.INCONCLUSIVE, SECOND)
    assert again.judge().observed == first.judge().observed, "drawn again until it fits is not an answer"
    assert again.judge().n == 60
    assert "added nothing" in again.remark
    lost = replace(first, candidate={**first.candidate, "item 0": None})  # type: ignore[attr-defined,call-arg]
    assert by_item(kind, 0, 60, 3).add_to(lost, Status.INCONCLUSIVE, SECOND).judge().n == 60


def test_a_joined_gate_can_be_judged_again_from_its_record() -> None:
    for decided in (Status.INCONCLUSIVE, Status.PASS, Status.FAIL):
        case = ratio(noisy(1.04, 20, 2)).add_to(ratio(noisy(1.0, 20, 1)), decided, SECOND)
        again = gate_from_json(case.to_json())
        assert again.judge() == case.judge()
        assert (again.spent, again.stands) == (case.spent, case.stands)
