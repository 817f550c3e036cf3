"""Several looks err together as often as one."""

from __future__ import annotations

import math
import random

import pytest

from pytest_llmperf.stats.binomial import z_of
from pytest_llmperf.stats.group_sequential import levels, p_value

ROUNDS = (8, 12, 18, 27, 40, 64)


def test_one_look_has_all_of_the_error() -> None:
    assert levels((64,), 0.05) == (0.05,)


def test_two_looks_agree_with_the_bivariate_normal_distribution() -> None:
    from scipy.stats import multivariate_normal

    first, last = levels((30, 64), 0.05)
    z, correlation = (z_of(1.0 - first), z_of(1.0 - last)), math.sqrt(30 / 64)
    neither = multivariate_normal.cdf(z, cov=[[1.0, correlation], [correlation, 1.0]])
    assert first == pytest.approx(0.05 * 30 / 64)
    assert 1.0 - neither == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize("sizes", [ROUNDS, (3, 5, 8, 11, 15)])
def test_all_looks_together_err_in_five_of_a_hundred_runs(sizes: tuple[int, ...]) -> None:
    bounds = [
        z_of(1.0 - level) * math.sqrt(size) for size, level in zip(sizes, levels(sizes, 0.05), strict=True)
    ]
    draw, runs = random.Random(4), 20_000
    crossed = 0
    for _ in range(runs):
        total, before = 0.0, 0
        for size, bound in zip(sizes, bounds, strict=True):
            total, before = total + draw.gauss(0.0, math.sqrt(size - before)), size
            if total > bound:
                crossed += 1
                break
    assert crossed / runs == pytest.approx(0.05, abs=0.005)


def test_the_last_look_keeps_more_than_half_of_the_error() -> None:
    each = levels(ROUNDS, 0.05)
    assert each[-1] > 0.025
    assert sum(each) > 0.05


def test_the_last_look_keeps_the_more_power_the_less_the_early_ones_spend() -> None:
    last = [levels(ROUNDS, 0.05, rho)[-1] for rho in (1.0, 1.5, 2.0, 3.0)]
    assert last == sorted(last)
    assert levels(ROUNDS, 0.05, 2.0)[0] == pytest.approx(0.05 * (8 / 64) ** 2)


@pytest.mark.parametrize("rho", [1.0, 2.0])
def test_a_p_value_of_a_look_counts_all_looks_and_agrees_with_its_decision(rho: float) -> None:
    each = levels(ROUNDS, 0.05, rho)
    for look, level in enumerate(each):
        before = 0.05 * (ROUNDS[look - 1] / 64) ** rho if look else 0.0
        assert p_value(level, look, ROUNDS, 0.05, rho) <= 0.05
        assert p_value(1.01 * level, look, ROUNDS, 0.05, rho) > 0.05
        assert p_value(level / 100, look, ROUNDS, 0.05, rho) == pytest.approx(before + level / 100)
    assert p_value(each[-1], 5, ROUNDS, 0.05, rho) == 0.05


def test_p_values_over_all_looks_are_below_a_number_as_seldom_as_promised() -> None:
    each, draw, runs = levels(ROUNDS, 0.05, 2.0), random.Random(5), 20_000
    found = []
    for _ in range(runs):
        total, before = 0.0, 0
        for look, size in enumerate(ROUNDS):
            total, before = total + draw.gauss(0.0, math.sqrt(size - before)), size
            p = 0.5 * math.erfc(total / math.sqrt(2.0 * size))
            if p <= each[look]:
                found.append(p_value(p, look, ROUNDS, 0.05, 2.0))
                break
    for limit in (0.001, 0.005, 0.02, 0.05):
        assert sum(p <= limit for p in found) / runs <= limit + 3.5 * math.sqrt(limit / runs)


@pytest.mark.parametrize("sizes", [(), (0, 4), (8, 8), (12, 8)])
def test_sizes_that_do_not_ascend_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending numbers"):
        levels(sizes, 0.05)
