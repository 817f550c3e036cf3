"""The forecast of one gate before any data: how often it errs with nothing wrong, and what damage it catches.

Every kind of gate makes its own (``Gate.plan``), for a fixed number of data by ``stats.operating_characteristics``.
Early looks can only end a gate sooner; the part of the error that they cost is taken off (``early_stopping.final`` of a
share, ``early_stopping.MARGIN_POWER`` of a margin).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pytest_llmperf.gates.decision import invalid
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.stats.operating_characteristics import Chances
from pytest_llmperf.units import percent

WANTED = 0.95
"""A gate that passes less often than this with nothing wrong gets a warning."""
OFTEN = 0.80

CaughtUnit = Literal["points", "slower", "beyond", ""]
"""``points`` of a share, ``slower`` as a share of the time, ``beyond`` the share of samples outside the bound."""


@dataclass(frozen=True, kw_only=True)
class PlannedGate:
    """One gate before its data.

    ``caught_often`` and ``caught``: the smallest damage that FAILs with probability :data:`OFTEN` and :data:`WANTED`;
    None where no damage does, or none can be computed. ``chances``: with nothing wrong; None where no truth is assumed.
    """

    label: str
    unit: str
    bound: float | None
    at_least: bool
    n: int
    noun: str
    at_most: bool = False
    """The gate may stop before ``n``."""
    assumed: str = ""
    chances: Chances | None = None
    caught_often: float | None = None
    caught: float | None = None
    caught_unit: CaughtUnit = ""
    remark: str = ""
    warning: str = ""
    origin: str = ""


class PlannedJudgement(Judgement):
    """The result of a comparison in a planning run: it lets the test go on, and its verdict is never PASS."""

    def __init__(self, gate: PlannedGate) -> None:
        super().__init__(invalid(gate.label, "planned, and not measured", unit=gate.unit))

    def __bool__(self) -> bool:
        self.asked = True
        return True


def power_warning(chances: Chances, is_met: bool, needed: Callable[[], str], assumed: str) -> str:
    """Return the warning about a gate that passes too rarely; empty if it passes often enough.

    ``is_met``: the assumed truth meets the bound. ``needed`` says what would give enough power, empty for nothing.
    """
    if chances.passes >= WANTED:
        return ""
    if not is_met:
        return f"FAIL in {_rate(chances.fails)} of runs: the truth assumed misses the bound ({assumed})"
    ways = needed()
    advice = (
        f"{ways} would give {percent(WANTED)}" if ways else "too close to the bound for any number of them"
    )
    return f"passes in only {_rate(chances.passes)} of runs with nothing wrong ({assumed}): {advice}"


def change(factor: float) -> str:
    """``+5 %`` for 1.05."""
    return f"{100 * (factor - 1.0):+.0f} %"


def _rate(chance: float) -> str:
    """Format a probability without rounding it up to a certainty, or up to :data:`WANTED`."""
    return f"{min(99.9, math.floor(1000 * chance) / 10):.3g} %"
