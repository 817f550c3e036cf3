"""A value that a search has shown to lie between two others, against a bound."""

from __future__ import annotations

import math

from pytest_llmperf.gates.decision import invalid
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import percent, plural, show, target


def between(
    metric: str,
    low: float | None,
    high: float | None,
    bound: float,
    *,
    unit: str,
    at_least: bool,
    n: int,
    noun: str,
    confidence: float,
) -> Verdict:
    """Is the value, at least ``low`` and below ``high``, at least (or at most) the bound?

    None: the search did not reach that end. The two are right together with ``confidence``. Nothing shown at all, NaN
    and ends the wrong way round are INVALID; ``ValueError`` for a bound that is not finite.
    """
    if not math.isfinite(bound):
        raise ValueError(f"{metric}: the bound is {bound}, a finite number is needed")
    if low is None and high is None:
        return invalid(metric, f"{plural(n, noun)} have shown neither end of it", bound=bound, n=n, unit=unit)
    known = [end for end in (low, high) if end is not None]
    if any(not math.isfinite(end) or end < 0.0 for end in known) or known != sorted(known):
        return invalid(metric, f"the ends {low} and {high} are no interval", bound=bound, n=n, unit=unit)
    reached, missed = low is not None and low >= bound, high is not None and high <= bound
    status = Status.INCONCLUSIVE
    if reached or missed:
        status = Status.PASS if reached is at_least else Status.FAIL
    name = "floor" if at_least else "limit"
    says = {
        Status.PASS: "reaches" if at_least else "stays within",
        Status.FAIL: "is below" if at_least else "is above",
        Status.INCONCLUSIVE: "is not decided against",
    }[status]
    span = " and ".join(
        [
            *([f"at least {show(low, unit)}"] if low is not None else []),
            *([f"below {show(high, unit)}"] if high is not None else []),
        ]
    )
    why = f"{metric}, {span} ({plural(n, noun)}, {percent(confidence)}), {says} the {name} {target(bound, unit)}"
    if status is Status.INCONCLUSIVE:
        why += ": search closer to it, or with more requests"
    return Verdict(
        status=status,
        metric=metric,
        observed=low if low is not None else high,
        interval=(low, high) if low is not None and high is not None else None,
        bound=bound,
        n=n,
        n_needed=None,
        method="bisection with exact bounds",
        why=why,
        unit=unit,
    )
