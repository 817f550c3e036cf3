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


def test_a_p_value_of_a_look_counts_all_looks_and_agrees_with_its_decision() -> None:
    each = levels(ROUNDS, 0.05)
    for look, level in enumerate(each):
        assert p_value(level, look, ROUNDS, 0.05) == 0.05
        assert p_value(1.01 * level, look, ROUNDS, 0.05) > 0.05
        assert p_value(level / 100, look, ROUNDS, 0.05) == pytest.approx(sum(each) / 100)


@pytest.mark.parametrize("sizes", [(), (0, 4), (8, 8), (12, 8)])
def test_sizes_that_do_not_ascend_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending numbers"):
        levels(sizes, 0.05)
