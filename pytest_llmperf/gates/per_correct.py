"""What a right answer costs, in tokens or in seconds: against a number, or against the baseline on the same items.

A model that thinks longer may be right more often, and dearer. What wrong answers cost counts: somebody pays it too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from pytest_llmperf.bounds import Bound, Incomparable
from pytest_llmperf.gates.bound import bound_of
from pytest_llmperf.gates.case import Case, Damage
from pytest_llmperf.gates.comparable import Asked, Estimand
from pytest_llmperf.gates.decision import MAX_LOST_SHARE, Estimate, invalid, too_many_lost, verdict_of
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.stats.ratio_of_ratios import ratio_of_ratios

Costs = Mapping[str, Sequence[float] | None]
"""By item: the cost of its answers, and how many of them are right; None: an infrastructure error."""
METHOD = "ratio of totals by item, log scale, Student's t"
_LEAST = 30
_LEAST_RIGHT = 10
"""With fewer right answers the log of their mean is far from normal."""


@dataclass(frozen=True, kw_only=True)
class PerCorrectCase(Case):
    """Is the cost of a right answer, or its ratio to the baseline's where there is one, at most the bound?"""

    unplanned: ClassVar[Mapping[str, Any]] = {
        "noun": "item",
        "remark": "not planned: answers differ in length by what only a run shows",
    }
    unit: str
    candidate: Costs = field(repr=False)
    baseline: Costs | None = field(default=None, repr=False)
    at_least: bool = False

    @property
    def label(self) -> str:
        return self.metric if self.baseline is None else f"{self.metric} ratio"

    @property
    def verdict_unit(self) -> str:
        return self.unit if self.baseline is None else "ratio"

    @property
    def size(self) -> int:
        return len(self.candidate)

    @property
    def damage(self) -> Damage:
        return "share"

    def damaged(self, by: float, seed: int = 0) -> Self:
        """Every answer dearer by the same factor."""
        del seed
        changed = {
            name: None if one is None else (one[0] * (1.0 + by), one[1])
            for name, one in self.candidate.items()
        }
        return replace(self, candidate=changed)

    def _verdict(self, bound: float) -> Verdict:
        if not (math.isfinite(bound) and bound > 0.0):
            raise ValueError(f"{self.label}: the bound is {bound}, a number above zero is needed")
        sides = [self.candidate] if self.baseline is None else [self.candidate, self.baseline]
        names = [name for name in self.candidate if all(side.get(name) is not None for side in sides)]
        found = [[_pair(side[name]) for name in names] for side in sides]
        lost = self.size - len(names)
        trouble = too_many_lost(lost, self.size, MAX_LOST_SHARE, "answer")
        if len(names) < _LEAST:
            trouble = f"{len(names)} items were answered, {_LEAST} at least are needed"
        elif (few := min(sum(right for _, right in side) for side in found)) < _LEAST_RIGHT:
            trouble = f"{few:g} answers of one side are right, {_LEAST_RIGHT} at least are needed"
        elif not all(sum(cost for cost, _ in side) > 0.0 for side in found):
            trouble = f"the server told no {self.unit}"
        if trouble:
            return invalid(self.label, trouble, bound=bound, n=len(names), unit=self.verdict_unit)
        ratio = ratio_of_ratios(found[0], found[1] if self.baseline is not None else None)
        low, high = ratio.bounds(1.0 - self.alpha)
        distance = abs(math.log(ratio.estimate / bound))
        width = math.log(high / ratio.estimate)
        levels = [sum(cost for cost, _ in side) / sum(right for _, right in side) for side in found]
        paired = self.baseline is not None
        return verdict_of(
            Estimate(self.label, self.verdict_unit, ratio.estimate, low, high, len(names), "item", METHOD),
            bound,
            at_least=self.at_least,
            bound_name="floor" if self.at_least else "budget",
            alpha=self.alpha,
            p_value=None,
            n_needed=math.ceil(len(names) * (width / distance) ** 2) if distance else None,
            candidate=levels[0] if paired else None,
            baseline=levels[1] if paired else None,
            level_unit=self.unit if paired else "",
            detail=f"{lost} answers were lost" if lost else "",
        )


def _pair(one: Sequence[float] | None) -> tuple[float, float]:
    assert one is not None, "left out before"
    return float(one[0]), float(one[1])


@dataclass(frozen=True, eq=False)
class PerCorrect(Estimand):
    """``answers(a).tokens_per_correct <= answers(b).tokens_per_correct * 1.2``, or against a number."""

    metric: str
    unit: str
    costs: Costs = field(repr=False)

    @property
    def label(self) -> str:
        return self.metric

    @property
    def example(self) -> str:
        return f"{self.metric} <= other * 1.2, or {self.metric} <= 500"

    @property
    def size(self) -> int:
        return len(self.costs)

    def __mul__(self, factor: object) -> ScaledPerCorrect:
        return ScaledPerCorrect(self, bound_of(factor, "ratio", metric=f"{self.metric} ratio"))

    __rmul__ = __mul__

    def __le__(self, other: object) -> Judgement:
        return self._compare(other, at_least=False)

    def __ge__(self, other: object) -> Judgement:
        return self._compare(other, at_least=True)

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        if isinstance(other, ScaledPerCorrect):
            base = other.of
            if base.unit != self.unit:
                raise TypeError(
                    f"{self.label} is in {self.unit}, {base.label} in {base.unit}: compare like with like"
                )
            return self._judged(
                other.factor,
                lambda asked: self._case(asked, base.costs, at_least=at_least),
                also=f"baseline: {base.unusable}" if base.unusable else "",
            )
        return self._against(other, self.unit, lambda asked: self._case(asked, None, at_least=at_least))

    def _case(self, asked: Asked, baseline: Costs | None, *, at_least: bool) -> PerCorrectCase:
        return PerCorrectCase(
            metric=self.metric,
            unit=self.unit,
            candidate=self.costs,
            baseline=baseline,
            at_least=at_least,
            **asked,
        )


@dataclass(frozen=True, eq=False)
class ScaledPerCorrect:
    """``cost * 1.2``: another model's and how far above it one may be. Only there to be compared with."""

    of: PerCorrect
    factor: Bound | Incomparable

    def __le__(self, other: object) -> Judgement:
        return _cost(other) >= self

    def __ge__(self, other: object) -> Judgement:
        return _cost(other) <= self

    __lt__ = __le__
    __gt__ = __ge__

    def __bool__(self) -> bool:
        raise TypeError(f"{self.of.label} times a factor is not true or false: compare a cost with it")


def _cost(other: object) -> PerCorrect:
    if not isinstance(other, PerCorrect):
        raise TypeError(f"a scaled cost is compared with another cost, not with {other!r}")
    return other
