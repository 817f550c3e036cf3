"""One measurement against a budget: memory, size of the weights, time to ready.

There is no interval, because one measurement tells nothing of its own spread; the verdict says so. Fit only
for what hardly varies from run to run, or for budgets with room for it.
"""

from __future__ import annotations

import math

from pytest_llmperf.gates.decision import invalid
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import show, target

METHOD = "single measurement"


def at_most_value(
    metric: str, value: float | None, budget: float, *, unit: str, may_be_zero: bool = False
) -> Verdict:
    """Is the one measured ``value`` at most ``budget``?

    None, NaN, infinity, a negative value and (unless ``may_be_zero``: a count) zero are INVALID, not small.
    """
    return _judge(metric, value, budget, unit, at_least=False, may_be_zero=may_be_zero)


def at_least_value(
    metric: str, value: float | None, floor: float, *, unit: str, may_be_zero: bool = False
) -> Verdict:
    """Is the one measured ``value`` at least ``floor``? Refuses what :func:`at_most_value` refuses."""
    return _judge(metric, value, floor, unit, at_least=True, may_be_zero=may_be_zero)


def value_ratio(
    metric: str,
    candidate: float | None,
    baseline: float | None,
    budget: float,
    *,
    unit: str,
    at_least: bool = False,
) -> Verdict:
    """Is candidate/baseline, each measured once, at most ``budget`` (``at_least``: at least)?"""
    if not (math.isfinite(budget) and budget > 0.0):
        raise ValueError(f"{metric}: the budget for the ratio is {budget}, a number above zero is needed")
    for side, value in (("candidate", candidate), ("baseline", baseline)):
        if trouble := _unusable(value, may_be_zero=False):
            return invalid(f"{metric} ratio", f"{side}: {trouble}", bound=budget, unit="ratio", method=METHOD)
    assert candidate is not None, "refused above"
    assert baseline is not None, "refused above"
    ratio = candidate / baseline
    met = ratio >= budget if at_least else ratio <= budget
    aside = f"{show(candidate, unit)} against {show(baseline, unit)}, a single measurement each"
    return _verdict(
        f"{metric} ratio", ratio, budget, "ratio", met, at_least, aside, candidate, baseline, level_unit=unit
    )


def _judge(
    metric: str, value: float | None, bound: float, unit: str, *, at_least: bool, may_be_zero: bool
) -> Verdict:
    if not math.isfinite(bound):
        raise ValueError(f"{metric}: the bound is {bound}, a finite number is needed")
    if trouble := _unusable(value, may_be_zero=may_be_zero):
        return invalid(metric, trouble, bound=bound, unit=unit, method=METHOD)
    assert value is not None, "None was refused above"
    met = value >= bound if at_least else value <= bound
    return _verdict(metric, float(value), bound, unit, met, at_least, METHOD, float(value), None)


def _verdict(
    metric: str,
    observed: float,
    bound: float,
    unit: str,
    met: bool,
    at_least: bool,
    aside: str,
    candidate: float | None,
    baseline: float | None,
    level_unit: str = "",
) -> Verdict:
    name = "floor" if at_least else "budget"
    relation = {
        (True, True): "reaches",
        (True, False): "is below",
        (False, True): "stays within",
        (False, False): "is above",
    }[at_least, met]
    return Verdict(
        status=Status.PASS if met else Status.FAIL,
        metric=metric,
        observed=observed,
        interval=None,
        bound=bound,
        n=1,
        n_needed=None,
        method=METHOD,
        why=f"{metric} {show(observed, unit)} ({aside}) {relation} the {name} {target(bound, unit)}",
        unit=unit,
        candidate=candidate,
        baseline=baseline,
        level_unit=level_unit,
    )


def _unusable(value: float | None, *, may_be_zero: bool) -> str | None:
    if value is None:
        return "nothing was measured"
    if not math.isfinite(value):
        return f"the value is {value}, which is not a measurement"
    if value < 0.0 or (value == 0.0 and not may_be_zero):
        return f"the value is {value:g}, a measured value is above zero"
    return None
