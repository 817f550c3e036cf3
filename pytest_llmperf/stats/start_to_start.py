"""Speed measured over several starts of each server: the starts are the sample, not the rounds.

Two starts of one model differ by more than rounds of one start do (memory layout, graph capture, clocks), so an
interval over rounds says whether *these two processes* differ, not whether the models do. A start is a random
effect, and its mean log ratio is one observation (Searle, Casella, McCulloch 1992, Variance Components, ch. 3).

With one or two pairs of starts their spread cannot be measured. It is then what earlier starts on the same machine
showed, together with a prior for what nobody has measured yet (:func:`spread_quantile`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pytest_llmperf.stats import arguments
from pytest_llmperf.stats.binomial import z_of

LEAST_STARTS = 3
"""With two, the t quantile is 6.3 and the interval decides nothing that anybody asks."""
ASSUMED_DEVIATION = 0.03
"""Prior standard deviation of one start's log value. Pairs of starts of one vLLM server on an H100 differed by 2 to
11 % in time per output token and by 10 % in throughput (docs/evidence/README.md)."""
ASSUMED_FREEDOM = 3
"""Degrees of freedom of that prior: one pair of starts in twelve differs by more than 11 %, one in two by more than
3 %."""

_PAIR_DEVIATION = math.sqrt(2.0) * ASSUMED_DEVIATION
"""Both sides are started."""
_GRID = 160

Centre = tuple[float, float]
"""Log ratio of one pair of starts, and its standard error from the rounds."""


@dataclass(frozen=True)
class StartVariation:
    """Standard deviations (of logs: 0.03 is 3 %) between starts and between the rounds of one start."""

    between: float
    within: float
    starts: int
    rounds: float


def variation(starts: Sequence[Sequence[float]]) -> StartVariation:
    """Variance components by analysis of variance; ``between`` is 0 where the rounds explain all of it.

    Each entry holds the log values of one start's rounds, two or more; two starts at least.
    """
    if len(starts) < 2:
        raise ValueError(f"{len(starts)} starts were given, at least 2 are needed")
    groups = [arguments.samples_of(start, least=2) for start in starts]
    means = [math.fsum(group) / len(group) for group in groups]
    total = sum(len(group) for group in groups)
    grand = math.fsum(value for group in groups for value in group) / total
    k = len(groups)
    inside = math.fsum((v - m) ** 2 for g, m in zip(groups, means, strict=True) for v in g) / (total - k)
    among = math.fsum(len(g) * (m - grand) ** 2 for g, m in zip(groups, means, strict=True)) / (k - 1)
    typical = (total - sum(len(g) ** 2 for g in groups) / total) / (k - 1)
    return StartVariation(math.sqrt(max(0.0, (among - inside) / typical)), math.sqrt(inside), k, typical)


def bounds(ratios: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """One-sided bounds for the mean log ratio from one value a pair of starts: Student's t over starts.

    ``ratios`` holds, for each pair of starts, the centre of its rounds' log ratios. ``ValueError`` below
    :data:`LEAST_STARTS`.
    """
    from scipy.special import stdtrit

    values = arguments.samples_of(ratios, least=LEAST_STARTS)
    level = arguments.inside("confidence", confidence, 0.0, 1.0)
    mean, error = _mean_and_error(values)
    half = float(stdtrit(len(values) - 1, level)) * error
    return mean - half, mean + half


def p_above(ratios: Sequence[float], centre: float) -> float:
    """One-sided p-value of "the mean log ratio is above ``centre``", to go with :func:`bounds`."""
    from scipy.special import stdtr

    values = arguments.samples_of(ratios, least=LEAST_STARTS)
    mean, error = _mean_and_error(values)
    gap = arguments.finite("centre", centre) - mean
    if error == 0.0:
        return 0.0 if gap < 0.0 else 1.0
    return float(stdtr(len(values) - 1, gap / error))


def t_of(freedom: int, level: float) -> float:
    """Student's t quantile."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, level))


def spread_quantile(remembered: tuple[tuple[Centre, ...], ...], level: float) -> float:
    """Return the quantile of the effect of one pair of starts on its log ratio, given the starts of earlier runs.

    ``remembered`` holds their centres, grouped by what was compared: a group has a mean of its own. Each centre is
    normal around it with variance τ² + error². The prior of τ² is scaled inverse chi-squared with
    :data:`ASSUMED_FREEDOM` degrees of freedom around 2·:data:`ASSUMED_DEVIATION`² (both sides are started), so that
    without centres the quantile is Student's t times that deviation (Gelman et al. 2013, Bayesian Data Analysis,
    section 2.6). The more centres, the less the prior matters.
    """
    if all(len(group) < 2 for group in remembered):
        return _PAIR_DEVIATION * t_of(ASSUMED_FREEDOM, level)
    return _quantile_of_spread(remembered, level)


