"""A level that is no share of answers (macro-F1, a mean score): at least a floor, or not below the baseline's by more
than a margin.

A kind of level says how it is made of the data (``LevelCase._found``); what the two comparisons have in common is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pytest_llmperf.bounds import Incomparable
from pytest_llmperf.gates.bound import Points, margin_of
from pytest_llmperf.gates.case import Case, Damage
from pytest_llmperf.gates.comparable import Asked, Estimand
from pytest_llmperf.gates.decision import MAX_LOST_SHARE, Estimate, invalid, too_many_lost, verdict_of
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.stats.unseen import ENOUGH, widened

_LEAST = 30

ByItem = Mapping[str, Any]
"""By item what was measured of it; None: an infrastructure error."""


class Found(Protocol):
    """An estimate with two one-sided bounds, as ``stats`` gives them."""

    @property
    def estimate(self) -> float: ...

    def bounds(self, level: float) -> tuple[float, float]: ...


@dataclass(frozen=True, kw_only=True)
class LevelCase(Case):
    """Is the level at least the bound; with a ``baseline``, no more than the bound below its?"""

    method: ClassVar[str]
    candidate: ByItem = field(repr=False)
    baseline: ByItem | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        return self.metric if self.baseline is None else f"{self.metric} difference"

    @property
    def verdict_unit(self) -> str:
        return "share" if self.baseline is None else "points"

    @property
    def target(self) -> float | None:
        return self.bound if self.baseline is None or self.bound is None else -self.bound

    @property
    def size(self) -> int:
        return len(self.candidate)

    @property
    def damage(self) -> Damage:
        return "points"

    def _found(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> Found:
        """The level of ``ours``; with ``theirs``, of the same items in the same order, how much higher it is."""
        raise NotImplementedError

    def _unlike(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> int:
        """How many items are unlike what most of them are: where hardly any is, the spread of the data says little."""
        raise NotImplementedError

    def _verdict(self, bound: float) -> Verdict:
        names = [
            n
            for n, one in self.candidate.items()
            if one is not None and (self.baseline is None or self.baseline.get(n) is not None)
        ]
        lost = self.size - len(names)
        trouble = too_many_lost(lost, self.size, MAX_LOST_SHARE, "answer")
        if len(names) < _LEAST:
            trouble = f"{len(names)} items were answered, {_LEAST} at least are needed"
        if trouble:
            return invalid(self.label, trouble, bound=bound, n=len(names), unit=self.verdict_unit)
        ours = [self.candidate[name] for name in names]
        theirs = None if self.baseline is None else [self.baseline[name] for name in names]
        found = self._found(ours, theirs)
        level, unlike = 1.0 - self.alpha, self._unlike(ours, theirs)
        low, high = widened(
            *found.bounds(level),
            estimate=found.estimate,
            unlike=unlike,
            n=len(names),
            level=level,
            least=0.0 if theirs is None else -1.0,
            most=1.0,
        )
        target = bound if theirs is None else -bound
        distance = abs(found.estimate - target)
        # A spread falls with the root of the number of items, the share that none of them shows with the number.
        power = 1.0 if unlike < ENOUGH else 2.0
        width = max(high - found.estimate, found.estimate - low)
        needed = round(len(names) * (width / distance) ** power) if distance else None
        return verdict_of(
            Estimate(
                self.label, self.verdict_unit, found.estimate, low, high, len(names), "item", self.method
            ),
            target,
            at_least=True,
            bound_name="floor" if theirs is None else "margin",
            alpha=self.alpha,
            p_value=None,
            n_needed=needed,
            candidate=None if theirs is None else self._found(ours, None).estimate,
            baseline=None if theirs is None else self._found(theirs, None).estimate,
            level_unit="" if theirs is None else "share",
            detail=f"{lost} answers were lost" if lost else "",
        )


@dataclass(frozen=True, eq=False)
class Level(Estimand):
    """``level(candidate) >= 0.4``, or ``>= level(baseline) - points(5)``."""

    metric: str
    data: ByItem = field(repr=False)

    @property
    def label(self) -> str:
        return self.metric

    @property
    def example(self) -> str:
        return f"{self.metric} >= 0.4, or {self.metric} >= other - points(5)"

    @property
    def size(self) -> int:
        return len(self.data)

    def __sub__(self, margin: object) -> ShiftedLevel:
        return ShiftedLevel(self, margin_of(margin))

    def __ge__(self, other: object) -> Judgement:
        if isinstance(other, ShiftedLevel):
            base = other.base
            return self._judged(
                other.by,
                lambda asked: self._case(asked, base.data),
                also=f"baseline: {base.unusable}" if base.unusable else "",
            )
        return self._against(other, "share", lambda asked: self._case(asked, None))

    def __le__(self, other: object) -> Judgement:
        raise TypeError(f"{self.metric}: high values are good, write {self.example}")

    def _case(self, asked: Asked, baseline: ByItem | None) -> LevelCase:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class ShiftedLevel:
    """``level - points(5)``: only there to be compared with."""

    base: Level
    by: Points | Incomparable

    def __le__(self, other: object) -> Judgement:
        if type(other) is not type(self.base):
            raise TypeError(
                f"{self.base.label} with a margin is compared with another of its kind, not with {other!r}"
            )
        return other >= self

    __lt__ = __le__

    def __bool__(self) -> bool:
        raise TypeError(f"{self.base.label} with a margin is not true or false: compare another with it")
