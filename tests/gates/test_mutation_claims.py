"""Gates with their data, judged again with damage planted: what they catch, and whether they do what they claim."""

from __future__ import annotations

import dataclasses
import random

import pytest

from pytest_llmperf.config.bounds import Bound
from pytest_llmperf.gates.mutation import LADDER, PLANTINGS, Result, mutation_test
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.ratio import RatioGate
from pytest_llmperf.gates.scalar import ScalarGate
from pytest_llmperf.gates.verdict import Status

PASS = Status.PASS


def right(n: int, share: float) -> dict[str, bool]:
    """``share`` of n items, in random order."""
    items = [k < share * n for k in range(n)]
    random.Random(1).shuffle(items)
    return {f"i{k}": item for k, item in enumerate(items)}


FLOOR = ProportionGate(metric="accuracy", bound=0.72, candidate=right(1500, 0.817), at_least=True)
LOOPS = ProportionGate(metric="loops", bound=0.05, candidate=right(400, 0.01), at_least=False)
SPEED = RatioGate(
    metric="tpot",
    bound=1.25,
    starts=[[(1.0 + 0.04 * (k * 0.618 % 1.0), 1.0) for k in range(64)]],
    unit="s",
    at_least=False,
)
RATE = dataclasses.replace(SPEED, metric="throughput", bound=0.82, at_least=True)


def test_a_gate_that_catches_what_it_claims_is_proved() -> None:
    tested = mutation_test(FLOOR, PASS, claim=0.15)
    assert (tested.result, tested.green, tested.why) == (Result.CAUGHT, True, "")
    assert tested.smallest == 0.12
    assert tested.verdict == FLOOR.judge()


def test_a_gate_that_claims_too_much_is_told_what_it_missed() -> None:
    tested = mutation_test(FLOOR, PASS, claim=0.07)
    assert (tested.result, tested.green) == (Result.MISSED, False)
    assert "claims 7 pts; 7 pts: FAIL in 0 % of plantings; 10 pts" in tested.why
    assert tested.smallest == 0.12, "what it does catch"


def test_a_claim_between_two_steps_of_the_ladder_is_tried_itself() -> None:
    between = 0.118
    assert between not in LADDER["points"]
    assert mutation_test(FLOOR, PASS, claim=between).smallest == between
    missed = mutation_test(FLOOR, PASS, claim=0.095)
    assert "9.5 pts" in missed.why


def test_a_claim_that_only_some_plantings_keep_is_missed() -> None:
    # 33 answers turned wrong: whether they are those on which the baseline is wrong as well decides.
    candidate = right(200, 0.8)
    better = [item for item, good in candidate.items() if good][:15]
    worse = [item for item, good in candidate.items() if not good][:25]
    baseline = candidate | dict.fromkeys(better, False) | dict.fromkeys(worse, True)
    case = PairedGate(metric="a", bound=0.15, candidate=candidate, baseline=baseline, at_least=True)
    tested = mutation_test(case, PASS, claim=0.165)
    assert (tested.result, tested.smallest) == (Result.MISSED, 0.20)
    assert "16.5 pts: FAIL in 70 % of plantings" in tested.why


def test_unwanted_behaviours_are_planted_as_true() -> None:
    tested = mutation_test(LOOPS, PASS, claim=0.1)
    assert (tested.result, tested.damage) == (Result.CAUGHT, "points")


def test_what_takes_longer_gives_less_and_is_planted_once() -> None:
    assert PLANTINGS["share"] == 1
    speed, rate = mutation_test(SPEED, PASS, claim=0.40), mutation_test(RATE, PASS, claim=0.40)
    assert (speed.result, speed.smallest) == (Result.CAUGHT, 0.25)
    assert (rate.result, rate.smallest) == (Result.CAUGHT, 0.25)
    assert mutation_test(RATE, PASS, claim=0.10).result is Result.MISSED


def test_a_gate_without_claim_is_only_measured() -> None:
    generous = dataclasses.replace(SPEED, bound=1000.0)
    tested = mutation_test(generous, PASS)
    assert (tested.result, tested.green, tested.smallest) == (Result.UNCLAIMED, True, None)
    assert mutation_test(generous, PASS, claim=10.0).result is Result.MISSED


def test_a_verdict_that_is_not_that_of_the_run_is_an_error_with_and_without_claim() -> None:
    for claim in (None, 0.15):
        tested = mutation_test(FLOOR, Status.FAIL, claim=claim)
        assert (tested.result, tested.green) == (Result.NOT_REPRODUCED, False)
        assert "was FAIL in the run and is PASS now" in tested.why


@pytest.mark.parametrize("bound", [0.95, 0.82])
def test_a_gate_that_was_not_pass_proves_nothing_of_what_it_claims(bound: float) -> None:
    case = dataclasses.replace(FLOOR, bound=bound)
    status = case.judge().status
    assert status in (Status.FAIL, Status.INCONCLUSIVE)
    claims = mutation_test(case, status, claim=0.15)
    assert (claims.result, claims.green, claims.smallest) == (Result.NOT_PASSED, False, None)
    assert claims.why == case.judge().why
    assert mutation_test(case, status).green


def test_what_was_refused_is_listed_and_not_damaged() -> None:
    refused = dataclasses.replace(FLOOR, bound=None, refused="no budget for device CPU")
    assert mutation_test(refused, Status.INVALID).result is Result.UNCLAIMED
    lost = ScalarGate(metric="peak", bound=1.0, value=None, unit="bytes", at_least=False)
    assert mutation_test(lost, Status.INVALID, claim=0.3).result is Result.NOT_PASSED


def test_a_claim_of_a_bound_that_was_changed_since_is_not_proved_by_the_old_one() -> None:
    assert mutation_test(FLOOR, PASS, claim=0.15, now=Bound(0.72, "share")).result is Result.CAUGHT
    tested = mutation_test(FLOOR, PASS, claim=0.15, now=Bound(0.5, "share"))
    assert (tested.result, tested.green) == (Result.ANOTHER_BOUND, False)
    assert "judged by 72 %, and the claim is of 50 %" in tested.why


def test_a_gate_that_stopped_early_says_that_it_had_too_few_data_and_is_not_green() -> None:
    early = dataclasses.replace(FLOOR, planned=1500, candidate=right(300, 0.85))
    assert early.judge().status is PASS
    assert early.unasked == 1200
    tested = mutation_test(early, PASS, claim=0.15)
    assert (tested.result, tested.green) == (Result.STOPPED_EARLY, False)
    assert "by the 300 of 1,500 items at which the run stopped" in tested.why
    assert "--llmperf-full" in tested.why


def test_a_gate_that_stopped_early_and_still_calls_a_damage_pass_has_missed_it() -> None:
    lax = dataclasses.replace(FLOOR, bound=0.3, planned=1500, candidate=right(150, 0.85))
    tested = mutation_test(lax, PASS, claim=0.05)
    assert tested.result is Result.MISSED


def test_a_gate_that_stopped_early_may_still_prove_what_it_claims() -> None:
    early = dataclasses.replace(FLOOR, planned=1500, candidate=right(300, 0.85))
    tested = mutation_test(early, PASS, claim=0.3)
    assert (tested.result, tested.unasked) == (Result.CAUGHT, 1200)


def test_all_that_was_asked_leaves_nothing_unasked() -> None:
    assert FLOOR.unasked == 0
    assert dataclasses.replace(FLOOR, planned=1500).unasked == 0
    assert dataclasses.replace(FLOOR, planned=1500, candidate={}, refused="the server died").unasked == 0
    assert SPEED.unasked == 0
