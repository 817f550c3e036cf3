"""What a right answer costs, in tokens or in seconds: against a number, or against the baseline on the same items.

A model that thinks longer may be right more often, and dearer. What wrong answers cost counts: somebody pays it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from pytest_llmperf.gates.comparable import Asked
from pytest_llmperf.gates.decision import MAX_LOST_SHARE, invalid, too_many_lost
from pytest_llmperf.gates.factor import Factor, FactorCase
from pytest_llmperf.gates.level import ByItem
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.stats.ratio_of_ratios import ratio_of_ratios

Costs = Mapping[str, Sequence[float] | None]
"""By item: the cost of its answers, and how many of them are right; None: an infrastructure error."""
_LEAST = 30
_LEAST_RIGHT = 10
"""With fewer right answers the log of their mean is far from normal."""


@dataclass(frozen=True, kw_only=True)
class PerCorrectCase(FactorCase):
    """Is the cost of a right answer, or its ratio to the baseline's where there is one, at most the bound?"""

    unplanned: ClassVar[Mapping[str, Any]] = {
        "noun": "item",
        "remark": "not planned: answers differ in length by what only a run shows",
    }
    noun: ClassVar[str] = "item"
    method: ClassVar[str] = "ratio of totals by item, log scale, Student's t"
    unit: str

    def damaged(self, by: float, seed: int = 0) -> Self:
        """Every answer dearer by the same factor."""
        del seed
        changed = {
            name: None if one is None else (one[0] * (1.0 + by), one[1])
            for name, one in self.candidate.items()
        }
        return replace(self, candidate=changed)

    @property
    def _unit(self) -> str:
        return self.unit

    def _verdict(self, bound: float) -> Verdict:
        names = self._known(bound)
        sides = [self.candidate] if self.baseline is None else [self.candidate, self.baseline]
        found = [[(float(side[name][0]), float(side[name][1])) for name in names] for side in sides]
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
        levels = [sum(cost for cost, _ in side) / sum(right for _, right in side) for side in found]
        detail = f"{lost} answers were lost" if lost else ""
        return self._told(
            bound, (ratio.estimate, *ratio.bounds(1.0 - self.alpha)), len(names), levels, detail
        )


@dataclass(frozen=True, eq=False)
class PerCorrect(Factor):
    """``answers(a).tokens_per_correct <= answers(b).tokens_per_correct * 1.2``, or against a number."""

    kind: ClassVar[str] = "cost"
    unit: str
    costs: Costs = field(repr=False)

    @property
    def example(self) -> str:
        return f"{self.metric} <= other * 1.2, or {self.metric} <= 500"

    @property
    def _data(self) -> ByItem:
        return self.costs

    @property
    def _unit(self) -> str:
        return self.unit

    def _case(self, asked: Asked, baseline: ByItem | None, *, at_least: bool) -> PerCorrectCase:
        return PerCorrectCase(
            metric=self.metric,
            unit=self.unit,
            candidate=self.costs,
            baseline=baseline,
            at_least=at_least,
            **asked,
        )
