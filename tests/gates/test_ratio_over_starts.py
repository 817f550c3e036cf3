"""Speed over several starts of both servers."""

from __future__ import annotations

import math

import pytest

from pytest_llmperf.gates.verdict import Status
from tests.gates.judging import ratio_over_starts, ratio_within


def start(ratio: float, rounds: int = 10) -> list[tuple[float | None, float | None]]:
    return [(0.02 * ratio * (1.0 + 0.002 * (k % 3)), 0.02) for k in range(rounds)]


def test_rounds_of_one_unlucky_start_do_not_condemn_the_model() -> None:
    """One pair of starts is 8 % apart in all its rounds; five pairs of starts scatter as widely as that."""
    assert ratio_within("tpot", start(1.08), 1.05).status is Status.FAIL
    scattered = [start(ratio) for ratio in (1.08, 0.93, 1.02, 0.97, 1.00)]
    assert ratio_over_starts("tpot", scattered, 1.05).status is Status.INCONCLUSIVE


def test_starts_that_agree_decide() -> None:
    assert ratio_over_starts("tpot", [start(r) for r in (1.0, 1.01, 0.99, 1.0)], 1.05).status is Status.PASS
    slow = ratio_over_starts("tpot", [start(r) for r in (1.20, 1.22, 1.19, 1.21)], 1.05)
    assert slow.status is Status.FAIL
    assert slow.p_value is not None
    assert slow.p_value < 0.05
    fast = ratio_over_starts("throughput", [start(r) for r in (0.80, 0.81, 0.79)], 0.95, at_least=True)
    assert fast.status is Status.FAIL


def test_what_cannot_be_judged_is_invalid() -> None:
    assert ratio_over_starts("tpot", [start(1.0)] * 2, 1.05).status is Status.INVALID
    none: list[tuple[float | None, float | None]] = []
    assert ratio_over_starts("tpot", [start(1.0), start(1.0), none], 1.05).status is Status.INVALID
    none.append((math.nan, 1.0))
    broken = [start(1.0), start(1.0), none]
    assert ratio_over_starts("tpot", broken, 1.05).status is Status.INVALID
    with pytest.raises(ValueError, match="above zero"):
        ratio_over_starts("tpot", [start(1.0)] * 3, 0.0)


def test_a_start_that_lost_most_of_its_rounds_is_not_judged_by_the_few_that_are_left() -> None:
    """However well those look: as with a single start, one of five may go."""
    torn = [*start(1.0, 7), *[(None, 0.02)] * 3]
    verdict = ratio_over_starts("tpot", [start(1.0), torn, start(1.0)], 1.05)
    assert verdict.status is Status.INVALID
    assert "start 2: 3 of 10 rounds were lost" in verdict.why
    barely = [*start(1.0, 8), *[(None, 0.02)] * 2]
    assert ratio_over_starts("tpot", [start(1.0), barely, start(1.01)], 1.05).status is Status.PASS


def test_the_verdict_counts_starts_and_tells_both_levels() -> None:
    verdict = ratio_over_starts("tpot", [start(r) for r in (1.20, 1.22, 1.19)], 1.05)
    assert ", n = 3 starts)" in verdict.why
    assert verdict.baseline == pytest.approx(0.02)
    assert verdict.candidate == pytest.approx(0.02 * 1.20, rel=0.01)
