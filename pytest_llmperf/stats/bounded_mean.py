"""Bounds for the mean of a quantity with known limits, from independent values, whatever their distribution.

The lower bound adds the lowest possible value to the n that were seen and takes the ``alpha`` quantile of their mean
under weights drawn from Dirichlet(1, …, 1): a Bayesian bootstrap that has also seen the worst. Gaffke (2005),
Mathematical Methods of Statistics 14, 451; Learned-Miller and Thomas (2020), arXiv 1905.06208. For zeros and ones it
is the bound of Clopper and Pearson; for values that spread evenly it comes close to Student's t, which has hardly any
width where the rare bad items are missing. That the error stays below ``alpha`` is proved for two-valued quantities;
for others no counterexample is known (docs/statistics.md has simulations). A betting interval (Waudby-Smith and Ramdas
2024) is proved for all of them and about 1.5 times as wide.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from pytest_llmperf.stats import arguments

_STEP = 0.1
"""Distance between the points of the quadrature; half of it changes no probability by 1e-9."""
_NEGLIGIBLE = 1e-12
_BISECTIONS = 16
"""The saddle point need not be exact: near it the integrand hardly oscillates."""
_TIE = 1e-12


def lower(values: Sequence[float], least: float, alpha: float = 0.05) -> float:
    """One-sided lower bound for the mean of values that are never below ``least``.

    Raises ``ValueError`` without values, for a value that is not finite or is below ``least``.
    """
    from scipy.optimize import brentq

    level = arguments.inside("alpha", alpha, 0.0, 0.5)
    counted = _counted(values, least)
    if max(counted) - least <= 2.0 * _TIE:
        return least
    return float(brentq(lambda mean: _chance_below(counted, mean) - level, least, max(counted), xtol=1e-9))


def upper(values: Sequence[float], most: float, alpha: float = 0.05) -> float:
    """The mirror image of :func:`lower`."""
    return -lower([-value for value in values], -most, alpha)


def p_above(values: Sequence[float], least: float, mean: float) -> float:
    """P-value of "the true mean is above ``mean``": at most ``alpha`` exactly where :func:`lower` is at or above it."""
    return _chance_below(_counted(values, least), arguments.finite("mean", mean))


def p_below(values: Sequence[float], most: float, mean: float) -> float:
    """P-value of "the true mean is below ``mean``", to go with :func:`upper`."""
    return p_above([-value for value in values], -most, -mean)


def _counted(values: Sequence[float], least: float) -> Counter[float]:
    """Every value with how often it was seen, and ``least`` once more."""
    given = [arguments.finite("value", value) for value in values]
    if not given:
        raise ValueError("no values were given, at least one is needed")
    if min(given) < least:
        raise ValueError(f"a value is {min(given):g}, it must not be below {least:g}")
    return Counter([*given, least])


def _chance_below(counted: Counter[float], mean: float) -> float:
    """P(Σ wᵢ·valueᵢ < mean) under Dirichlet weights, by the sign of a sum of exponential variables.

    With wᵢ = Eᵢ / ΣE it is P(Σ (valueᵢ − mean)·Eᵢ < 0): the inversion integral of the moment generating function,
    through the saddle point, where the integrand does not oscillate (Daniels 1954, Annals of Mathematical
    Statistics 25, 631).
    """
    import numpy as np

    times = np.fromiter(counted.values(), float)
    gaps = np.fromiter(counted.keys(), float) - mean
    gaps[np.abs(gaps) < _TIE] = 0.0
    if gaps.min() >= 0.0:
        return 0.0
    if gaps.max() <= 0.0:
        return 1.0
    # The chance that the sum is on the other side of 0 than its mean.
    side = 1.0 if float((times * gaps).sum()) >= 0.0 else -1.0
    gaps = side * gaps / math.sqrt(float((times * gaps**2).sum()))
    low, high = 1.0 / float(gaps.min()), 0.0
    for _ in range(_BISECTIONS):
        saddle = (low + high) / 2.0
        slope = float((times * gaps / (1.0 - gaps * saddle)).sum()) - 1.0 / saddle
        low, high = (low, saddle) if slope > 0.0 else (saddle, high)
    scaled = gaps / (1.0 - gaps * saddle)
    width = 1.0 / math.sqrt(float((times * scaled**2).sum()) + 1.0 / saddle**2)
    # Few values have heavy tails, which the sinh makes light.
    reach = 1.0
    while float((times * np.log1p((scaled * width * math.sinh(reach)) ** 2)).sum()) < -2.0 * math.log(
        _NEGLIGIBLE
    ):
        reach *= 1.2
    steps = np.arange(0.0, reach, _STEP)
    across = 1j * width * np.sinh(steps)
    factors = 1.0 - scaled[:, None] * across
    several = times > 1
    factors[several] **= times[several, None]
    inside = (np.cosh(steps) / (-(saddle + across) * factors.prod(axis=0))).real
    inside[0] /= 2.0
    peak = math.exp(-float((times * np.log1p(-gaps * saddle)).sum()))
    area = float(inside.sum()) * _STEP * width * peak / math.pi
    chance = min(1.0, max(0.0, area))
    return chance if side > 0.0 else 1.0 - chance
