"""The one rule by which bounds become a verdict, and the sentence that says so.

PASS when the bound on the unfavourable side meets the target, FAIL when the bound on the favourable side
misses it, else INCONCLUSIVE. Both bounds are one-sided at 1 − alpha, so each of the two wrong decisions has
at most the probability alpha at the target, and less everywhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_llmperf.gates.sentence import Told, count_words
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import about, plural
from pytest_llmperf.units import percent

ALPHA = 0.05
"""Probability of a wrong PASS, and of a wrong FAIL, when the truth is exactly at the target."""
MAX_LOST_SHARE = 0.02
"""Infrastructure errors above this share make a gate INVALID: something else than the model was measured. Fewer are
bounded by the worst and the best that they can have been (:func:`lost_decide`), so that a narrow margin bears fewer."""


@dataclass(frozen=True)
class Estimate:
    """A point, its two one-sided bounds and how they were made; all in ``unit``."""

    metric: str
    unit: str
    observed: float
    low: float
    high: float
    n: int
    noun: str
    method: str


def status_of(low: float, high: float, bound: float, *, at_least: bool) -> Status:
    """The rule above; ``at_least``: high values are good."""
    if at_least:
        return Status.PASS if low >= bound else Status.FAIL if high < bound else Status.INCONCLUSIVE
    return Status.PASS if high <= bound else Status.FAIL if low > bound else Status.INCONCLUSIVE


def verdict_of(
    estimate: Estimate,
    bound: float,
    *,
    at_least: bool,
    bound_name: str,
    alpha: float,
    p_value: float | None,
    n_needed: int | None,
    candidate: float | None = None,
    baseline: float | None = None,
    level_unit: str = "",
    detail: str = "",
    planned: int | None = None,
    available: int | None = None,
    lost_turn: str = "",
) -> Verdict:
    """Decide, and say so (:mod:`~pytest_llmperf.gates.sentence`).

    ``planned``: the data that would have been measured had the gate not been decided early. ``lost_turn``: what
    :func:`lost_decide` says of the lost items, where it is them that leave the question open.
    """
    e = estimate
    status = status_of(e.low, e.high, bound, at_least=at_least)
    n_needed = enough(n_needed, e.n) if status is Status.INCONCLUSIVE and not lost_turn else None
    told = Told(
        metric=e.metric,
        unit=e.unit,
        status=status,
        observed=e.observed,
        low=e.low,
        high=e.high,
        bound=bound,
        at_least=at_least,
        alpha=alpha,
        counted=count_words(e.n, e.noun, planned),
        turn=lost_turn or would_decide(n_needed, e.noun, available),
    )
    if e.unit in {"ratio", "points"} and candidate is not None and baseline is not None:
        why = told.against_baseline(candidate, baseline, level_unit)
    else:
        why = told.against_bound(bound_name)
    return Verdict(
        status=status,
        metric=e.metric,
        observed=e.observed,
        interval=(e.low, e.high),
        bound=bound,
        n=e.n,
        n_needed=n_needed,
        method=e.method,
        why=why,
        unit=e.unit,
        candidate=candidate,
        baseline=baseline,
        detail=detail,
        p_value=p_value,
        level_unit=level_unit,
    )


def p_value_of(bound: Callable[[float], float], target: float, *, at_least: bool) -> float:
    """Return the p-value of "the target is met": the smallest error at which the favourable bound misses it.

    ``bound`` gives the upper (``at_least`` False: lower) bound at an error between 0 and 0.5, the closer to the
    estimate the more error. Found to a hundredth of itself, on the safe side; 1 where no such error misses the target.
    """
    sign = 1.0 if at_least else -1.0

    def missed(alpha: float) -> bool:
        return sign * bound(alpha) < sign * target

    low, high = math.log(1e-12), math.log(0.499)
    if not missed(math.exp(high)):
        return 1.0
    while high - low > 0.01:
        middle = (low + high) / 2.0
        low, high = (low, middle) if missed(math.exp(middle)) else (middle, high)
    return math.exp(high)


def invalid(
    metric: str,
    why: str,
    *,
    bound: float | None = None,
    n: int = 0,
    n_needed: int | None = None,
    unit: str = "",
    method: str = "not judged",
    detail: str = "",
) -> Verdict:
    """The verdict on data that cannot be judged; ``why`` follows the metric in one sentence."""
    kept = bound if bound is not None and math.isfinite(bound) else None
    return Verdict(
        Status.INVALID, metric, None, None, kept, n, n_needed, method, f"{metric}: {why}", unit, detail=detail
    )


def enough(n_needed: int | None, n: int) -> int | None:
    """An undecided gate needs more data than it had, whatever the approximation says."""
    return None if n_needed is None else max(n_needed, n + 1)


def would_decide(n_needed: int | None, noun: str, available: int | None = None) -> str:
    """Second half of an INCONCLUSIVE sentence; ``available``: the data that there are at most, None if unknown."""
    if n_needed is None:
        return ": the truth seems to lie too close to it for any practical amount of data"
    if available is not None and n_needed > available:
        return (
            f": about {about(n_needed)} {noun}s would decide it, and the task has {available:,}: "
            "add items, ask for several answers to each (samples), or allow more"
        )
    return f": about {about(n_needed)} {noun}s would decide it"


def lost_decide(lost: int, without: Status, now: Status, noun: str) -> str:
    """Second half of an INCONCLUSIVE sentence where it is the lost items that leave the question open, else empty.

    ``without``: the status of the items that came; ``now``: with the lost ones counted as the worst and the best that
    they can have been (Manski 1990, American Economic Review 80, 319), which keeps both errors whatever made them be
    lost.
    """
    if now is not Status.INCONCLUSIVE or without not in (Status.PASS, Status.FAIL):
        return ""
    return (
        f": the {plural(lost, f'lost {noun}')} could turn the {without.value} of the others; "
        "ask again where fewer are lost"
    )


LOST = "ended in infrastructure errors"


def decide_ratio(
    found: Estimate,
    bounds: Callable[[float], tuple[float, float]],
    threshold: float,
    *,
    at_least: bool,
    alpha: float,
    levels: Sequence[float],
    level_unit: str,
    detail: str,
) -> Verdict:
    """Decide a ratio by its one-sided ``bounds`` at an error; the numbers needed follow on the log scale.

    ``levels`` are those of the candidate and, where it is compared with one, the baseline.
    """
    value, high = found.observed, found.high
    distance = abs(math.log(value / threshold)) if value else 0.0
    width = math.log(high / value) if value else 0.0
    paired = len(levels) == 2
    return verdict_of(
        found,
        threshold,
        at_least=at_least,
        bound_name="floor" if at_least else "budget",
        alpha=alpha,
        p_value=p_value_of(lambda error: bounds(error)[1 if at_least else 0], threshold, at_least=at_least),
        n_needed=math.ceil(found.n * (width / distance) ** 2) if distance else None,
        candidate=levels[0] if paired else None,
        baseline=levels[1] if paired else None,
        level_unit=level_unit if paired else "",
        detail=detail,
    )


def too_many_lost(lost: int, asked: int, allowed: float, noun: str) -> str | None:
    """The sentence for too many infrastructure errors; None when their share is allowed."""
    if asked and lost / asked > allowed:
        return (
            f"{lost} of {plural(asked, noun)} {LOST} "
            f"({percent(lost / asked)}, allowed {percent(allowed)}), which say nothing of the model"
        )
    return None
