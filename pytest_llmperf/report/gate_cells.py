"""A verdict's numbers as they stand in every table of gates, whoever draws it."""

from __future__ import annotations

from typing import NamedTuple

from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.units import format_bound, format_interval, format_value

NUMBERS = ("candidate", "baseline", "compared", "interval", "bound")


class GateCells(NamedTuple):
    """Text in the order of ``NUMBERS``; an em dash for what the verdict does not have.

    Without a baseline there is nothing compared, and what was observed is the candidate's.
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
