"""Operating characteristics: the probability that a gate says PASS, FAIL or neither for a given truth.

Floors, limits and quantiles are binomial and the paired margin is trinomial, so every outcome is added up. The
ratio over rounds is by the noncentral t distribution with the efficiency of the signed-rank test (3/π), which is
exact for no noise but within two points of simulation for ten rounds of normal noise or more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_llmperf.stats import arguments, hodges_lehmann, order_statistics, paired_exact
from pytest_llmperf.stats.autocorrelation import expected_widenings
from pytest_llmperf.stats.binomial import p_at_least, p_at_most
from pytest_llmperf.stats.start_to_start import LEAST_STARTS


@dataclass(frozen=True)
class Chances:
    """Probabilities of the verdicts; what is left of 1 is INCONCLUSIVE."""

    passes: float
    fails: float

    @property
    def undecided(self) -> float:
        """Probability of INCONCLUSIVE."""
        return max(0.0, 1.0 - self.passes - self.fails)


def of_floor(n: int, truth: float, floor: float, *, alpha: float = 0.05) -> Chances:
    """A share of ``truth`` against a ``floor``, from n independent answers."""
    p = arguments.share("truth", truth)
    fewest, most = floor_counts(n, floor, alpha=alpha)
    passes = 0.0 if fewest is None else p_at_least(fewest, n, p)
    return Chances(passes, 0.0 if most is None else p_at_most(most, n, p))


def floor_counts(n: int, floor: float, *, alpha: float = 0.05) -> tuple[int | None, int | None]:
    """The fewest successes of n that PASS and the most that FAIL; None where no count does."""
    bound = arguments.share("floor", floor)
    if n < 1:
        raise ValueError(f"n is {n}, at least one answer is needed")
    passing = _first(n, lambda k: p_at_least(k, n, bound) <= alpha)
    # FAIL is strict: the upper bound lies below the floor
    failing = _first(n, lambda k: p_at_most(n - k, n, bound) < alpha)
    return passing, None if failing is None else n - failing


def of_margin(
    n: int, difference: float, discordance: float, margin: float, *, alpha: float = 0.05
) -> Chances:
    """A true paired ``difference`` against −``margin``, from n items of which a share ``discordance`` is answered
    differently. The critical value is the one at the expected discordance.
    """
    expected = round(n * arguments.share("discordance", discordance))
    z_pass = paired_exact.critical_z(n, expected, -margin, alpha)
    z_fail = paired_exact.critical_z(n, expected, margin, alpha)
    return Chances(
        paired_exact.chance_above(n, difference, discordance, -margin, z_pass),
        paired_exact.chance_above(n, -difference, discordance, margin, z_fail),
    )


def of_quantile(n: int, inside: float, q: float, *, alpha: float = 0.05) -> Chances:
    """The q-quantile of n independent samples against a budget that a share ``inside`` of all values keeps.

    ``ValueError`` for fewer samples than the gate takes.
    """
    p = arguments.share("inside", inside)
    low, high = order_statistics.lower_rank(n, q, 1.0 - alpha), order_statistics.upper_rank(n, q, 1.0 - alpha)
    if low is None or high is None:
        least = order_statistics.least_n(q, 1.0 - alpha)
        raise ValueError(f"{n} samples were given, p{100 * q:g} needs at least {least}")
    return Chances(p_at_least(high, n, p), p_at_most(low - 1, n, p))


def of_ratio(
    rounds: int, ratio: float, budget: float, log_deviation: float, *, alpha: float = 0.05
) -> Chances:
    """A true ``ratio`` (low is good) against ``budget``; ``log_deviation`` is that of one round's log ratio.

    The rounds are independent; that their interval is widened by the correlation that chance shows is counted.
    """
    if rounds < hodges_lehmann.least_n(1.0 - alpha):
        raise ValueError(
            f"{rounds} rounds were given, at least {hodges_lehmann.least_n(1.0 - alpha)} are needed"
        )
    widenings = expected_widenings(rounds)
    return _of_logs(
        rounds, ratio, budget, log_deviation, alpha, efficiency=3.0 / math.pi, widenings=widenings
    )


def of_starts(
    starts: int, ratio: float, budget: float, log_deviation: float, *, alpha: float = 0.05
) -> Chances:
    """The same where pairs of starts are the sample; ``log_deviation`` is that of one pair's centre. By Student's t."""
    if starts < LEAST_STARTS:
        raise ValueError(f"{starts} starts were given, at least {LEAST_STARTS} are needed")
    return _of_logs(starts, ratio, budget, log_deviation, alpha, efficiency=1.0)


def of_width(ratio: float, budget: float, log_deviation: float, half_width: float) -> Chances:
    """A true ``ratio`` against ``budget`` by an interval whose bounds lie ``half_width`` from the observed log ratio,
    which is normal with ``log_deviation``.
    """
    from scipy.special import ndtr

    gap = math.log(budget / ratio)
    if log_deviation <= 0.0:
        return Chances(float(gap >= half_width), float(gap < -half_width))
    passes, fails = ((side - half_width) / log_deviation for side in (gap, -gap))
    return Chances(float(ndtr(passes)), float(ndtr(fails)))


def _of_logs(
    n: int,
    ratio: float,
    budget: float,
    log_deviation: float,
    alpha: float,
    *,
    efficiency: float,
    widenings: Sequence[float] = (1.0,),
) -> Chances:
    from scipy.special import stdtrit

    for name, value in (("ratio", ratio), ("budget", budget)):
        if arguments.finite(name, value) <= 0.0:
            raise ValueError(f"{name} is {value:g}, a ratio is above zero")
    gap = math.log(budget / ratio)
    spread = arguments.finite("log_deviation", log_deviation)
    if spread <= 0.0:
        return Chances(float(gap >= 0.0), float(gap < 0.0))
    shift = min(30.0, max(-30.0, gap / spread * math.sqrt(n * efficiency)))
    needed = float(stdtrit(n - 1, 1.0 - alpha))
    counted = Counter(widenings).items()
    passes, fails = (
        math.fsum(times * _at_most(-needed * factor, n - 1, centre) for factor, times in counted)
        / len(widenings)
        for centre in (-shift, shift)
    )
    return Chances(passes, fails)


def _at_most(value: float, freedom: int, centre: float) -> float:
    """P(noncentral t ≤ value). Far in its tail scipy's is NaN, where the normal law says 0 or 1 as well."""
    from scipy.special import nctdtr, ndtr

    exact = float(nctdtr(freedom, centre, value))
    return float(ndtr(value - centre)) if math.isnan(exact) else exact


def _first(n: int, holds: Callable[[int], bool]) -> int | None:
    """The smallest k in 0…n for which a condition that stays true once it is true holds."""
    if not holds(n):
        return None
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
