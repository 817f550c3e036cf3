"""Ratios of totals by round, as the acceptance length of speculative decoding: both errors, and what is not judged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from pytest_llmperf.gates.judgement import GateFailed, GateInconclusive, GateInvalid
from pytest_llmperf.gates.totals import LEAST_ROUNDS, RoundTotals, TotalsGate, TotalsLevel, TotalsRatio
from pytest_llmperf.gates.verdict import Status

NOTHING = "nothing was drafted"
DRAFT_TOKENS, ANSWER_TOKENS = 4, 32


def drawn(
    runs: int, rounds: int, requests: int, seed: int, loyal: float = 0.4
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and steps by run and round. Each request accepts draft tokens by a chance of its own: most accept nearly
    all or nearly none, as n-grams do."""
    random = np.random.default_rng(seed)
    shape = (runs, rounds, requests)
    chance = random.beta(loyal, loyal, shape)
    steps, tokens = np.zeros(shape), np.zeros(shape)
    for _ in range(ANSWER_TOKENS):
        live = tokens < ANSWER_TOKENS
        hits = random.random((*shape, DRAFT_TOKENS)) < chance[..., None]
        steps += live
        tokens += live * (1 + np.cumprod(hits, axis=-1).sum(-1))
    return tokens.sum(-1), steps.sum(-1)


def rounds_of(tokens: Sequence[float], steps: Sequence[float]) -> RoundTotals:
    return list(zip(map(float, tokens), map(float, steps), strict=True))


def gate(candidate: RoundTotals, bound: float, **more: object) -> TotalsGate:
    fields = {
        "metric": "acceptance length",
        "unit": "tok/step",
        "at_least": True,
        "why_nothing": NOTHING,
    } | more
    return TotalsGate(candidate=candidate, bound=bound, **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def truth() -> float:
    """The acceptance length of all requests together."""
    tokens, steps = drawn(1, 1, 300_000, seed=1)
    return float(tokens[0, 0] / steps[0, 0])


RUNS = 1500
MOST = 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)
"""Of 1,500 runs whose true error is 5 %, so many are exceeded once in a thousand."""


@pytest.mark.parametrize("rounds", [LEAST_ROUNDS, 30])
def test_at_the_bound_a_wrong_pass_and_a_wrong_fail_are_as_rare_as_promised(
    truth: float, rounds: int
) -> None:
    found = [
        gate(rounds_of(*both), truth).judge().status
        for both in zip(*drawn(RUNS, rounds, 4, seed=rounds), strict=True)
    ]
    assert found.count(Status.PASS) <= 0.05 * RUNS
    assert found.count(Status.FAIL) <= MOST * RUNS


@pytest.mark.parametrize("accepts", [0.02, 0.98])
@pytest.mark.parametrize("unit", ["share", "tok/step"])
def test_rounds_of_few_steps_that_are_nearly_all_alike_err_no_more_often(accepts: float, unit: str) -> None:
    random = np.random.default_rng(5)
    shape = (RUNS, LEAST_ROUNDS, 10)
    accepted = np.cumprod(random.random((*shape, DRAFT_TOKENS)) < accepts, axis=-1).sum((-1, -2))
    mean = sum(accepts**place for place in range(1, DRAFT_TOKENS + 1))
    bound, over, under = mean / DRAFT_TOKENS, accepted, np.full_like(accepted, 10 * DRAFT_TOKENS)
    if unit != "share":
        bound, over, under = 1.0 + mean, accepted + 10, np.full_like(accepted, 10)
    found = [
        gate(rounds_of(*both), bound, unit=unit).judge().status for both in zip(over, under, strict=True)
    ]
    assert found.count(Status.PASS) <= MOST * RUNS
    assert found.count(Status.FAIL) <= MOST * RUNS


@pytest.mark.parametrize(("rounds", "steps", "accepts"), [(8, 3, 0.98), (12, 3, 0.98), (8, 5, 0.99)])
def test_few_steps_of_drafts_that_are_nearly_always_accepted_pass_wrongly_no_more_often(
    rounds: int, steps: int, accepts: float
) -> None:
    """Most rounds lose nothing: those that do are too few to tell how much."""
    shape = (RUNS, rounds, steps, DRAFT_TOKENS)
    tokens = steps + np.cumprod(np.random.default_rng(6).random(shape) < accepts, axis=-1).sum((-1, -2))
    bound = 1.0 + sum(accepts**place for place in range(1, DRAFT_TOKENS + 1))
    found = [gate(rounds_of(each, [steps] * rounds), bound).judge().status for each in tokens]
    assert found.count(Status.PASS) <= MOST * RUNS


def test_equal_rounds_of_few_steps_decide_nothing_close() -> None:
    few, many = [(5.0, 1.0)] * LEAST_ROUNDS, [(5000.0, 1000.0)] * LEAST_ROUNDS
    assert gate(few, 4.9).judge().status is Status.INCONCLUSIVE
    assert gate(many, 4.9).judge().status is Status.PASS
    for paired in (True, False):
        assert gate(few, 0.95, baseline=few, paired=paired).judge().status is Status.INCONCLUSIVE
        assert gate(many, 0.95, baseline=many, paired=paired).judge().status is Status.PASS
    rare = [(0.0, 9.0)] * LEAST_ROUNDS + [(1.0, 9.0)]
    verdict = gate(rare, 0.95, unit="share", baseline=rare).judge()
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.interval is not None
    assert all(map(math.isfinite, verdict.interval))
    one = [(0.0, 1.0)] * LEAST_ROUNDS
    assert gate(one, 0.1, unit="share").judge().status is Status.INCONCLUSIVE
    assert gate(one, 0.1, unit="share", at_least=False).judge().status is Status.INCONCLUSIVE


