"""A value that a search has closed in on, such as the highest rate that a server sustains, against a bound."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

from pytest_llmperf.gates.base import Estimand
from pytest_llmperf.gates.decision import invalid
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.measured import MeasuredGate, scale
from pytest_llmperf.gates.plan import PlannedGate
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.units import format_bound, format_value, percent


@dataclass(frozen=True, kw_only=True)
class BracketGate(MeasuredGate, kind="bracket"):
    """Is a value that was shown to be at least ``low`` and below ``high`` at least (or at most) the bound?

    None: the search did not reach that end. ``n`` trials made the two, right together with ``confidence``. Nothing
    shown at all, NaN and ends the wrong way round are INVALID; ``ValueError`` for a bound that is not finite.
    """

    low: float | None
    high: float | None
    n: int
    confidence: float
    noun: str = "trial"

    @property
    def size(self) -> int:
        return self.n

    def verdict(self, alpha: float) -> Verdict:
        del alpha
        low, high, bound, unit = self.low, self.high, self.threshold, self.unit
        trials = plural(self.n, self.noun)
        if not math.isfinite(bound):
            raise ValueError(f"{self.metric}: the bound is {bound}, a finite number is needed")
        if low is None and high is None:
            return self._invalid(f"{trials} have shown neither end of it")
        known = [end for end in (low, high) if end is not None]
        if any(not math.isfinite(end) or end < 0.0 for end in known) or known != sorted(known):
            return self._invalid(f"the ends {low} and {high} are no interval")
        reached, missed = low is not None and low >= bound, high is not None and high <= bound
        status = Status.INCONCLUSIVE
        if reached or missed:
            status = Status.PASS if reached is self.at_least else Status.FAIL
        relation = {
            Status.PASS: "reaches" if self.at_least else "stays within",
            Status.FAIL: "is below" if self.at_least else "is above",
            Status.INCONCLUSIVE: "is not decided against",
        }[status]
        ends = [f"at least {format_value(low, unit)}"] if low is not None else []
        ends += [f"below {format_value(high, unit)}"] if high is not None else []
        name = "floor" if self.at_least else "limit"
        why = (
            f"{self.metric}, {' and '.join(ends)} ({trials}, {percent(self.confidence)}), "
            f"{relation} the {name} {format_bound(bound, unit)}"
        )
        if status is Status.INCONCLUSIVE:
            why += ": search closer to it, or with more requests"
        return Verdict(
            status=status,
            metric=self.metric,
            observed=low if low is not None else high,
            interval=(low, high) if low is not None and high is not None else None,
            bound=bound,
            n=self.n,
            n_needed=None,
            method="bisection with exact bounds",
            why=why,
            unit=unit,
        )

    def merge(self, earlier: Self) -> Self:
        """Return this look's search, the same as the earlier one: two different searches cannot be pooled."""
        del earlier
        return self

    def plan(self, prior: Verdict | None) -> PlannedGate:
        del prior
        remark = "a search: every rate is called by an exact bound"
        return replace(self.unplanned, noun="trial", at_most=True, remark=remark)

    def scaled(self, factor: float) -> Self:
        return replace(self, low=scale(self.low, factor), high=scale(self.high, factor))

    def _invalid(self, why: str) -> Verdict:
        return invalid(self.metric, why, bound=self.bound, n=self.n, unit=self.unit)


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

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        return self.judge_against(
            other,
            self.unit,
            lambda asked: BracketGate(
                metric=self.metric,
                low=self.low,
                high=self.high,
                unit=self.unit,
                n=self.n,
                noun=self.noun,
                confidence=self.confidence,
                at_least=at_least,
                **asked,
            ),
        )
