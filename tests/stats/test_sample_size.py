"""Sample sizes: published figures, and what happens when they are used."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from pytest_llmperf.stats import hodges_lehmann, paired, sample_size
from pytest_llmperf.stats.binomial import clopper_pearson_upper, z_of


@pytest.mark.parametrize(
    ("psi", "n"), [(0.03, 570), (0.05, 952), (0.10, 1906), (0.15, 2860), (0.20, 3814), (0.25, 4768)]
)
def test_connors_formula_for_a_drop_of_18_per_mille(psi: float, n: int) -> None:
    assert sample_size.items_for_margin(-0.018, 0.0, psi) == pytest.approx(n, abs=1)


@pytest.mark.parametrize(("margin", "psi", "n"), [(0.02, 0.10, 1546), (0.03, 0.25, 1717), (0.05, 0.20, 494)])
def test_equal_models_need_the_known_number_of_items(margin: float, psi: float, n: int) -> None:
    """The simple (z_a + z_b)² psi / m² neglects the variance that the margin adds; it is short by 3 %."""
    planned = sample_size.items_for_margin(0.0, margin, psi)
    assert planned is not None
    assert n <= planned <= 1.03 * n


@pytest.mark.parametrize(("truth", "floor"), [(0.70, 0.78), (0.60, 0.74), (0.93, 0.97)])
def test_the_floor_gate_has_the_power_that_was_planned(truth: float, floor: float) -> None:
    n = sample_size.items_for_floor(truth, floor)
    assert n is not None
    found = sum(float(binom.pmf(k, n, truth)) for k in range(n + 1) if clopper_pearson_upper(k, n) < floor)
    assert found == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(("psi", "margin"), [(0.05, 0.05), (0.2, 0.05)])
def test_equal_models_pass_as_often_as_was_planned(psi: float, margin: float) -> None:
    n = sample_size.items_for_margin(0.0, margin, psi)
    assert n is not None
    draw, runs, passed = random.Random(3), 400, 0
    for _ in range(runs):
        moves = [draw.random() for _ in range(n)]
        lost = sum(1 for move in moves if move < psi / 2)
        gained = sum(1 for move in moves if psi / 2 <= move < psi)
        passed += paired.tango_lower_at(gained, lost, n, z_of(0.95)) > -margin
    assert passed / runs == pytest.approx(0.8, abs=0.08)


def test_the_paired_gate_has_the_power_that_was_planned() -> None:
    n, psi, drop = sample_size.items_for_margin(-0.05, 0.02, 0.10), 0.10, 0.05
    assert n is not None
    draw, runs, failed = random.Random(3), 400, 0
    for _ in range(runs):
        moves = [draw.random() for _ in range(n)]
        lost = sum(1 for move in moves if move < (psi + drop) / 2)
        gained = sum(1 for move in moves if (psi + drop) / 2 <= move < psi)
        failed += norm.cdf(paired.tango_z(gained, lost, n, -0.02)) < 0.05
    assert failed / runs == pytest.approx(0.8, abs=0.08)


def test_the_ratio_gate_has_the_power_that_was_planned() -> None:
    n = sample_size.rounds_for_ratio(1.08, 1.05, 0.03)
    assert n is not None
    draw, runs, failed = random.Random(5), 600, 0
    for _ in range(runs):
        logs = [draw.gauss(math.log(1.08), 0.03) for _ in range(n)]
        failed += hodges_lehmann.bounds(logs)[0] > math.log(1.05)
    assert failed / runs == pytest.approx(0.8, abs=0.08)


def test_all_right_needs_as_many_as_the_exact_bound_says() -> None:
    assert sample_size.items_for_floor(1.0, 0.95) == 59
    assert sample_size.items_for_floor(0.0, 0.01) == 299


def test_nothing_decides_a_truth_on_the_bound() -> None:
    assert sample_size.items_for_floor(0.74, 0.74) is None
    assert sample_size.items_for_margin(-0.03, 0.03, 0.1) is None
    assert sample_size.rounds_for_ratio(1.05, 1.05, 0.03) is None


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_plan_is_a_positive_number_or_none(truth: float, floor: float) -> None:
    n = sample_size.items_for_floor(truth, floor)
    assert n is None or 1 <= n <= sample_size.MAX_ADVISED


@given(st.floats(-0.5, 0.5), st.floats(0.0, 0.5), st.floats(0, 1))
def test_a_paired_plan_is_a_positive_number_or_none(difference: float, margin: float, psi: float) -> None:
    n = sample_size.items_for_margin(difference, margin, psi)
    assert n is None or 1 <= n <= sample_size.MAX_ADVISED


@pytest.mark.parametrize(("psi", "points"), [(0.05, 1.5), (0.10, 2.2), (0.15, 2.7), (0.20, 3.1), (0.25, 3.4)])
def test_the_smallest_drop_seen_with_all_of_gsm8k(psi: float, points: float) -> None:
    needed = [sample_size.items_for_margin(-(points + off) / 100, 0.0, psi) for off in (0.06, -0.06)]
    assert needed[0] is not None
    assert needed[1] is not None
    assert needed[0] <= 1319 <= needed[1]


def test_ratios_and_deviations_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="ratio is"):
        sample_size.rounds_for_ratio(0.0, 1.05, 0.03)
    with pytest.raises(ValueError, match="log_deviation"):
        sample_size.rounds_for_ratio(1.0, 1.05, -0.03)