def spread_seen(remembered: tuple[tuple[Centre, ...], ...]) -> float:
    """Return the typical deviation of one pair's log ratio: one over the root of the posterior's mean precision."""
    if all(len(group) < 2 for group in remembered):
        return _PAIR_DEVIATION
    return math.sqrt(1.0 / math.fsum(weight / variance for variance, weight in _posterior(remembered)))


@lru_cache(maxsize=4096)
def _quantile_of_spread(remembered: tuple[tuple[Centre, ...], ...], level: float) -> float:
    posterior = [(math.sqrt(2.0 * variance), weight) for variance, weight in _posterior(remembered)]
    beyond = 1.0 - level
    low, high = 0.0, 100.0 * _PAIR_DEVIATION * 10.0
    for _ in range(48):
        middle = (low + high) / 2.0
        if math.fsum(weight * math.erfc(middle / scale) for scale, weight in posterior) / 2.0 > beyond:
            low = middle
        else:
            high = middle
    return high


@lru_cache(maxsize=256)
def _posterior(remembered: tuple[tuple[Centre, ...], ...]) -> list[tuple[float, float]]:
    """Return variances of the effect of one pair of starts with their probabilities, evenly spaced in the logarithm."""
    found: list[tuple[float, float]] = []
    for step in range(_GRID + 1):
        variance = _PAIR_DEVIATION**2 * 10.0 ** (4.0 * (2.0 * step / _GRID - 1.0))
        log = -ASSUMED_FREEDOM / 2.0 * (math.log(variance) + _PAIR_DEVIATION**2 / variance)
        for group in remembered:
            precisions = [1.0 / (variance + error**2) for _, error in group]
            total = math.fsum(precisions)
            mean = math.fsum(p * centre for p, (centre, _) in zip(precisions, group, strict=True)) / total
            misfit = math.fsum(
                p * (centre - mean) ** 2 for p, (centre, _) in zip(precisions, group, strict=True)
            )
            log += (math.fsum(map(math.log, precisions)) - math.log(total) - misfit) / 2.0
        found.append((variance, log))
    best = max(log for _, log in found)
    weights = [math.exp(log - best) for _, log in found]
    return [(variance, w / sum(weights)) for (variance, _), w in zip(found, weights, strict=True)]


def bounds_by_memory(
    centres: Sequence[Centre],
    within: Sequence[tuple[float, float]],
    remembered: tuple[tuple[Centre, ...], ...],
    confidence: float,
) -> tuple[float, float]:
    """One-sided bounds for the mean log ratio from fewer than :data:`LEAST_STARTS` pairs of starts.

    ``within`` holds, for each pair, the bounds of its own rounds at the same confidence (with several looks at the
    rounds: at one that all looks keep together). The distance to each bound adds the spread of starts and the error of
    the rounds in squares.
    """
    starts, effect = len(centres), effect_of(centres, remembered, confidence)
    mean = math.fsum(centre for centre, _ in centres) / starts
    below = math.fsum((centre - low) ** 2 for (centre, _), (low, _) in zip(centres, within, strict=True))
    above = math.fsum((high - centre) ** 2 for (centre, _), (_, high) in zip(centres, within, strict=True))
    return (
        mean - math.sqrt(effect**2 + below / starts**2),
        mean + math.sqrt(effect**2 + above / starts**2),
    )


def effect_of(
    centres: Sequence[Centre], remembered: tuple[tuple[Centre, ...], ...], confidence: float
) -> float:
    """Return the part of :func:`bounds_by_memory` that the spread of starts has in the distance to each bound."""
    known = (*remembered, tuple(centres)) if len(centres) > 1 else remembered
    return spread_quantile(known, arguments.inside("confidence", confidence, 0.5, 1.0)) / math.sqrt(
        len(centres)
    )


def starts_needed(
    gap: float, seen: StartVariation, rounds: int, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Pairs of starts, each measured over ``rounds`` rounds, after which a log ratio ``gap`` off is decided.

    ``seen`` is the variation of the *log ratio* of a pair. None when the gap is zero.
    """
    from scipy.special import nctdtr, stdtrit

    distance = abs(arguments.finite("gap", gap))
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}, at least one is needed")
    if distance < 1e-12:
        return None
    spread = math.sqrt(seen.between**2 + seen.within**2 / rounds)
    if spread == 0.0:
        return LEAST_STARTS
    raw = ((z_of(1.0 - alpha) + z_of(power)) * spread / distance) ** 2
    if raw > 100_000:
        return None
    starts = max(LEAST_STARTS, math.floor(raw))
    while True:
        shift = min(30.0, distance / spread * math.sqrt(starts))
        if nctdtr(starts - 1, shift, float(stdtrit(starts - 1, 1.0 - alpha))) <= 1.0 - power:
            return starts
        starts += 1


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))
