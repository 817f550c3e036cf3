"""Sample sizes: how much data a gate needs before it can decide, and the smallest damage that it catches.

``items_for_floor``, ``items_for_margin`` and ``rounds_for_ratio`` use the normal approximation, which is within a few
per cent of simulation from about thirty items or ten rounds on. They return how many are needed so that a gate with
one-sided error ``alpha`` decides with probability ``power``; None means that no amount decides: the truth is on the
bound. The ``exact_`` ones and the smallest damages search over the operating characteristics: they hold at the stated
power, and take up to some seconds for a paired margin.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pytest_llmperf.stats import arguments, paired
from pytest_llmperf.stats import operating_characteristics as chances
from pytest_llmperf.stats.binomial import z_of
from pytest_llmperf.stats.hodges_lehmann import least_n
from pytest_llmperf.stats.start_to_start import LEAST_STARTS, StartVariation, starts_needed

MAX_ADVISED = 10_000_000
MAX_PLANNED = 200_000
"""Items or rounds beyond which a number is no advice."""


def items_for_floor(truth: float, floor: float, *, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Items after which a share of ``truth`` is told from ``floor``, in either direction.

    Fleiss, Levin and Paik (2003), Statistical Methods for Rates and Proportions, equation 2.8, with
    continuity correction (2.9), because the gates' bounds are exact.
    """
    p, bound = arguments.share("truth", truth), arguments.share("floor", floor)
    gap = abs(p - bound)
    if gap < 1e-12:
        return None
    z_a, z_b = z_of(1.0 - alpha), z_of(power)
    raw = ((z_a * math.sqrt(bound * (1.0 - bound)) + z_b * math.sqrt(p * (1.0 - p))) / gap) ** 2
    if p in (0.0, 1.0):  # no variance at the truth: every item agrees, and the exact bound is bound^n
        against = bound if p == 1.0 else 1.0 - bound
        raw = math.log(alpha) / math.log(against) if 0.0 < against < 1.0 else 0.0
        return _whole(raw, 1)
    return _whole(raw / 4.0 * (1.0 + math.sqrt(1.0 + 2.0 / (max(raw, 1e-9) * gap))) ** 2, 1)


