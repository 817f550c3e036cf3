"""The results of a simulation: rows of counts, and the figures that were to be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_llmperf.gates.verdict import Status

PASS, FAIL, INCONCLUSIVE = 1, -1, 0
OURS = "pytest-llmperf"
CODES = {Status.PASS: PASS, Status.FAIL: FAIL, Status.INCONCLUSIVE: INCONCLUSIVE}
"""By a gate's status, its code in a table; a simulation that is never INVALID has none for that."""
CODES_WITH_INVALID = {**CODES, Status.INVALID: INCONCLUSIVE}
Setting = str | int | float
Decisions = NDArray[np.int8]
"""One of PASS, FAIL, INCONCLUSIVE for each simulated run."""


@dataclass(frozen=True)
class Row:
    """Verdicts of one rule in one setting; ``more`` holds further numbers, by column."""

    settings: Mapping[str, Setting]
    rule: str
    runs: int
    passes: int
    fails: int
    more: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def inconclusive(self) -> int:
        """Runs in which the rule did not decide."""
        return self.runs - self.passes - self.fails

    def share(self, status: int) -> float:
        """Share of the runs with this verdict."""
        count = {PASS: self.passes, FAIL: self.fails, INCONCLUSIVE: self.inconclusive}[status]
        return count / self.runs


@dataclass(frozen=True)
class Target:
    """A figure that was asked for, and what was measured."""

    question: str
    asked: str
    measured: str
    reached: bool


@dataclass(frozen=True)
class Table:
    """All rows to one question."""

    name: str
    title: str
    says: str
    rows: Sequence[Row]
    targets: Sequence[Target] = ()
    made: str = ""
    """The command that made it, when, by which code, and in how long."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of a table: runs per cell, source of the random numbers, real outcomes if any."""

    runs: int
    rng: np.random.Generator
    outcomes: Path | None


Maker = Callable[[Inputs], Table]


def row(settings: Mapping[str, Setting], rule: str, decisions: Decisions, **more: Setting) -> Row:
    """Count the decisions."""
    return Row(
        dict(settings),
        rule,
        len(decisions),
        int((decisions == PASS).sum()),
        int((decisions == FAIL).sum()),
        more,
    )


def decisions(passes: NDArray[np.bool_], fails: NDArray[np.bool_] | None = None) -> Decisions:
    """From truth values; a rule that knows no INCONCLUSIVE fails where it does not pass."""
    result = np.where(passes, PASS, FAIL if fails is None else INCONCLUSIVE).astype(np.int8)
    if fails is not None:
        result[fails] = FAIL
    return result


def worst(rows: Sequence[Row], status: int) -> Row:
    """The row with the largest share of this verdict."""
    return max(rows, key=lambda one: one.share(status))


def least(rows: Sequence[Row], status: int) -> Row:
    """The row with the smallest share of this verdict."""
    return min(rows, key=lambda one: one.share(status))


def at_most(
    question: str, rows: Sequence[Row], status: int, limit: float, word: str, *, noise: bool = False
) -> Target:
    """Target that the worst of these rows stays below ``limit``; ``noise`` allows for three Monte-Carlo errors."""
    one = worst(rows, status)
    allowed = limit + (3.0 * float(np.sqrt(limit * (1.0 - limit) / one.runs)) if noise else 0.0)
    return Target(
        question, f"{word} ≤ {100 * limit:g} %", _measured(one, status), one.share(status) <= allowed
    )


def both_errors(question: str, rows: Sequence[Row], limit: float) -> list[Target]:
    """Targets that PASS and FAIL, wrong exactly at a bound, each stay below ``limit`` but for Monte-Carlo errors."""
    return [
        at_most(question, rows, status, limit, word, noise=True)
        for status, word in ((PASS, "PASS"), (FAIL, "FAIL"))
    ]


def at_least(question: str, rows: Sequence[Row], status: int, limit: float, word: str) -> Target:
    """Target that the worst of these rows reaches ``limit``."""
    one = least(rows, status)
    return Target(question, f"{word} ≥ {100 * limit:g} %", _measured(one, status), one.share(status) >= limit)


def _measured(one: Row, status: int) -> str:
    where = ", ".join(f"{name} {value}" for name, value in one.settings.items())
    return f"{100 * one.share(status):.2f} % ({where})"
