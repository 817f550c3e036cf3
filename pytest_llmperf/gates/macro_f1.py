"""Macro-F1 of a multiple choice as a gate: against a floor, or not below the baseline's by more than a margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, ClassVar, Self

from pytest_llmperf.bounds import Incomparable
from pytest_llmperf.gates.bound import Points, margin_of
from pytest_llmperf.gates.case import Case, Damage
from pytest_llmperf.gates.comparable import Asked, Estimand
from pytest_llmperf.gates.decision import MAX_LOST_SHARE, Estimate, invalid, too_many_lost, verdict_of
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.stats.macro_f1 import Said, macro_f1, macro_f1_difference

Choices = Mapping[str, Sequence[str | None] | None]
"""By item: the right class and the one that was said (None: none); None in place of both: an infrastructure error."""
_LEAST = 30
METHOD = "jackknife by item"


@dataclass(frozen=True, kw_only=True)
class MacroF1Case(Case):
    """Is the macro-F1 at least the bound; with a ``baseline``, no more than the bound below its?"""

    unplanned: ClassVar[Mapping[str, Any]] = {
        "noun": "item",
        "remark": "not planned: it depends on how the answers spread",
    }
    candidate: Choices = field(repr=False)
    baseline: Choices | None = field(default=None, repr=False)
    classes: Sequence[str] = ()

    @property
    def label(self) -> str:
        return self.metric if self.baseline is None else f"{self.metric} difference"

    @property
    def verdict_unit(self) -> str:
        return "share" if self.baseline is None else "points"

    @property
    def size(self) -> int:
        return len(self.candidate)

    @property
    def damage(self) -> Damage:
        return "points"

    def damaged(self, by: float, seed: int = 0) -> Self:
        """That share of all items answered with no class, drawn among those that are right."""
        right = [name for name, one in self.candidate.items() if one and one[0] == one[1]]
        hit = set(Random(seed).sample(right, min(len(right), round(by * self.size))))
        changed = {
            name: (one[0], None) if one and name in hit else one for name, one in self.candidate.items()
        }
        return replace(self, candidate=changed)

    def _verdict(self, bound: float) -> Verdict:
        names = [
            n for n, one in self.candidate.items() if one and (self.baseline is None or self.baseline.get(n))
        ]
        lost = self.size - len(names)
        trouble = too_many_lost(lost, self.size, MAX_LOST_SHARE, "answer")
        if len(names) < _LEAST:
            trouble = f"{len(names)} items were answered, {_LEAST} at least are needed"
        if trouble:
            return invalid(self.label, trouble, bound=bound, n=len(names), unit=self.verdict_unit)
        ours = _said(self.candidate, names)
        levels: tuple[float | None, float | None] = (None, None)
        if self.baseline is None:
            found = macro_f1(ours, self.classes)
        else:
            theirs = _said(self.baseline, names)
            found = macro_f1_difference(ours, theirs, self.classes)
            levels = (macro_f1(ours, self.classes).estimate, macro_f1(theirs, self.classes).estimate)
        low, high = found.bounds(1.0 - self.alpha)
        target = bound if self.baseline is None else -bound
        distance = abs(found.estimate - target)
        needed = round(len(names) * ((high - found.estimate) / distance) ** 2) if distance else None
        return verdict_of(
            Estimate(self.label, self.verdict_unit, found.estimate, low, high, len(names), "item", METHOD),
            target,
            at_least=True,
            bound_name="floor" if self.baseline is None else "margin",
            alpha=self.alpha,
            p_value=None,
            n_needed=needed,
            candidate=levels[0],
            baseline=levels[1],
            level_unit="share" if self.baseline is not None else "",
            detail=f"{lost} answers were lost" if lost else "",
        )


def _said(choices: Choices, names: Sequence[str]) -> list[Said]:
    pairs = [choices[name] or ("", None) for name in names]
    return [(str(one[0]), one[1]) for one in pairs]


@dataclass(frozen=True, eq=False)
class MacroF1(Estimand):
    """``macro_f1(candidate, "medqa") >= 0.4``, or ``>= macro_f1(baseline, "medqa") - points(5)``."""

    metric: str
    choices: Choices = field(repr=False)
    classes: Sequence[str] = ()

    @property
    def label(self) -> str:
        return self.metric

    @property
    def example(self) -> str:
        return f"{self.metric} >= 0.4, or {self.metric} >= other - points(5)"

    @property
    def size(self) -> int:
        return len(self.choices)

    def __sub__(self, margin: object) -> ShiftedMacroF1:
        return ShiftedMacroF1(self, margin_of(margin))

    def __ge__(self, other: object) -> Judgement:
        if isinstance(other, ShiftedMacroF1):
            base = other.base
            return self._judged(
                other.by,
                lambda asked: self._case(asked, base.choices),
                also=f"baseline: {base.unusable}" if base.unusable else "",
            )
        return self._against(other, "share", lambda asked: self._case(asked, None))

    def __le__(self, other: object) -> Judgement:
        raise TypeError(f"{self.metric}: high values are good, write {self.example}")

    def _case(self, asked: Asked, baseline: Choices | None) -> MacroF1Case:
        return MacroF1Case(
            metric=self.metric,
            candidate=self.choices,
            baseline=baseline,
            classes=tuple(self.classes),
            **asked,
        )


@dataclass(frozen=True, eq=False)
class ShiftedMacroF1:
    """``macro_f1 - points(5)``: only there to be compared with."""

    base: MacroF1
    by: Points | Incomparable

    def __le__(self, other: object) -> Judgement:
        if not isinstance(other, MacroF1):
            raise TypeError(f"a macro-F1 with a margin is compared with another macro-F1, not with {other!r}")
        return other >= self

    __lt__ = __le__

    def __bool__(self) -> bool:
        raise TypeError(f"{self.base.label} with a margin is not true or false: compare a macro-F1 with it")
