"""Verdicts on series of recorded runs: FAIL for one that has drifted for the worse, beyond chance and what matters.

A series that alarms beyond two standard deviations alarms in one night of forty, thirty of them every other night. Here
all comparisons of a night are one family (Holm), so that of the nights with nothing wrong at most :data:`ALPHA` alarm,
however many series there are. PASS means that no drift is shown; the bound of the verdict is the level
from which on one would be.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.gates.decision import invalid
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.record.series import OTHER_TESTS, MetricSeries
from pytest_llmperf.stats import holm
from pytest_llmperf.stats.drift import LEAST, LEAST_SIGMAS, RECENT, Shift, comparisons, shifts
from pytest_llmperf.units import format_value

ALPHA = 0.05
LEAST_CHANGE = 0.01
"""A change below 1 % of the level (of shares: one point) is none that anybody acts on."""
METHOD = f"median of {RECENT} nights against the nights before, prediction interval, Holm"


def drift_verdicts(every: Sequence[MetricSeries], alpha: float = ALPHA) -> list[Verdict]:
    """A verdict for each series, but for those whose newest run was of other tests; the worst first."""
    judged = [series for series in every if series.missing != OTHER_TESTS]
    family = sum(comparisons(len(series.values)) for series in judged if not series.missing)
    found = [(series, [] if series.missing else _shifts(series, alpha / max(1, family))) for series in judged]
    adjusted = iter(holm.adjusted([shift.p_value for _, of in found for shift in of]))
    verdicts = [
        _verdict(series, [(shift, next(adjusted)) for shift in of], alpha, family) for series, of in found
    ]
    order = (Status.FAIL, Status.INVALID, Status.INCONCLUSIVE, Status.PASS)
    return sorted(verdicts, key=lambda verdict: order.index(verdict.status))


def _shifts(series: MetricSeries, level: float) -> list[Shift]:
    # Of a share, one item more or less in the smallest of the runs.
    step = 1.0 / max(1, min(point.n for point in series.points)) if series.unit == "share" else 0.0
    return shifts(series.values, higher_is_worse=series.higher_is_worse, level=level, step=step)


def _verdict(
    series: MetricSeries, tested: Sequence[tuple[Shift, float]], alpha: float, family: int
) -> Verdict:
    n, unit = len(series.values), series.unit
    if series.missing:
        return invalid(series.name, series.missing, n=n, unit=unit)
    if not tested:
        why = f"{series.name}: {plural(n, 'like run')}; {LEAST} show how much the nights differ{_others(series)}"
        return Verdict(Status.INCONCLUSIVE, series.name, None, None, None, n, LEAST, METHOD, why, unit)
    shift, p_value = min(tested, key=lambda each: each[1])
    worse = p_value <= alpha and shift.sigmas >= LEAST_SIGMAS and _matters(shift, unit)
    level = format_value(shift.recent, unit)
    before = f"{format_value(shift.before, unit)} in {plural(shift.n, 'night')} before"
    size = f"{_change(shift, unit)}, {shift.sigmas:.1f} σ of a night"
    of = f"p = {p_value:.2g} among {plural(family, 'comparison')}"
    last = series.points[-1].record.written[:10] or "?"
    why = (
        f"{series.name} has drifted: {level} over the last {RECENT} nights to {last}, {before} ({size}, {of})"
        if worse
        else f"{series.name}: no drift shown, {level} over the last {RECENT} nights, {before} ({size})"
    )
    return Verdict(
        Status.FAIL if worse else Status.PASS,
        series.name,
        shift.recent,
        None,
        _alarms_at(shift, series),
        n,
        None,
        METHOD,
        why + _others(series),
        unit,
        candidate=shift.recent,
        baseline=shift.before,
        p_value=p_value,
        level_unit=unit,
    )


def _matters(shift: Shift, unit: str) -> bool:
    size = abs(shift.recent - shift.before)
    return size >= LEAST_CHANGE * (1.0 if unit == "share" else abs(shift.before))


def _change(shift: Shift, unit: str) -> str:
    if unit == "share" or shift.before == 0.0:
        return format_value(shift.recent - shift.before, "points" if unit == "share" else unit)
    return f"{100.0 * (shift.recent / shift.before - 1.0):+.1f} %".replace("-", "\N{MINUS SIGN}")


def _alarms_at(shift: Shift, series: MetricSeries) -> float:
    least = LEAST_CHANGE * (1.0 if series.unit == "share" else abs(shift.before))
    if series.higher_is_worse:
        return max(shift.limit, shift.before + least)
    return min(shift.limit, shift.before - least)


def _others(series: MetricSeries) -> str:
    said = [
        f"{count} of {why}" if why.startswith("another") else f"{count} that {why}"
        for why, count in series.left_out.items()
    ]
    return f"; left out: {', '.join(said)}" if said else ""
