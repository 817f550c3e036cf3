"""The numbers of a verdict, the same in every table of gates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.units import format_bound, format_interval, format_value

NUMBERS = ("candidate", "baseline", "compared", "interval", "bound")


class GateCells(NamedTuple):
    """Texts in the order of ``NUMBERS``; an em dash for a number that the verdict does not have.

    Without a baseline nothing is compared, and the observed value is the candidate's.
    """

    candidate: str
    baseline: str
    compared: str
    interval: str
    bound: str


def gate_cells(verdict: Verdict) -> GateCells:
    unit = verdict.unit
    level = verdict.level_unit or unit
    compared = verdict.candidate is not None and verdict.baseline is not None
    return GateCells(
        format_value(verdict.candidate if compared else verdict.observed, level),
        format_value(verdict.baseline, level),
        format_value(verdict.observed, unit) if compared else "—",
        format_interval(verdict.interval, unit),
        format_bound(verdict.bound, unit),
    )


def flips_line(verdicts: Iterable[Verdict]) -> str:
    """``flips: gsm8k accuracy 12.4 % (10.6 % … 14.3 %); …`` of the gates that pair items; empty without one."""
    found = dict.fromkeys(
        f"{verdict.metric} {format_value(verdict.flips, 'share')} ({format_interval(verdict.flips_interval, 'share')})"
        for verdict in verdicts
        if verdict.flips is not None
    )
    return f"flips (one side right, the other not): {'; '.join(found)}" if found else ""
