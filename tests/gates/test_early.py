"""Gates that are watched while the answers come in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.gates.base import gate_from_json
from pytest_llmperf.gates.early_stopping import Question, Watch, looks, margin_levels
from pytest_llmperf.gates.outcomes import Outcome
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.stats import paired, paired_exact, sample_size

FLOOR = Question("accuracy", 0.74)
RUNS = st.lists(
    st.tuples(st.sampled_from([True, False, None, [True, False, None]]), st.integers(1, 60)),
    min_size=1,
    max_size=8,
)
"""Outcomes in runs of the same one, which is how early items come to say the contrary of later ones."""


def pairs(n: int, gained: int, lost: int, seed: int = 0) -> list[tuple[bool, bool]]:
    items = [(True, False)] * gained + [(False, True)] * lost + [(True, True)] * (n - gained - lost)
    random.Random(seed).shuffle(items)
    return items


def margin(
    items: Sequence[tuple[Outcome, Outcome]], *, planned: int = 1319, asked: int | None = None
) -> PairedGate:
    """A margin of three points that stopped after ``asked`` items; None: it is still to ask for them."""
    sides = [
        {f"i{index}": outcome for index, outcome in enumerate(side)} for side in zip(*items, strict=True)
    ]

    def first(n: int) -> tuple[dict[str, Outcome], dict[str, Outcome]]:
        ours, theirs = (dict(list(side.items())[:n]) for side in sides)
        return ours, theirs

    ours, theirs = first(asked or 0)
    return PairedGate(
        metric="accuracy",
        bound=0.03,
        candidate=ours,
        baseline=theirs,
        at_least=True,
        planned=planned,
        more=first if asked is None else None,
    )


def test_a_clear_case_is_decided_long_before_the_end() -> None:
    gate = margin(pairs(1319, 20, 170)).settled()
    verdict = gate.judge()
    assert verdict.status is Status.FAIL
    assert verdict.n < 700
    assert gate.unasked == 1319 - verdict.n
    assert verdict.interval is not None
    assert verdict.interval[1] < -0.03
    assert f"95 % confidence, decided after {verdict.n} of 1,319 common items" in verdict.why
    assert verdict.p_value is not None
    assert verdict.p_value <= 0.05


def test_the_same_answers_pass() -> None:
    verdict = margin(pairs(1319, 0, 0)).settled().judge()
    assert verdict.status is Status.PASS
    assert verdict.n == 294


def test_a_margin_is_judged_at_the_level_of_its_look_and_the_last_has_most_of_the_error() -> None:
    items, sizes = pairs(1319, 60, 70), tuple(looks(1319))
    for size, level in zip(sizes, margin_levels(sizes, 0.05), strict=True):
        verdict = margin(items, asked=size).judge()
        gained = sum(ours > theirs for ours, theirs in items[:size])
        lost = sum(ours < theirs for ours, theirs in items[:size])
        z = paired_exact.critical_z(size, gained + lost, -0.03, level)
        assert verdict.interval is not None
        assert verdict.interval[0] == pytest.approx(paired.tango_lower_at(gained, lost, size, z))
        assert verdict.level == level
    assert verdict.level is not None
    assert 0.034 < verdict.level < 0.05


def test_a_margin_over_all_items_at_once_has_the_whole_error() -> None:
    items = pairs(300, 10, 12)
    whole, alone = replace(margin(items, asked=300), planned=None), margin(items, planned=300, asked=300)
    assert whole.judge().level is None
    looked = alone.judge().interval
    once = whole.judge().interval
    assert once is not None
    assert looked is not None
    assert looked[0] < once[0] < once[1] < looked[1]
    few = pairs(100, 1, 1)
    assert margin(few, planned=100, asked=100).judge().interval == pytest.approx(
        replace(margin(few, asked=100), planned=None).judge().interval
    ), "so few items are looked at once"


def test_a_decision_of_a_margin_stands_in_a_further_run_with_the_bounds_that_show_it() -> None:
    first = margin(pairs(1319, 20, 170)).settled()
    decided = first.judge()
    further = margin(pairs(1319, 0, 0)).add_to(first, decided.status, (0.05, 0.025)).settled()
    verdict = further.judge()
    assert (verdict.status, verdict.n) == (Status.FAIL, decided.n)
    assert verdict.interval is not None
    assert verdict.interval[1] < -0.03
    assert gate_from_json(further.to_json()).judge() == verdict


def test_a_further_run_looks_at_the_items_of_both_with_an_error_of_its_own() -> None:
    first = margin(pairs(400, 16, 18), planned=400).settled()
    assert first.judge().status is Status.INCONCLUSIVE
    more = {f"j{index}": True for index in range(800)}
    second = replace(
        margin(pairs(400, 0, 0), planned=800),
        more=lambda n: (dict(list(more.items())[:n]), dict(list(more.items())[:n])),
    )
    both = second.add_to(first, Status.INCONCLUSIVE, (0.05, 0.025)).settled()
    verdict = both.judge()
    assert verdict.status is Status.PASS
    sizes = tuple(400 + n for n in looks(800))
    assert verdict.n in sizes[:-1]
    assert verdict.level == margin_levels(sizes, 0.025)[sizes.index(verdict.n)]
    assert f"decided after {verdict.n} of 1,200 common items" in verdict.why


def test_lost_items_keep_a_margin_open_and_too_many_are_invalid() -> None:
    items: list[tuple[Outcome, Outcome]] = [*pairs(294, 0, 0)]
    assert margin(items, asked=294).judge().status is Status.PASS
    few = [*items[:289], *[(None, True)] * 5]
    verdict = margin(few, asked=294).judge()
    assert verdict.status is Status.INCONCLUSIVE
    assert "lost items could turn the PASS of the others" in verdict.why
    many = [*items[:280], *[(None, True)] * 14]
    assert margin(many, asked=294).judge().status is Status.INVALID
    assert margin([(True, None)], asked=1).judge().status is Status.INVALID


def test_a_floor_and_a_limit_look_in_opposite_directions() -> None:
    draw = random.Random(1)
    floor, limit = Watch(FLOOR), Watch(Question("loops", 0.74, at_least=False))
    while floor.status is None or limit.status is None:
        outcome = draw.random() < 0.95
        floor.observe(outcome)
        limit.observe(outcome)
    assert (floor.status, limit.status) == (Status.PASS, Status.FAIL)
    assert floor.verdict().status is Status.PASS
    assert limit.verdict().status is Status.FAIL


def test_a_decision_that_further_items_take_back_is_none() -> None:
    watch = Watch(FLOOR)
    while watch.status is None:
        watch.observe(True)
    assert watch.status is Status.PASS
    for _ in range(3):
        watch.observe(False)
    assert watch.status is None
    assert watch.verdict().status is Status.INCONCLUSIVE


@pytest.mark.parametrize("at_least", [True, False])
@given(bound=st.sampled_from([0.05, 0.3, 0.6, 0.9]), runs=RUNS)
def test_a_verdict_never_stands_beside_a_share_on_the_other_side_of_its_bound(
    at_least: bool, bound: float, runs: list[tuple[Outcome, int]]
) -> None:
    watch = Watch(Question("a", bound, at_least), alpha=0.01)
    for outcome, count in runs:
        for _ in range(count):
            watch.observe(outcome)
        verdict = watch.verdict(max_lost_share=1.0)
        if verdict.status not in (Status.PASS, Status.FAIL):
            continue
        assert verdict.observed is not None
        assert verdict.p_value is not None
        is_above = (verdict.status is Status.PASS) == at_least
        assert (verdict.observed > bound) == is_above
        assert verdict.interval is not None
        assert (verdict.interval[0] >= bound) if is_above else (verdict.interval[1] <= bound)
        assert (verdict.p_value <= 0.01) == (verdict.status is Status.FAIL)


def test_lost_items_are_not_wrong_answers_and_too_many_are_invalid() -> None:
    watch = Watch(FLOOR)
    for _ in range(100):
        watch.observe(True)
    watch.observe(None)
    assert watch.verdict().status is Status.PASS
    for _ in range(10):
        watch.observe(None)
    assert watch.verdict().status is Status.INVALID


def test_an_undecided_gate_says_how_many_items_would_do() -> None:
    items = pairs(60, 4, 5)
    verdict = margin(items, planned=60, asked=60).judge()
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.n_needed == sample_size.items_for_margin(-1 / 60, 0.03, 9 / 60)
    assert verdict.n_needed is not None
    assert verdict.n_needed > 60
    watch = Watch(FLOOR)
    for index in range(60):
        watch.observe(index % 4 != 0)
    verdict = watch.verdict()
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.n_needed == sample_size.items_for_floor(0.75, 0.74)


def test_several_samples_of_an_item_count_as_their_mean() -> None:
    watch = Watch(FLOOR)
    watch.observe([True, True, False, None])
    assert watch.verdict().observed == pytest.approx(2 / 3)


def test_nothing_measured_is_nothing_decided() -> None:
    assert Watch(FLOOR).verdict().status is Status.INVALID


def test_a_bound_that_no_data_could_show_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Watch(Question("accuracy", 1.0))
