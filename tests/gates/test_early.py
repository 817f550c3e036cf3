"""Gates that are watched while the answers come in."""

from __future__ import annotations

import random

import pytest

from pytest_llmperf.gates.early_stopping import Question, Watch
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.stats import sample_size

MARGIN = Question("accuracy", -0.03, paired=True)
FLOOR = Question("accuracy", 0.74)


def pairs(n: int, gained: int, lost: int, seed: int = 0) -> list[tuple[bool, bool]]:
    items = [(True, False)] * gained + [(False, True)] * lost + [(True, True)] * (n - gained - lost)
    random.Random(seed).shuffle(items)
    return items


def test_a_clear_case_is_decided_long_before_the_end() -> None:
    watch = Watch(MARGIN)
    for ours, theirs in pairs(1319, 20, 170):
        if watch.observe(ours, theirs):
            break
    assert watch.status is Status.FAIL
    assert watch.decided_at is not None
    assert watch.decided_at < 700
    verdict = watch.verdict(aside="stopped early, ")
    assert verdict.status is Status.FAIL
    assert verdict.interval is not None
    assert verdict.interval[1] < -0.03
    assert "stopped early" in verdict.why
    assert verdict.p_value is not None
    assert verdict.p_value <= 0.05


def test_the_same_answers_pass() -> None:
    watch = Watch(MARGIN)
    taken = next(n for n, (a, b) in enumerate(pairs(1319, 0, 0), 1) if watch.observe(a, b))
    assert watch.status is Status.PASS
    assert taken < 700
    assert watch.verdict().status is Status.PASS


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


def test_a_decision_stays() -> None:
    watch = Watch(FLOOR)
    while watch.observe(True) is None:
        pass
    for _ in range(200):
        watch.observe(False)
    assert watch.status is Status.PASS
    assert watch.verdict().status is Status.PASS


def test_lost_items_are_not_wrong_answers_and_too_many_are_invalid() -> None:
    watch = Watch(FLOOR)
    for _ in range(100):
        watch.observe(True)
    watch.observe(None)
    assert watch.verdict().status is Status.PASS
    for _ in range(10):
        watch.observe(None)
    assert watch.verdict().status is Status.INVALID
    paired = Watch(MARGIN)
    paired.observe(True, None)
    assert paired.verdict().status is Status.INVALID


def test_an_undecided_watch_says_how_many_items_would_do() -> None:
    watch = Watch(MARGIN)
    for ours, theirs in pairs(60, 4, 5):
        watch.observe(ours, theirs)
    verdict = watch.verdict()
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.n_needed == sample_size.items_for_margin(-1 / 60, 0.03, 9 / 60)
    assert verdict.n_needed is not None
    assert verdict.n_needed > 60


def test_several_samples_of_an_item_count_as_their_mean() -> None:
    watch = Watch(FLOOR)
    watch.observe([True, True, False, None])
    assert watch.verdict().observed == pytest.approx(2 / 3)


def test_nothing_measured_is_nothing_decided() -> None:
    assert Watch(FLOOR).verdict().status is Status.INVALID


def test_a_bound_that_no_data_could_show_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Watch(Question("accuracy", 1.0))
