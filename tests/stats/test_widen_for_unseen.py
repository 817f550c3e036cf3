"""Items that were not seen: a bound that holds where the spread of what was seen is nothing."""

from __future__ import annotations

import random
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.stats.binomial import ENOUGH_UNLIKE, clopper_pearson_lower, widen_for_unseen
from pytest_llmperf.stats.ratio_estimators import ratio_of_sums


def test_nothing_seen_of_thirty_is_the_rule_of_three() -> None:
    low, high = widen_for_unseen(1.0, 1.0, estimate=1.0, unlike=0, n=30, level=0.95, least=0.0, most=1.0)
    assert low == pytest.approx(0.05 ** (1 / 30))
    assert high == 1.0
    assert 1.0 - low == pytest.approx(3 / 30, rel=0.06)


@given(unlike=st.integers(0, ENOUGH_UNLIKE - 1), n=st.integers(30, 2000))
def test_of_right_and_wrong_it_is_at_least_as_careful_as_the_exact_bound(unlike: int, n: int) -> None:
    share = 1.0 - unlike / n
    low, _ = widen_for_unseen(
        share, share, estimate=share, unlike=unlike, n=n, level=0.95, least=0.0, most=1.0
    )
    # It takes the same share of unseen items away, from those that are right alone.
    assert low == pytest.approx(clopper_pearson_lower(n - unlike, n), abs=unlike / n * 0.3 + 1e-9)


def test_with_enough_unlike_items_and_further_out_bounds_nothing_changes() -> None:
    bounds = partial(widen_for_unseen, estimate=0.0, n=100, level=0.95, least=-1.0, most=1.0)
    assert bounds(-0.001, 0.001, unlike=ENOUGH_UNLIKE) == (-0.001, 0.001)
    assert bounds(-0.5, 0.5, unlike=0) == (-0.5, 0.5)
    low, high = bounds(-0.001, 0.001, unlike=ENOUGH_UNLIKE - 1)
    assert low < -0.01
    assert high > 0.01


@pytest.mark.parametrize("share", [0.002, 0.01, 0.03])
def test_a_rare_loss_is_not_denied_as_students_interval_alone_denies_it(share: float) -> None:
    rng, n, runs = random.Random(f"{share}"), 200, 2000
    missed = alone = 0
    for _ in range(runs):
        values = [-1.0 if rng.random() < share else 0.0 for _ in range(n)]
        found = ratio_of_sums(values, [1.0] * n)
        unlike = round(-sum(values))
        low, _ = widen_for_unseen(
            *found.bounds(0.95),
            estimate=found.estimate,
            unlike=unlike,
            n=n,
            level=0.95,
            least=-1.0,
            most=1.0,
        )
        missed += low > -share
        alone += found.bounds(0.95)[0] > -share
    assert missed <= 0.05 * runs + 3 * (0.05 * 0.95 * runs) ** 0.5, missed
    assert alone > missed


@pytest.mark.parametrize(("unlike", "n", "level"), [(0, 0, 0.95), (-1, 30, 0.95), (0, 30, 1.0)])
def test_what_cannot_be_is_refused(unlike: int, n: int, level: float) -> None:
    with pytest.raises(ValueError, match=r"must lie|need|successes|n is"):
        widen_for_unseen(0.0, 0.0, estimate=0.0, unlike=unlike, n=n, level=level, least=0.0, most=1.0)
