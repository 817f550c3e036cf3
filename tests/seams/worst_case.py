"""Somebody else's kind of gate, in one file: the worst of several measurements against a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from pytest_llmperf.gates.base import Estimand, Gate
from pytest_llmperf.gates.decision import invalid
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.plan import PlannedGate
from pytest_llmperf.gates.verdict import Status, Verdict


@dataclass(frozen=True, kw_only=True)
class WorstGate(Gate, kind="worst case"):
    """Is every value, in seconds, at most the bound?"""

    measured: ClassVar[frozenset[str]] = frozenset({"values"})
    values: Sequence[float] = field(repr=False)
    at_least: bool = False

    @property
    def verdict_unit(self) -> str:
        return "s"

    @property
    def size(self) -> int:
        return len(self.values)

    def verdict(self, alpha: float) -> Verdict:
        del alpha  # these very values are meant, and no source of them
        if not self.values:
            return invalid(self.label, "nothing was measured", bound=self.bound, unit="s")
        worst = max(self.values)
        return Verdict(
            status=Status.PASS if worst <= self.threshold else Status.FAIL,
            metric=self.label,
            observed=worst,
            interval=None,
            bound=self.bound,
            n=self.size,
            n_needed=None,
            method="maximum",
            why=f"{self.label} is {worst:g} s at the worst",
            unit="s",
        )

    def merge(self, earlier: Self) -> Self:
        return replace(self, values=[*earlier.values, *self.values])

    def mutate(self, by: float, seed: int = 0) -> Self:
        del seed
        return replace(self, values=[value * (1.0 + by) for value in self.values])

    def plan(self, prior: Verdict | None) -> PlannedGate:
        room = "" if prior is None or not prior.observed else f"room of {self.threshold / prior.observed:.2f}"
        return replace(self.unplanned, noun="value", remark=room)


@dataclass(frozen=True, eq=False)
class Worst(Estimand):
    """``Worst("pause", values) <= 0.2``."""

    metric: str
    values: Sequence[float] = field(repr=False)

    @property
    def label(self) -> str:
        return self.metric

    @property
    def example(self) -> str:
        return f"{self.metric} <= 0.2"

    @property
    def size(self) -> int:
        return len(self.values)

    def __le__(self, other: object) -> Judgement:
        return self.judge_against(
            other, "s", lambda asked: WorstGate(metric=self.metric, values=self.values, **asked)
        )
