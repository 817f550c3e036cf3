"""The mean of a score between 0 and 1 that every item has (ROUGE-L of its summary) as a gate: see ``gates.level``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from pytest_llmperf.gates.comparable import Asked
from pytest_llmperf.gates.level import ByItem, Found, Level, LevelCase
from pytest_llmperf.stats.ratio_of_sums import ratio_of_sums

Scores = Mapping[str, float | None]
"""By item; None: an infrastructure error."""


@dataclass(frozen=True, kw_only=True)
class MeanScoreCase(LevelCase):
    """Is the mean at least the bound; with a ``baseline``, no more than the bound below its, item by item?"""

    method: ClassVar[str] = "mean by item, Student's t"
    unplanned: ClassVar[Mapping[str, Any]] = {
        "noun": "item",
        "remark": "not planned: scores spread by what only a run shows",
    }

    def damaged(self, by: float, seed: int = 0) -> Self:
        """Every score smaller by the same factor, so that the mean is lower by ``by``; not below 0."""
        del seed
        scores = [one for one in self.candidate.values() if one is not None]
        mean = sum(scores) / len(scores) if scores else 0.0
        factor = max(0.0, 1.0 - by / mean) if mean > 0.0 else 1.0
        changed = {name: None if one is None else one * factor for name, one in self.candidate.items()}
        return replace(self, candidate=changed)

    def _found(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> Found:
        values = _values(ours, theirs)
        # A mean is a ratio of sums of which every piece weighs the same.
        return ratio_of_sums(values, [1.0] * len(values))

    def _unlike(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> int:
        values = _values(ours, theirs)
        return len(values) - max(Counter(values).values())

    def _shift(self, worst: bool) -> float:
        """A score is 0 at the worst and 1 at the best."""
        lowest, highest = (0.0, 1.0) if worst else (1.0, 0.0)
        sides = [(self.candidate, lowest)] + ([] if self.baseline is None else [(self.baseline, highest)])

        def mean(names: Sequence[str]) -> float:
            given = [[lost if (s := side.get(name)) is None else s for name in names] for side, lost in sides]
            return sum(_values(given[0], given[1] if len(given) > 1 else None)) / len(names)

        came = [n for n in self.candidate if all(side.get(n) is not None for side, _ in sides)]
        return abs(mean([*self.candidate]) - mean(came))


def _values(ours: Sequence[Any], theirs: Sequence[Any] | None) -> list[float]:
    """Of each item its score, or how much higher it is than the baseline's."""
    if theirs is None:
        return [float(one) for one in ours]
    return [float(one) - float(other) for one, other in zip(ours, theirs, strict=True)]


@dataclass(frozen=True, eq=False)
class MeanScore(Level):
    """``summaries(candidate).rouge_l >= 0.25``, or ``>= summaries(baseline).rouge_l - points(2)``."""

    data: Scores

    def _case(self, asked: Asked, baseline: ByItem | None) -> MeanScoreCase:
        return MeanScoreCase(metric=self.metric, candidate=self.data, baseline=baseline, **asked)
