"""Assay sensitivity: a margin says something only where the baseline can be told from guessing by more than it.

In a non-inferiority trial the reference treatment must itself be known to work: else two treatments that both do
nothing are "not inferior" to each other (ICH E10, section 1.5). Here: a baseline that is right in 2 % of the items
loses everything and stays within a margin of three points, so that a candidate that answers nothing would pass. The
gate is INVALID unless the one-sided bound of the baseline's own level lies above guessing by more than the margin.
For an unwanted behaviour, where low values are good, the worst level is 1, and the baseline's upper bound must lie
below it by more than the margin.

A FAIL stays: a loss that was shown is a loss. A margin of zero or an asked-for improvement needs no such proof,
since a difference that is shown proves that the items can show one.
"""

from __future__ import annotations

from dataclasses import replace

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.stats.binomial import clopper_pearson_lower, clopper_pearson_upper
from pytest_llmperf.units import format_size, format_value, percent


def is_sensitive(
    low: float, high: float, margin: float, *, guess: float = 0.0, at_least: bool = True
) -> bool:
    """Return whether losing everything would exceed ``margin``, given the bounds of the baseline's level (shares)."""
    if margin <= 0.0:
        return True
    return low > guess + margin if at_least else high < 1.0 - margin


def checked(
    verdict: Verdict,
    level: float,
    low: float,
    high: float,
    margin: float,
    *,
    guess: float = 0.0,
    at_least: bool = True,
    alpha: float,
) -> Verdict:
    """Return ``verdict``, or INVALID where the baseline's ``level`` with its two bounds shows too little."""
    if verdict.status in (Status.FAIL, Status.INVALID):
        return verdict
    if is_sensitive(low, high, margin, guess=guess, at_least=at_least):
        return verdict
    why = f"{verdict.metric}: {_insensitive(level, low, high, margin, guess, at_least, alpha)}"
    return replace(verdict, status=Status.INVALID, why=why, n_needed=None)


def planned_trouble(
    n: int, margin: float, prior: Verdict | None, *, guess: float, at_least: bool = True, alpha: float
) -> str:
    """Return why a margin over ``n`` items will decide nothing; empty where it may.

    The baseline's level is that of ``prior``, the gate's verdict in an earlier run; without one, the best there is.
    """
    if not -1.0 < margin < 1.0:
        return ""
    best = 1.0 if at_least else 0.0
    level = best if prior is None or prior.baseline is None else min(1.0, max(0.0, prior.baseline))
    low = clopper_pearson_lower(level * n, float(n), 1.0 - alpha)
    high = clopper_pearson_upper(level * n, float(n), 1.0 - alpha)
    if is_sensitive(low, high, margin, guess=guess, at_least=at_least):
        return ""
    return f"will be INVALID: {_insensitive(level, low, high, margin, guess, at_least, alpha)}"


def _insensitive(
    level: float, low: float, high: float, margin: float, guess: float, at_least: bool, alpha: float
) -> str:
    """Return the sentence, without the metric."""
    if at_least:
        what = "guessing" if guess else "nothing right,"
        bound, worst, where = (
            f"lower bound {format_value(low, 'share')}",
            format_value(guess, "share"),
            f"above {what}",
        )
    else:
        bound, worst = f"upper bound {format_value(high, 'share')}", format_value(1.0, "share")
        where = "below the worst level of"
    return (
        f"the margin of {format_size(margin, 'points')} can decide nothing: "
        f"the baseline's {format_value(level, 'share')} ({percent(1.0 - alpha)} {bound}) does not lie {where} {worst} "
        "by more than the margin, so that a "
        "candidate that lost everything would pass; ask items that the baseline solves, or narrow the margin"
    )
