"""A level that is no share of answers (macro-F1, a mean score): at least a floor, or not below the baseline's by more
than a margin.

A kind of level says how it is made of the data (``LevelCase._found``); what the two comparisons have in common is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

from pytest_llmperf.config.bounds import Incomparable
from pytest_llmperf.gates import sensitivity
from pytest_llmperf.gates.bound import Points, margin_of
from pytest_llmperf.gates.case import Case, Damage
from pytest_llmperf.gates.comparable import Asked, Estimand
from pytest_llmperf.gates.decision import (
    MAX_LOST_SHARE,
    Estimate,
    invalid,
    lost_decide,
    status_of,
    too_many_lost,
    verdict_of,
)
from pytest_llmperf.gates.endings import Endings, with_endings
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
    guess: float = 0.0
    """The level that a model reaches which knows nothing; see ``gates.sensitivity``."""
    endings: Mapping[str, Endings] = field(default_factory=dict, repr=False)
    """By side, how the answers ended."""

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

    def _shift(self, worst: bool) -> float:
        """How much lower (``worst``) or higher the estimate would be if every lost answer had been as bad (as good)
        as it can have been."""
        raise NotImplementedError

    def _verdict(self, bound: float) -> Verdict:
        return with_endings(self._by_items(bound), self.endings)

    def _by_items(self, bound: float) -> Verdict:
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
        lost_turn = ""
        if lost:
            without = status_of(low, high, target, at_least=True)
            low, high = low - self._shift(worst=True), high + self._shift(worst=False)
            now = status_of(low, high, target, at_least=True)
            lost_turn = lost_decide(lost, without, now, "answer")
        distance = abs(found.estimate - target)
        # A spread falls with the root of the number of items, the share that none of them shows with the number.
        power = 1.0 if unlike < ENOUGH else 2.0
        width = max(high - found.estimate, found.estimate - low)
        needed = round(len(names) * (width / distance) ** power) if distance else None
        verdict = verdict_of(
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
            lost_turn=lost_turn,
        )
        if theirs is None:
            return verdict
        return sensitivity.checked(
            verdict, *self._baseline_level(theirs), bound, guess=self.guess, alpha=self.alpha
        )

    def _baseline_level(self, theirs: Sequence[Any]) -> tuple[float, float, float]:
        """The baseline's own level and its two bounds."""
        found, level = self._found(theirs, None), 1.0 - self.alpha
        low, high = widened(
            *found.bounds(level),
            estimate=found.estimate,
            unlike=self._unlike(theirs, None),
            n=len(theirs),
            level=level,
            least=0.0,
            most=1.0,
        )
        return found.estimate, low, high


@dataclass(frozen=True, eq=False)
class Level(Estimand):
    """``level(candidate) >= 0.4``, or ``>= level(baseline) - points(5)``."""

    metric: str
    data: ByItem = field(repr=False)
    guess: float = field(default=0.0, kw_only=True)
    """The level that a model reaches which knows nothing."""
    endings: Endings = field(default_factory=dict, repr=False, kw_only=True)
    """How the answers ended."""

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
                lambda asked: replace(
                    self._case(asked, base.data),
                    guess=max(self.guess, base.guess),
                    endings=_sides(candidate=self.endings, baseline=base.endings),
                ),
                other=base,
            )
        return self._against(
            other,
            "share",
            lambda asked: replace(self._case(asked, None), endings=_sides(candidate=self.endings)),
        )

    def __le__(self, other: object) -> Judgement:
        raise TypeError(f"{self.metric}: high values are good, write {self.example}")

    def _case(self, asked: Asked, baseline: ByItem | None) -> LevelCase:
        raise NotImplementedError


def _sides(**endings: Endings) -> Mapping[str, Endings]:
    return {side: counts for side, counts in endings.items() if counts}


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