def items_for_margin(
    difference: float, margin: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Items after which a paired ``difference`` is told from −``margin``, in either direction.

    ``discordance`` is the share of items that the two answer differently. Nam (1997), Biometrics 53, 1422,
    which is Connor's formula (1987, Biometrics 43, 207) where the margin is zero.
    """
    d = arguments.inside("difference", difference, -1.0, 1.0)
    m = arguments.inside("margin", margin, -1.0, 1.0)
    psi = max(arguments.share("discordance", discordance), abs(d))
    gap = abs(d + m)
    if gap < 1e-12:
        return None
    z_a, z_b = z_of(1.0 - alpha), z_of(power)
    at_margin = paired.null_variance((psi + d) / 2.0, (psi - d) / 2.0, -m)
    spread = z_a * math.sqrt(at_margin) + z_b * math.sqrt(max(0.0, psi - d * d))
    return _whole((spread / gap) ** 2, 1)


def rounds_for_ratio(
    ratio: float, budget: float, log_deviation: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Rounds after which a true ``ratio`` is told from ``budget``, in either direction.

    ``log_deviation`` is the standard deviation of one round's log ratio. The signed-rank test needs π/3 of
    the rounds of a t-test on normal data (Lehmann 1975), whose n is Guenther's (1981, The American
    Statistician 35, 243), and at least :func:`hodges_lehmann.least_n`.
    """
    for name, value in (("ratio", ratio), ("budget", budget)):
        if arguments.finite(name, value) <= 0.0:
            raise ValueError(f"{name} is {value:g}, a ratio is above zero")
    deviation = arguments.finite("log_deviation", log_deviation)
    if deviation < 0.0:
        raise ValueError(f"log_deviation is {deviation:g}, a deviation is not negative")
    gap = abs(math.log(ratio / budget))
    if gap < 1e-12:
        return None
    z_a = z_of(1.0 - alpha)
    raw = ((z_a + z_of(power)) * deviation / gap) ** 2 * math.pi / 3.0 + z_a * z_a / 2.0
    return _whole(raw, least_n(1.0 - alpha))


def exact_items_for_floor(
    truth: float, floor: float, *, alpha: float = 0.05, wanted: float = 0.95
) -> int | None:
    """Items after which the floor gate decides rightly with probability ``wanted``; None: more than anybody has."""
    start = items_for_floor(truth, floor, alpha=alpha, power=wanted)
    return _least(
        start, lambda n: _right(chances.of_floor(n, truth, floor, alpha=alpha), truth >= floor), wanted
    )


def exact_items_for_margin(
    difference: float, margin: float, discordance: float, *, alpha: float = 0.05, wanted: float = 0.95
) -> int | None:
    """Items after which the paired gate decides rightly with probability ``wanted``.

    With ``difference`` 0: so that an equal model passes that often. Half a point more is asked for, since the critical
    value follows the discordance that is seen, and not the one expected here.
    """
    start = items_for_margin(difference, margin, discordance, alpha=alpha, power=wanted)

    def chance(n: int) -> float:
        return _right(
            chances.of_margin(n, difference, discordance, margin, alpha=alpha), difference >= -margin
        )

    return _least(start, chance, min(wanted + 0.005, (1.0 + wanted) / 2.0))


def exact_rounds_for_ratio(
    ratio: float, budget: float, log_deviation: float, *, alpha: float = 0.05, wanted: float = 0.95
) -> int | None:
    """Rounds after which the ratio gate decides rightly; ``log_deviation`` is that of one round's log ratio."""
    start = rounds_for_ratio(ratio, budget, log_deviation, alpha=alpha, power=wanted)

    def chance(n: int) -> float:
        return _right(chances.of_ratio(n, ratio, budget, log_deviation, alpha=alpha), ratio <= budget)

    return _least(start, chance, wanted, 5)


def drop_caught_by_floor(
    n: int, truth: float, floor: float, *, alpha: float = 0.05, wanted: float = 0.8
) -> float | None:
    """The smallest loss (a share) of a model now at ``truth`` that the floor gate calls FAIL with ``wanted``."""
    return _smallest(lambda drop: chances.of_floor(n, truth - drop, floor, alpha=alpha).fails, truth, wanted)


def drop_caught_by_margin(
    n: int, discordance: float, margin: float, *, alpha: float = 0.05, wanted: float = 0.8
) -> float | None:
    """The smallest true loss against the baseline that the paired gate calls FAIL with ``wanted``.

    A loss raises the discordance by as much: the lost answers are answers that differ.
    """

    def fails(drop: float) -> float:
        return chances.of_margin(n, -drop, min(1.0, discordance + drop), margin, alpha=alpha).fails

    return _smallest(fails, 1.0 - discordance, wanted)


def slowdown_caught(chances_of: Callable[[float], chances.Chances], wanted: float) -> float | None:
    """The smallest true slowdown (0.08: 8 %) that a gate calls FAIL with ``wanted``, given its chances by ratio."""
    return _smallest(lambda more: chances_of(1.0 + more).fails, 4.0, wanted)


def starts_for_ratio(
    ratio: float, budget: float, log_deviation: float, *, alpha: float = 0.05, wanted: float = 0.95
) -> int | None:
    """Pairs of starts after which the gate over starts decides rightly; ``log_deviation`` is that of one pair."""
    variation = StartVariation(log_deviation, 0.0, LEAST_STARTS, 1.0)
    gap = math.log(ratio / budget)
    start = starts_needed(gap, variation, 1, alpha=alpha, power=wanted)

    def chance(n: int) -> float:
        return _right(chances.of_starts(n, ratio, budget, log_deviation, alpha=alpha), ratio <= budget)

    return _least(start, chance, wanted, LEAST_STARTS)


def _right(verdicts: chances.Chances, met: bool) -> float:
    return verdicts.passes if met else verdicts.fails


def _least(start: int | None, chance: Callable[[int], float], wanted: float, least: int = 1) -> int | None:
    """The fewest (to 1 %) from which on the chance stays at or above ``wanted``."""
    if start is None or start > MAX_PLANNED:
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
        if n > MAX_PLANNED:
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


def _whole(raw: float, least: int) -> int | None:
    return None if not math.isfinite(raw) or raw > MAX_ADVISED else max(least, math.ceil(raw))
