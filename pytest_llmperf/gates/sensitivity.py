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
from pytest_llmperf.gates.wording import percent, show


def is_sensitive(
    low: float, high: float, margin: float, *, guess: float = 0.0, lower_is_better: bool = False
) -> bool:
    """Whether losing everything would exceed ``margin``, given the bounds of the baseline's level (all shares)."""
    if margin <= 0.0:
        return True
    return high < 1.0 - margin if lower_is_better else low > guess + margin


def checked(
    verdict: Verdict,
    level: float,
    low: float,
    high: float,
    margin: float,
    *,
    guess: float = 0.0,
    lower_is_better: bool = False,
    alpha: float,
) -> Verdict:
    """``verdict``, or INVALID in its place where the baseline's ``level`` with its two bounds shows too little."""
    if verdict.status in (Status.FAIL, Status.INVALID):
        return verdict
    if is_sensitive(low, high, margin, guess=guess, lower_is_better=lower_is_better):
        return verdict
    why = f"{verdict.metric}: {insensitive(level, low, high, margin, guess, lower_is_better, alpha)}"
    return replace(verdict, status=Status.INVALID, why=why, n_needed=None)


def insensitive(
    level: float, low: float, high: float, margin: float, guess: float, lower_is_better: bool, alpha: float
) -> str:
    """The sentence, without the metric."""
    size = f"{100 * margin:.6g} points"
    if lower_is_better:
        bound, worst, where = (
            f"upper bound {show(high, 'share')}",
            show(1.0, "share"),
            "below the worst level of",
        )
    else:
        what = "guessing" if guess else "nothing right,"
        bound, worst, where = f"lower bound {show(low, 'share')}", show(guess, "share"), f"above {what}"
    return (
        f"the margin of {size} can decide nothing: the baseline's {show(level, 'share')} "
        f"({percent(1.0 - alpha)} {bound}) does not lie {where} {worst} by more than the margin, so that a "
        "candidate that lost everything would pass; ask items that the baseline solves, or narrow the margin"
    )
