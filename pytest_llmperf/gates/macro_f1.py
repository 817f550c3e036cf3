"""Macro-F1 of a multiple choice as a gate: against a floor, or not below the baseline's by more than a margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar, Self

from pytest_llmperf.gates.comparable import Asked
from pytest_llmperf.gates.level import ByItem, Found, Level, LevelCase
from pytest_llmperf.stats.macro_f1 import Said, macro_f1, macro_f1_difference

Choices = Mapping[str, Sequence[str | None] | None]
"""By item: the right class and the one that was said (None: none); None in place of both: an infrastructure error."""


@dataclass(frozen=True, kw_only=True)
class MacroF1Case(LevelCase):
    """Is the macro-F1 at least the bound; with a ``baseline``, no more than the bound below its?"""

    method: ClassVar[str] = "jackknife by item"
    unplanned: ClassVar[Mapping[str, Any]] = {
        "noun": "item",
        "remark": "not planned: it depends on how the answers spread",
    }
    classes: Sequence[str] = ()

    def damaged(self, by: float, seed: int = 0) -> Self:
        """That share of all items answered with no class, drawn among those that are right."""
        right = [name for name, one in self.candidate.items() if one and one[0] == one[1]]
        hit = set(Random(seed).sample(right, min(len(right), round(by * self.size))))
        changed = {
            name: (one[0], None) if one and name in hit else one for name, one in self.candidate.items()
        }
        return replace(self, candidate=changed)

    def _found(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> Found:
        if theirs is None:
            return macro_f1(_said(ours), self.classes)
        return macro_f1_difference(_said(ours), _said(theirs), self.classes)

    def _unlike(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> int:
        if theirs is not None:
            return sum(one != other for (_, one), (_, other) in zip(_said(ours), _said(theirs), strict=True))
        right = sum(gold == said for gold, said in _said(ours))
        return min(right, len(ours) - right)

    def _shift(self, worst: bool) -> float:
        """With all lost items of one class and all answered with one, the pair of them that moves the level most."""
        names = [
            n for n, one in self.candidate.items() if one and (self.baseline is None or self.baseline.get(n))
        ]
        lost = self.size - len(names)
        ours = _said([self.candidate[name] for name in names])
        theirs = None if self.baseline is None else _said([self.baseline[name] for name in names])

        def range_of(side: list[Said], gold: str) -> tuple[float, float]:
            levels = [
                macro_f1([*side, *[(gold, said)] * lost], self.classes).estimate for said in self.classes
            ]
            return min(levels), max(levels)

        moves = []
        for gold in self.classes:
            low, high = range_of(ours, gold)
            least, most = (0.0, 0.0) if theirs is None else range_of(theirs, gold)
            moves.append((low - most, high - least))
        here = self._found(ours, theirs).estimate
        return max(
            0.0, here - min(low for low, _ in moves) if worst else max(high for _, high in moves) - here
        )


def _said(pairs: Sequence[Any]) -> list[Said]:
    return [(str(one[0]), one[1]) for one in pairs]


@dataclass(frozen=True, eq=False)
class MacroF1(Level):
    """``macro_f1(candidate, "medqa") >= 0.4``, or ``>= macro_f1(baseline, "medqa") - points(5)``."""

    data: Choices
    classes: Sequence[str] = ()

    def _case(self, asked: Asked, baseline: ByItem | None) -> MacroF1Case:
        return MacroF1Case(
            metric=self.metric,
            candidate=self.data,
            baseline=baseline,
            classes=tuple(self.classes),
            **asked,
        )
