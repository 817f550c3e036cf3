"""What holds for every verdict of every gate, whatever the data."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.gates.judgement import GateError, Judgement
from pytest_llmperf.gates.outcomes import Outcome
from pytest_llmperf.gates.verdict import Status, Verdict
from tests.gates.judging import at_least, not_worse, rate_below, ratio_within, within

ORDER = {Status.FAIL: 0, Status.INCONCLUSIVE: 1, Status.PASS: 2}

one = st.lists(st.sampled_from([True, False, None]), max_size=150)
several = st.lists(st.lists(st.sampled_from([True, False, None]), max_size=4), max_size=80)
shares = st.floats(0.0, 1.0)
samples = st.lists(st.floats(0.001, 100.0), max_size=350)
rounds = st.lists(st.tuples(st.floats(0.001, 100.0), st.floats(0.001, 100.0)), max_size=40)


def items(outcomes: list[Outcome] | list[list[Outcome]]) -> dict[str, Outcome | list[Outcome]]:
    return {f"i{index}": outcome for index, outcome in enumerate(outcomes)}


def check(verdict: Verdict) -> None:
    numbers = [verdict.observed, verdict.bound, verdict.candidate, verdict.baseline, verdict.p_value]
    numbers += verdict.interval or ()
    assert all(number is None or math.isfinite(number) for number in numbers)
    assert verdict.why.strip()
    assert "\n" not in verdict.why
    assert verdict.p_value is None or 0.0 <= verdict.p_value <= 1.0
    if verdict.status is Status.INCONCLUSIVE:
        assert verdict.n_needed is None or verdict.n_needed > verdict.n
    elif verdict.status is not Status.INVALID:
        assert verdict.n_needed is None
        assert verdict.observed is not None
    if verdict.interval is not None and verdict.observed is not None:
        assert verdict.interval[0] <= verdict.interval[1]
    if verdict.status is Status.PASS:
        assert Judgement(verdict)
        return
    with pytest.raises(GateError) as caught:
        bool(Judgement(verdict))
    assert str(caught.value).startswith(f"{verdict.status.value}: {verdict.why}")


@given(one | several, shares, st.sampled_from([0.01, 0.05, 0.2]))
def test_shares(outcomes: list[Outcome] | list[list[Outcome]], bound: float, alpha: float) -> None:
    check(at_least("accuracy", items(outcomes), bound, alpha=alpha, max_lost_share=1.0))
    check(rate_below("loops", items(outcomes), bound, alpha=alpha, max_lost_share=0.1))


@given(one | several, one | several, st.floats(-0.9, 0.9), st.booleans())
def test_pairs(
    ours: list[Outcome] | list[list[Outcome]],
    theirs: list[Outcome] | list[list[Outcome]],
    margin: float,
    lower: bool,
) -> None:
    check(
        not_worse("accuracy", items(ours), items(theirs), margin, lower_is_better=lower, max_lost_share=1.0)
    )


@given(
    samples,
    st.floats(0.001, 100.0),
    st.sampled_from([0.05, 0.5, 0.95, 0.99]),
    st.booleans(),
    st.integers(0, 9),
)
def test_quantiles(values: list[float], budget: float, q: float, floor: bool, groups: int) -> None:
    labels = [index % groups for index in range(len(values))] if groups else None
    check(within("ttft", values, budget, q=q, at_least=floor, groups=labels))


@given(rounds, st.floats(0.01, 100.0), st.booleans())
def test_ratios(pairs: list[tuple[float, float]], budget: float, floor: bool) -> None:
    check(ratio_within("tpot", pairs, budget, at_least=floor))


@given(st.lists(st.booleans(), min_size=1, max_size=150), shares, st.randoms(use_true_random=False))
def test_a_right_answer_more_never_makes_it_worse(
    outcomes: list[bool], floor: float, draw: random.Random
) -> None:
    before = at_least("accuracy", dict(enumerate_items(outcomes)), floor)
    index = draw.randrange(len(outcomes))
    outcomes[index] = True
    after = at_least("accuracy", dict(enumerate_items(outcomes)), floor)
    if Status.INVALID not in (before.status, after.status):
        assert ORDER[after.status] >= ORDER[before.status]


@given(st.lists(st.floats(0.01, 10.0), min_size=59, max_size=120), st.floats(0.01, 10.0), st.floats(0.5, 1.0))
def test_a_faster_server_never_makes_it_worse(values: list[float], budget: float, factor: float) -> None:
    before, after = (
        within("ttft", values, budget),
        within("ttft", [value * factor for value in values], budget),
    )
    assert ORDER[after.status] >= ORDER[before.status]


@given(st.lists(st.booleans(), min_size=1, max_size=150), st.floats(0.0, 0.5), st.floats(0.0, 0.4))
def test_a_wider_margin_never_makes_it_worse(outcomes: list[bool], margin: float, more: float) -> None:
    ours = dict(enumerate_items(outcomes))
    theirs = dict(enumerate_items(list(reversed(outcomes))))
    narrow, wide = (
        not_worse("accuracy", ours, theirs, margin),
        not_worse("accuracy", ours, theirs, margin + more),
    )
    if wide.status is Status.INVALID:  # a margin can be so wide that losing everything is within it
        assert "can decide nothing" in wide.why
    elif narrow.status is not Status.INVALID:
        assert ORDER[wide.status] >= ORDER[narrow.status]


def enumerate_items(outcomes: list[bool]) -> list[tuple[str, bool]]:
    return [(f"i{index}", outcome) for index, outcome in enumerate(outcomes)]
