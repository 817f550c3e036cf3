"""A value that a search has closed in on: the highest rate that a server stands."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmperf.gates.comparable import Asked, Estimand
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.measured_cases import BracketCase


@dataclass(frozen=True, eq=False)
class Bracketed(Estimand):
    """At least ``low`` and below ``high``, in ``unit``, together with ``confidence``; None: not shown.

    ``rate >= 4`` where high is good.
    """

    metric: str
    low: float | None
    high: float | None
    unit: str
    n: int
    confidence: float
    noun: str = "trial"

    @property
    def label(self) -> str:
        return self.metric

    @property
    def example(self) -> str:
        return f"{self.metric} >= 4"

    @property
    def size(self) -> int:
        return self.n

    def __ge__(self, other: object) -> Judgement:
        return self._against(other, self.unit, lambda asked: self._case(asked, at_least=True))

    def __le__(self, other: object) -> Judgement:
        return self._against(other, self.unit, lambda asked: self._case(asked, at_least=False))

    def _case(self, asked: Asked, *, at_least: bool) -> BracketCase:
        return BracketCase(
            metric=self.metric,
            low=self.low,
            high=self.high,
            unit=self.unit,
            n=self.n,
            noun=self.noun,
            confidence=self.confidence,
            at_least=at_least,
            **asked,
        )
