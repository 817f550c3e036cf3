"""Speed measured over several starts of each server: the starts are the sample, not the rounds.

Two starts of one model differ by more than rounds of one start do (memory layout, graph capture, clocks), so an
interval over rounds says whether *these two processes* differ, not whether the models do. A start is a random
effect, and its mean log ratio is one observation (Searle, Casella, McCulloch 1992, Variance Components, ch. 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.stats import arguments
from pytest_llmperf.stats.binomial import z_of

LEAST_STARTS = 3
"""With two, the t quantile is 6.3 and the interval decides nothing that anybody asks."""


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
