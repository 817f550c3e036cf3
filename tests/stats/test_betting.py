"""Early stopping: the guarantee by enumeration and simulation, and what it saves."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.stats.betting import Decision, Evidence, decide

GSM8K = 1319


def items(n: int, psi: float, difference: float) -> list[float]:
    """n paired differences with exactly this discordance and mean."""
    lost, gained = round(n * (psi - difference) / 2), round(n * (psi + difference) / 2)
    return [1.0] * gained + [-1.0] * lost + [0.0] * (n - gained - lost)


def replay(values: list[float], bound: float, runs: int, population: int | None, seed: int) -> list[Decision]:
    draw, made = random.Random(seed), []
    for _ in range(runs):
        draw.shuffle(values)
        made.append(decide(values, bound, population=population))
    return made


@pytest.mark.parametrize(
    "population", [(1.0, 1.0, -1.0, 0.0, 0.0, -1.0), (1.0, 0.0, 0.0, 1.0, -1.0, -1.0, 0.0)]
)
def test_the_expected_wealth_never_exceeds_the_start_over_all_orders(population: tuple[float, ...]) -> None:
    """Mean exactly at the null, every order of a small population enumerated, at every look."""
    null, n = statistics.fmean(population), len(population)
    totals = [0.0] * n
    orders = list(itertools.permutations(population))
    for order in orders:
        evidence = Evidence(null, population=n)
        for look, value in enumerate(order):
            totals[look] += evidence.observe(value)
    assert max(totals) / len(orders) <= 1.0 + 1e-9


def test_the_expected_wealth_is_the_start_when_drawn_with_replacement() -> None:
    chances = {1.0: 0.2, 0.0: 0.5, -1.0: 0.3}
    null, expected = sum(value * chance for value, chance in chances.items()), 0.0
    for path in itertools.product(chances, repeat=6):
        evidence = Evidence(null)
        for value in path:
            evidence.observe(value)
        expected += math.prod(chances[value] for value in path) * evidence.e_value
    assert expected == pytest.approx(1.0)


@pytest.mark.parametrize(("psi", "margin"), [(0.1, 0.05), (0.2, 0.05), (0.05, 0.03)])
def test_continuous_peeking_at_the_boundary_errs_in_at_most_5_of_100_runs(psi: float, margin: float) -> None:
    values = items(400, psi, -margin)
    bound = statistics.fmean(values)
    runs = 400
    decisions = replay(values, bound, runs, 400, seed=1)
    tolerance = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert sum(d.above is True for d in decisions) / runs <= 0.05 + tolerance
    assert sum(d.above is False for d in decisions) / runs <= 0.05 + tolerance


@pytest.mark.parametrize("psi", [0.05, 0.1, 0.2])
def test_equal_models_are_decided_on_a_third_of_gsm8k_at_five_points(psi: float) -> None:
    decisions = replay(items(GSM8K, psi, 0.0), -0.05, 60, GSM8K, seed=2)
    assert all(d.above for d in decisions)
    assert statistics.median(d.n for d in decisions) <= 0.35 * GSM8K


def test_five_points_below_the_margin_is_red_on_a_third_of_gsm8k() -> None:
    decisions = replay(items(GSM8K, 0.2, -0.08), -0.03, 60, GSM8K, seed=3)
    assert all(d.above is False for d in decisions)
    assert statistics.median(d.n for d in decisions) <= 0.35 * GSM8K


def test_without_replacement_all_items_always_decide() -> None:
    values = items(GSM8K, 0.2, -0.02)
    decisions = replay(values, -0.03, 15, GSM8K, seed=4)
    assert all(d.above for d in decisions)


def test_a_mean_exactly_at_the_bound_stays_undecided() -> None:
    values = [1.0, -1.0] * 20 + [0.0] * 60
    assert sum(d.above is None for d in replay(values, 0.0, 100, 100, seed=5)) >= 90


def test_with_replacement_needs_more() -> None:
    values = items(GSM8K, 0.1, 0.0)
    here = replay(list(values), -0.05, 40, GSM8K, seed=6)
    anywhere = replay(list(values), -0.05, 40, None, seed=6)
    assert statistics.median(d.n for d in here) < statistics.median(d.n for d in anywhere)


def test_a_floor_is_decided_too() -> None:
    draw = random.Random(7)
    values = [1.0] * 850 + [0.0] * 150
    draw.shuffle(values)
    decision = decide(values, 0.74, low=0.0, high=1.0, population=1000)
    assert decision.above is True
    assert decision.n < 500


@given(st.lists(st.floats(-1, 1), max_size=80), st.floats(-0.9, 0.9), st.booleans())
def test_wealth_is_never_negative_nor_undefined(values: list[float], null: float, finite: bool) -> None:
    evidence = Evidence(null, population=len(values) if finite and values else None)
    for value in values:
        wealth = evidence.observe(value)
        assert wealth >= 0.0
        assert not math.isnan(wealth)


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60), st.floats(-0.9, 0.9))
def test_mirrored_values_give_the_mirrored_decision(values: list[float], bound: float) -> None:
    straight = decide(values, bound)
    mirrored = decide([-value for value in values], -bound)
    assert straight.n == mirrored.n
    assert straight.above is (None if mirrored.above is None else not mirrored.above)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="null is"):
        Evidence(1.0)
    with pytest.raises(ValueError, match="population is 0"):
        Evidence(0.0, population=0)
    with pytest.raises(ValueError, match="value is 2"):
        Evidence(0.0).observe(2.0)
    with pytest.raises(ValueError, match="value is nan"):
        Evidence(0.0).observe(math.nan)
    with pytest.raises(ValueError, match="alpha is"):
        decide([0.0], 0.0, alpha=0.0)
    spent = Evidence(0.0, population=1)
    spent.observe(1.0)
    with pytest.raises(ValueError, match="all 1 items"):
        spent.observe(1.0)


def test_no_values_decide_nothing() -> None:
    assert decide([], 0.0) == Decision(None, 0, 1.0, 1.0)
