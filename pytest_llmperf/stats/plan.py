"""What to measure so that a gate decides, and the smallest damage that it will catch: searches over ``stats.chances``.

``stats.power`` answers the same from the normal approximation, at once; this holds at the stated power and takes
up to some seconds for a paired margin.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pytest_llmperf.stats import arguments, order_statistics, power
from pytest_llmperf.stats.chances import Chances, of_floor, of_margin, of_quantile, of_ratio, of_starts
from pytest_llmperf.stats.start_to_start import LEAST_STARTS, StartVariation, starts_needed

MOST = 200_000
"""Items or rounds beyond which a plan is no advice."""


def items_for_floor(truth: float, floor: float, *, alpha: float = 0.05, wanted: float = 0.95) -> int | None:
    """Items after which the floor gate decides rightly with probability ``wanted``; None: more than anybody has."""
    start = power.items_for_floor(truth, floor, alpha=alpha, power=wanted)
    return _least(start, lambda n: _right(of_floor(n, truth, floor, alpha=alpha), truth >= floor), wanted)


def items_for_margin(
    difference: float, margin: float, discordance: float, *, alpha: float = 0.05, wanted: float = 0.95
) -> int | None:
    """Items after which the paired gate decides rightly with probability ``wanted``.

    With ``difference`` 0: so that an equal model passes that often. Half a point more is asked for, since the critical
    value follows the discordance that is seen, and not the one expected here.
    """
    start = power.items_for_margin(difference, margin, discordance, alpha=alpha, power=wanted)

    def chance(n: int) -> float:
        return _right(of_margin(n, difference, discordance, margin, alpha=alpha), difference >= -margin)

    return _least(start, chance, min(wanted + 0.005, (1.0 + wanted) / 2.0))


def samples_for_quantile(inside: float, q: float, *, alpha: float = 0.05, wanted: float = 0.95) -> int | None:
    """Samples after which the quantile gate decides rightly, when a share ``inside`` of all values keeps the budget."""
    start = power.items_for_floor(inside, q, alpha=alpha, power=wanted)
    least = order_statistics.least_n(q, 1.0 - alpha)
    start = None if start is None else max(start, least)
    return _least(start, lambda n: _right(of_quantile(n, inside, q, alpha=alpha), inside >= q), wanted, least)


def rounds_for_ratio(
    ratio: float, budget: float, log_deviation: float, *, alpha: float = 0.05, wanted: float = 0.95
) -> int | None:
    """Rounds after which the ratio gate decides rightly; ``log_deviation`` is that of one round's log ratio."""
    start = power.rounds_for_ratio(ratio, budget, log_deviation, alpha=alpha, power=wanted)

    def chance(n: int) -> float:
        return _right(of_ratio(n, ratio, budget, log_deviation, alpha=alpha), ratio <= budget)

    return _least(start, chance, wanted, 5)


def drop_caught_by_floor(
    n: int, truth: float, floor: float, *, alpha: float = 0.05, wanted: float = 0.8
) -> float | None:
    """The smallest loss (a share) of a model now at ``truth`` that the floor gate calls FAIL with ``wanted``."""
    return _smallest(lambda drop: of_floor(n, truth - drop, floor, alpha=alpha).fails, truth, wanted)


def drop_caught_by_margin(
    n: int, discordance: float, margin: float, *, alpha: float = 0.05, wanted: float = 0.8
) -> float | None:
    """The smallest true loss against the baseline that the paired gate calls FAIL with ``wanted``.

    A loss raises the discordance by as much: the lost answers are answers that differ.
    """

    def fails(drop: float) -> float:
        return of_margin(n, -drop, min(1.0, discordance + drop), margin, alpha=alpha).fails

    return _smallest(fails, 1.0 - discordance, wanted)


def slowdown_caught_by_ratio(
    rounds: int, budget: float, log_deviation: float, *, alpha: float = 0.05, wanted: float = 0.8
) -> float | None:
    """The smallest true slowdown (0.08: 8 %) that the ratio gate calls FAIL with ``wanted``."""

    def fails(more: float) -> float:
        return of_ratio(rounds, 1.0 + more, budget, log_deviation, alpha=alpha).fails

    return _smallest(fails, 4.0, wanted)


def starts_for_ratio(
    ratio: float, budget: float, log_deviation: float, *, alpha: float = 0.05, wanted: float = 0.95
) -> int | None:
    """Pairs of starts after which the gate over starts decides rightly; ``log_deviation`` is that of one pair."""
    variation = StartVariation(log_deviation, 0.0, LEAST_STARTS, 1.0)
    gap = math.log(ratio / budget)
    start = starts_needed(gap, variation, 1, alpha=alpha, power=wanted)

    def chance(n: int) -> float:
        return _right(of_starts(n, ratio, budget, log_deviation, alpha=alpha), ratio <= budget)

    return _least(start, chance, wanted, LEAST_STARTS)


def slowdown_caught_by_starts(
    starts: int, budget: float, log_deviation: float, *, alpha: float = 0.05, wanted: float = 0.8
) -> float | None:
    """The smallest true slowdown that the gate over pairs of starts calls FAIL with ``wanted``."""

    def fails(more: float) -> float:
        return of_starts(starts, 1.0 + more, budget, log_deviation, alpha=alpha).fails

    return _smallest(fails, 4.0, wanted)


def _right(chances: Chances, met: bool) -> float:
    return chances.passes if met else chances.fails


def _least(start: int | None, chance: Callable[[int], float], wanted: float, least: int = 1) -> int | None:
    """The fewest (to 1 %) from which on the chance stays at or above ``wanted``."""
    if start is None or start > MOST:
        return None
    level = arguments.inside("wanted", wanted, 0.0, 1.0)

    def good(n: int) -> bool:
        # counts are discrete, so that a chance can fall again: the next ones must hold as well
        return all(chance(n + step) >= level for step in (0, max(1, n // 100), max(2, n // 40)))

    n = max(least, start)
    while n > least and good(max(least, math.floor(n * 0.95))):
        n = max(least, math.floor(n * 0.95))
    while not good(n):
        n = math.ceil(n * 1.01)
        if n > MOST:
            return None
    return n


def _smallest(chance: Callable[[float], float], most: float, wanted: float) -> float | None:
    """The smallest damage in 0…most with at least this chance, to 1e-4; None if even the most has less."""
    low, high = 0.0, most - 1e-9
    if chance(high) < wanted:
        return None
    while high - low > 1e-4:
        middle = (low + high) / 2.0
        low, high = (low, middle) if chance(middle) >= wanted else (middle, high)
    return high
