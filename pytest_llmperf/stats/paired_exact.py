"""Exact error rates of Tango's score test by enumeration, and the critical value that keeps them as stated.

The normal quantile keeps its promise only nearly: at the margin itself a candidate passes in up to 6.0 % of runs
and fails in up to 8.7 %, where 5 % was said (n = 50…1319, margins of 2 to 5 points; worst where few items are
answered differently). The counts are few enough to add up every outcome, so the critical value is raised until the
promise holds for every discordance that the data leave possible: the unconditional exact test (Hsueh, Liu, Chen
2001, Biometrics 57, 478) with the nuisance parameter in a confidence interval (Berger and Boos 1994, JASA 89, 1012).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from pytest_llmperf.stats import arguments, paired
from pytest_llmperf.stats.binomial import clopper_pearson_lower, clopper_pearson_upper, z_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEGLECTED = 0.001
"""Probability that the discordance lies outside the interval searched; taken off alpha, so nothing is lost."""
GRID = 24
"""Values of the discordance at which the worst case is sought; ten times as many change it by less than 0.05 %."""
_SPREAD = 6.0
"""Standard deviations around the expected discordance that are added up; what lies outside is below 1e-8."""
_FINE = 0.002
"""Width to which the critical value is found; it moves the error rate by 0.02 %."""


@lru_cache(maxsize=1024)
def critical_z(n: int, discordant: int, difference: float, alpha: float = 0.05) -> float:
    """The z to use instead of the normal quantile so that P(statistic > z) <= alpha at ``difference``.

    ``discordant`` of n items were answered differently. For the other side (statistic < −z) ask with
    −difference. About 10 ms for a thousand items, and remembered.
    """
    level = arguments.inside("alpha", alpha, 0.0, 0.5)
    allowed = level - min(NEGLECTED, level / 10.0)
    low = z_of(1.0 - level)
    possible = _possible(n, discordant, difference, level)
    if _keeps(n, difference, low, possible, allowed):
        return low
    high = low + 0.1
    while not _keeps(n, difference, high, possible, allowed):
        low, high = high, high + 0.3
    while high - low > _FINE:
        middle = (low + high) / 2.0
        keeps = _keeps(n, difference, middle, possible, allowed)
        low, high = (low, middle) if keeps else (middle, high)
    return high


def p_above(gained: int, lost: int, n: int, difference: float, alpha: float = 0.05) -> float:
    """Exact p-value of "the true difference is above ``difference``": at most ``alpha`` where the statistic is
    above :func:`critical_z`.
    """
    z = paired.tango_z(gained, lost, n, difference)
    if not math.isfinite(z):
        return 0.0 if z > 0 else 1.0
    possible = _possible(n, gained + lost, difference, alpha)
    # just below the observed value, which itself counts as an outcome at least as extreme
    worst = _worst(n, difference, z - 1e-9 * max(1.0, abs(z)), possible)
    return min(1.0, worst + min(NEGLECTED, alpha / 10.0))


def chance_above(n: int, difference: float, discordance: float, bound: float, z: float) -> float:
    """P(statistic for ``bound`` > z) when the true difference and discordance are as stated."""
    d = arguments.inside("difference", difference, -1.0, 1.0)
    psi = arguments.share("discordance", discordance)
    if abs(d) > psi + 1e-12:
        raise ValueError(f"a difference of {d:g} needs a discordance of at least {abs(d):g}, not {psi:g}")
    return _exceeds(n, max(psi, 1e-12), d, fewest_gained(n, bound, z))


def fewest_gained(n: int, difference: float, z: float, most: int | None = None) -> list[int]:
    """For 0…``most`` (default: n) discordant items, how many must be gained for the statistic to exceed z (one more
    than there are: never)."""
    difference = arguments.inside("difference", difference, -1.0, 1.0)
    result, need = [], 0
    for discordant in range((n if most is None else most) + 1):
        # one discordant item more raises the need by one or not at all
        if need <= discordant and paired.unchecked_tango_z(need, discordant - need, n, difference) <= z:
            need += 1
        result.append(need)
    return result


def _possible(n: int, discordant: int, difference: float, alpha: float) -> list[float]:
    """A grid over the discordances that the data leave possible and the difference allows."""
    outside = min(NEGLECTED, alpha / 10.0) / 2.0
    least = max(abs(difference), 1e-9)
    low = max(least, clopper_pearson_lower(discordant, n, 1.0 - outside))
    high = max(least, clopper_pearson_upper(discordant, n, 1.0 - outside))
    return [low + (high - low) * (step / (GRID - 1)) ** 2 for step in range(GRID)] if high > low else [low]


def _worst(n: int, difference: float, z: float, discordances: list[float]) -> float:
    return max(_error_rates(n, difference, z, discordances))


def _keeps(n: int, difference: float, z: float, discordances: list[float], allowed: float) -> bool:
    return all(rate <= allowed for rate in _error_rates(n, difference, z, discordances))


def _error_rates(n: int, difference: float, z: float, discordances: list[float]) -> Iterator[float]:
    """P(statistic > z) at ``difference`` for each of the ``discordances``."""
    most = max(_counted(n, psi)[-1] for psi in discordances)
    fewest = fewest_gained(n, difference, z, most)
    return (_exceeds(n, psi, difference, fewest) for psi in discordances)


def _exceeds(n: int, psi: float, difference: float, fewest: list[int]) -> float:
    import numpy as np
    from scipy.special import betainc

    counted = _counted(n, psi)
    counts, need = np.array(counted), np.array(fewest[counted.start : counted.stop])
    gain = min(1.0, max(0.0, (psi + difference) / (2.0 * psi)))
    # P(Binomial(d, gain) >= need) by the incomplete beta function, which does not take a need of 0
    tails = betainc(np.maximum(1, need), np.maximum(1, counts - need + 1), gain)
    tails[need == 0] = 1.0
    tails[need > counts] = 0.0
    return min(1.0, math.fsum((_weights(n, psi) * tails).tolist()))


def _counted(n: int, psi: float) -> range:
    """The numbers of discordant items that are added up."""
    half = _SPREAD * math.sqrt(n * psi * (1.0 - psi)) + _SPREAD
    return range(max(0, math.floor(n * psi - half)), min(n, math.ceil(n * psi + half)) + 1)


@lru_cache(maxsize=4 * GRID)
def _weights(n: int, psi: float) -> NDArray[np.float64]:
    """P(d of n items discordant) for each d that is added up."""
    import numpy as np

    counts = _counted(n, psi)
    if psi >= 1.0:
        return np.array([float(d == n) for d in counts])
    ways, odds, rest = _log_choose(n), math.log(psi), math.log1p(-psi)
    return np.array([math.exp(ways[d] + d * odds + (n - d) * rest) for d in counts])


@lru_cache(maxsize=8)
def _log_choose(n: int) -> list[float]:
    every = math.lgamma(n + 1)
    return [every - math.lgamma(d + 1) - math.lgamma(n - d + 1) for d in range(n + 1)]
