"""How much data a gate needs before it can decide: items for shares, rounds for ratios.

All by the normal approximation, which is within a few per cent of simulation from about thirty items or ten
rounds on. Each answers "how many, so that a gate with one-sided error ``alpha`` decides with probability
``power`` when the truth is as stated", and None means that no amount decides: the truth is on the bound.
"""

from __future__ import annotations

import math

from pytest_llmperf.stats import arguments, paired
from pytest_llmperf.stats.binomial import z_of
from pytest_llmperf.stats.hodges_lehmann import least_n

MOST = 10_000_000
"""Beyond this a number is no advice."""


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


def smallest_drop(
    n: int, discordance: float, margin: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The smallest true drop (a share, e.g. 0.05) beyond ``margin`` that n paired items call FAIL with
    ``power``.
    """
    if n < 1:
        raise ValueError(f"n is {n}, at least one item is needed")
    low, high = arguments.share("margin", margin), 1.0 - 1e-9
    for _ in range(60):
        middle = (low + high) / 2.0
        needed = items_for_margin(-middle, margin, discordance, alpha=alpha, power=power)
        if needed is None or needed > n:
            low = middle
        else:
            high = middle
    return high


def _whole(raw: float, least: int) -> int | None:
    return None if not math.isfinite(raw) or raw > MOST else max(least, math.ceil(raw))