@pytest.mark.parametrize("paired", [True, False])
def test_two_equal_servers_at_their_floor_pass_as_rarely_as_promised(paired: bool) -> None:
    ours, theirs = drawn(RUNS, 12, 4, seed=3), drawn(RUNS, 12, 4, seed=4)
    found = [
        gate(rounds_of(a, b), 1.0, baseline=rounds_of(c, d), paired=paired).judge().status
        for a, b, c, d in zip(*ours, *theirs, strict=True)
    ]
    assert found.count(Status.PASS) <= MOST * RUNS
    assert found.count(Status.FAIL) <= MOST * RUNS


def test_a_draft_that_never_matches_is_red_and_a_good_one_green() -> None:
    good, never = [(70.0, 30.0 + k % 3) for k in range(16)], [(30.0, 30.0)] * 16
    assert level(good) >= 2.0
    with pytest.raises(
        GateFailed, match=r"acceptance length 1.00 tok/step is below the floor of 1.2 tok/step"
    ):
        assert level(never) >= 1.2
    assert level(good) >= level(good) * 0.95
    with pytest.raises(GateFailed, match="acceptance length ratio"):
        assert level(never) >= level(good) * 0.95


def level(rounds: RoundTotals, unit: str = "tok/step", why: str = NOTHING, unusable: str = "") -> TotalsLevel:
    return TotalsLevel(
        metric="acceptance length", unit=unit, noun="round", why_nothing=why, rounds=rounds, unusable=unusable
    )


def test_a_ratio_of_rounds_in_turn_is_paired() -> None:
    hard = [1.0 + 0.5 * (k % 4) for k in range(16)]
    theirs = [(30.0 * each, 30.0) for each in hard]
    ours = [(29.7 * each, 30.0) for each in hard]
    pair = TotalsRatio(metric="m", unit="tok/step", why_nothing=NOTHING, candidate=ours, baseline=theirs)
    assert pair >= 0.98
    with pytest.raises(GateInconclusive, match="rounds would decide"):
        assert level(ours) >= level(theirs) * 0.98


def test_a_share_of_nothing_at_all_is_red_and_not_invalid() -> None:
    none = [(0.0, 100.0)] * 10
    with pytest.raises(GateFailed, match="is below the floor of 90 %"):
        assert level(none, "share") >= 0.9
    assert level(none, "share") <= 0.1
    with pytest.raises(GateInvalid, match="the baseline's value is 0"):
        assert level([(9.0, 10.0)] * 10, "share") >= level(none, "share") * 0.9
    with pytest.raises(GateFailed):
        assert level(none, "share") >= level([(9.0, 10.0)] * 10, "share") * 0.9


def test_the_interval_of_a_share_ends_at_one() -> None:
    verdict = gate([(100.0, 100.0)] * 11 + [(60.0, 100.0)], 0.9, unit="share").judge()
    assert verdict.interval is not None
    assert verdict.interval[1] == 1.0


@pytest.mark.parametrize(
    ("rounds", "why"),
    [
        ([(0.0, 0.0)] * 12, NOTHING),
        ([(40.0, 20.0)] * 7, "cannot be judged from 7 rounds, at least 8 are needed"),
        ([], "cannot be judged from 0 rounds"),
        ([None] * 12, "12 of 12 rounds"),
        ([(40.0, 20.0)] * 9 + [None] * 3, "3 of 12 rounds"),
        ([(math.nan, 20.0)] * 12, "negative or not finite"),
        ([(40.0, -1.0)] * 12, "negative or not finite"),
    ],
)
def test_what_was_not_measured_is_invalid_on_either_side(rounds: RoundTotals, why: str) -> None:
    good = [(40.0, 20.0)] * 12
    with pytest.raises(GateInvalid, match=why):
        assert level(rounds) >= 1.5
    with pytest.raises(GateInvalid, match=why):
        assert level(good) >= level(rounds) * 0.95
    with pytest.raises(GateInvalid, match="baseline: it is unusable"):
        assert level(good) >= level(good, unusable="it is unusable") * 0.95


def test_like_is_compared_with_like() -> None:
    with pytest.raises(TypeError, match="compare like with like"):
        assert level([(1.0, 1.0)] * 9) >= level([(1.0, 1.0)] * 9, "share") * 0.9
    with pytest.raises(TypeError, match="without a margin"):
        assert level([(1.0, 1.0)] * 9) >= level([(1.0, 1.0)] * 9)


def test_planted_damage_turns_it_red_and_further_rounds_are_pooled() -> None:
    good = gate([(70.0, 30.0 + k % 3) for k in range(16)], 2.0)
    assert good.judge().status is Status.PASS
    assert good.mutate(0.3).judge().status is Status.FAIL
    at_most = gate([(10.0, 100.0 + k % 3) for k in range(16)], 0.15, unit="share", at_least=False)
    assert at_most.judge().status is Status.PASS
    assert at_most.mutate(1.0).judge().status is Status.FAIL
    assert good.merge(good).judge().n == 32
    assert gate([(70.0, 30.0)] * 5, 2.0).plan(None).warning.startswith("will be INVALID")
