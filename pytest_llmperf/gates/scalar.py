"""One measurement against a budget, or against another server's: peak memory, size of the weights, time to ready.

There is no interval, because one measurement tells nothing of its own spread; the verdict says so. Fit only
for what hardly varies from run to run, or for budgets with room for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from pytest_llmperf.gates.base import Asked, Relative, Scalable
from pytest_llmperf.gates.decision import invalid
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.measured import MeasuredGate, scale
from pytest_llmperf.gates.plan import PlannedGate, change
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.units import format_bound, format_value

METHOD = "single measurement"


@dataclass(frozen=True, kw_only=True)
class _Single(MeasuredGate):
    """A comparison of single measurements."""

    def plan(self, prior: Verdict | None) -> PlannedGate:
        """Say how far the recorded value is from the bound."""
        remark = "single measurement, no power"
        if prior is not None and prior.observed and prior.observed > 0.0 and self.threshold > 0.0:
            room = prior.observed / self.threshold if self.at_least else self.threshold / prior.observed
            remark += f"; {format_value(prior.observed, self.verdict_unit)} as recorded, fails from {change(room)} on"
        return replace(self.unplanned, n=1, remark=remark)

    def _verdict(self, observed: float, aside: str) -> Verdict:
        bound, unit = self.threshold, self.verdict_unit
        met = observed >= bound if self.at_least else observed <= bound
        relation = {
            (True, True): "reaches the floor of",
            (True, False): "is below the floor of",
            (False, True): "stays within the budget of",
            (False, False): "is above the budget of",
        }[self.at_least, met]
        return Verdict(
            status=Status.PASS if met else Status.FAIL,
            metric=self.label,
            observed=observed,
            interval=None,
            bound=bound,
            n=1,
            n_needed=None,
            method=METHOD,
            why=f"{self.label} {format_value(observed, unit)} ({aside}) {relation} {format_bound(bound, unit)}",
            unit=unit,
            candidate=observed,
        )

    def _invalid(self, why: str) -> Verdict:
        return invalid(self.label, why, bound=self.bound, unit=self.verdict_unit, method=METHOD)


@dataclass(frozen=True, kw_only=True)
class ScalarGate(_Single, kind="value"):
    """Is a value that was measured once at most (``at_least``: at least) the bound?

    None, NaN, infinity, a negative value and (unless ``may_be_zero``: a count) zero are INVALID, not small.
    """

    measured: ClassVar[frozenset[str]] = frozenset({"value"})
    value: float | None
    may_be_zero: bool = False

    @property
    def size(self) -> int:
        return 0 if self.value is None else 1

    def verdict(self, alpha: float) -> Verdict:
        del alpha
        if not math.isfinite(self.threshold):
            raise ValueError(f"{self.metric}: the bound is {self.bound}, a finite number is needed")
        if trouble := _unusable(self.value, may_be_zero=self.may_be_zero):
            return self._invalid(trouble)
        assert self.value is not None, "None was refused above"
        return self._verdict(float(self.value), METHOD)

    def merge(self, earlier: Self) -> Self:
        """Keep the worse of the two; a value that one look did not measure is not measured."""
        if earlier.value is None or self.value is None:
            return replace(self, value=None)
        return replace(self, value=(min if self.at_least else max)(earlier.value, self.value))

    def scaled(self, factor: float) -> Self:
        return replace(self, value=scale(self.value, factor))


@dataclass(frozen=True, kw_only=True)
class ScalarRatioGate(_Single, kind="value ratio"):
    """Is candidate/baseline, each measured once, at most (``at_least``: at least) the bound?"""

    measured: ClassVar[frozenset[str]] = frozenset({"candidate", "baseline"})
    candidate: float | None
    baseline: float | None

    @property
    def label(self) -> str:
        return f"{self.metric} ratio"

    @property
    def verdict_unit(self) -> str:
        return "ratio"

    @property
    def size(self) -> int:
        return 0 if self.candidate is None or self.baseline is None else 1

    @property
    def _ratio(self) -> float | None:
        return self.candidate / self.baseline if self.candidate and self.baseline else None

    def verdict(self, alpha: float) -> Verdict:
        del alpha
        if not (math.isfinite(self.threshold) and self.threshold > 0.0):
            raise ValueError(
                f"{self.metric}: the budget for the ratio is {self.bound}, a number above zero is needed"
            )
        for side, value in (("candidate", self.candidate), ("baseline", self.baseline)):
            if trouble := _unusable(value, may_be_zero=False):
                return self._invalid(f"{side}: {trouble}")
        assert self.candidate is not None, "refused above"
        assert self.baseline is not None, "refused above"
        aside = (
            f"{format_value(self.candidate, self.unit)} against {format_value(self.baseline, self.unit)}, "
            "a single measurement each"
        )
        verdict = self._verdict(self.candidate / self.baseline, aside)
        return replace(verdict, candidate=self.candidate, baseline=self.baseline, level_unit=self.unit)

    def merge(self, earlier: Self) -> Self:
        """Keep the pair with the worse ratio; a ratio that one look did not measure is not measured."""
        ours, theirs = self._ratio, earlier._ratio
        if ours is None or theirs is None:
            return replace(self, candidate=None)
        worse = earlier if (theirs < ours) == self.at_least else self
        return replace(self, candidate=worse.candidate, baseline=worse.baseline)

    def scaled(self, factor: float) -> Self:
        return replace(self, candidate=scale(self.candidate, factor))


def _unusable(value: float | None, *, may_be_zero: bool) -> str | None:
    if value is None:
        return "nothing was measured"
    if not math.isfinite(value):
        return f"the value is {value}, which is not a measurement"
    if value < 0.0 or (value == 0.0 and not may_be_zero):
        return f"the value is {value:g}, a measured value is above zero"
    return None


@dataclass(frozen=True, eq=False)
class Scalar(Scalable):
    """A value measured once, in ``unit``; None: it could not be measured.

    ``memory.peak <= budget``, and against another: ``memory(a).peak <= memory(b).peak * 1.05``.
    ``may_be_zero`` is for counts; a memory or a time of zero was not measured.
    """

    what: ClassVar[str] = "measurement"
    value: float | None
    unit: str
    may_be_zero: bool = False

    @property
    def example(self) -> str:
        return f"{self.metric} <= budget, or {self.metric} <= other * 1.05"

    @property
    def size(self) -> int:
        return 0 if self.value is None else 1

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        if isinstance(other, Relative) and isinstance(other.base, Scalar):
            return self._compare_with(other.base, other, at_least=at_least)
        return self.judge_against(
            other,
            self.unit,
            lambda asked: ScalarGate(
                metric=self.metric,
                value=self.value,
                unit=self.unit,
                at_least=at_least,
                may_be_zero=self.may_be_zero,
                **asked,
            ),
        )

    def _compare_with(self, base: Scalar, other: Relative[Scalar], *, at_least: bool) -> Judgement:
        if base.unit != self.unit:
            raise TypeError(
                f"{self.metric} is measured in {self.unit!r}, what it is compared with in {base.unit!r}"
            )

        def gate(asked: Asked) -> ScalarRatioGate:
            return ScalarRatioGate(
                metric=self.metric,
                candidate=self.value,
                baseline=base.value,
                unit=self.unit,
                at_least=at_least,
                **asked,
            )

        return self.judge_by(other.by, gate, baseline=base)
