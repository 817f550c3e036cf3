"""A level above zero of which ratios are told (perplexity, what a right answer costs): against a number, or against a
multiple of another model's on the same items.

A kind of level says how it is made of the data; what the two comparisons have in common is here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pytest_llmperf.config.bounds import Bound, Incomparable
from pytest_llmperf.gates.bound import bound_of
from pytest_llmperf.gates.case import Case, Damage
from pytest_llmperf.gates.comparable import Asked, Estimand
from pytest_llmperf.gates.decision import Estimate, verdict_of
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.level import ByItem
from pytest_llmperf.gates.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class FactorCase(Case):
    """Is the level at most (or at least) the bound; with a ``baseline``, its ratio to the baseline's?"""

    noun: ClassVar[str]
    method: ClassVar[str]
    candidate: ByItem = field(repr=False)
    baseline: ByItem | None = field(default=None, repr=False)
    at_least: bool = False

    @property
    def label(self) -> str:
        return self.metric if self.baseline is None else f"{self.metric} ratio"

    @property
    def verdict_unit(self) -> str:
        return self._unit if self.baseline is None else "ratio"

    @property
    def size(self) -> int:
        return len(self.candidate)

    @property
    def damage(self) -> Damage:
        return "share"

    @property
    def _unit(self) -> str:
        """Of the level, as a bound is written in it."""
        raise NotImplementedError

    @property
    def _level_unit(self) -> str:
        """Of the level of either side, as a verdict about their ratio tells it."""
        return self._unit

    def _known(self, bound: float) -> list[str]:
        """The items that every side has. Raises ``ValueError`` for a bound that no such level can have."""
        if not (math.isfinite(bound) and bound > 0.0):
            raise ValueError(f"{self.label}: the bound is {bound}, a number above zero is needed")
        sides = [self.candidate] if self.baseline is None else [self.candidate, self.baseline]
        return [name for name in self.candidate if all(side.get(name) is not None for side in sides)]

    def _told(
        self, bound: float, found: tuple[float, float, float], n: int, levels: Sequence[float], detail: str
    ) -> Verdict:
        """``found``: the estimate and its bounds, of ``n`` items; ``levels``: of the candidate, and of the baseline."""
        value, low, high = found
        distance, width = abs(math.log(value / bound)), math.log(high / value)
        paired = self.baseline is not None
        return verdict_of(
            Estimate(self.label, self.verdict_unit, value, low, high, n, self.noun, self.method),
            bound,
            at_least=self.at_least,
            bound_name="floor" if self.at_least else "budget",
            alpha=self.alpha,
            p_value=None,
            n_needed=math.ceil(n * (width / distance) ** 2) if distance else None,
            candidate=levels[0] if paired else None,
            baseline=levels[1] if paired else None,
            level_unit=self._level_unit if paired else "",
            detail=detail,
        )


@dataclass(frozen=True, eq=False)
class Factor(Estimand):
    """``level(a) <= level(b) * 1.05``, or against a number."""

    kind: ClassVar[str]
    """What it is, in a sentence."""
    metric: str

    @property
    def label(self) -> str:
        return self.metric

    @property
    def size(self) -> int:
        return len(self._data)

    @property
    def _data(self) -> ByItem:
        raise NotImplementedError

    @property
    def _unit(self) -> str:
        raise NotImplementedError

    def __mul__(self, factor: object) -> ScaledFactor:
        return ScaledFactor(self, bound_of(factor, "ratio", metric=f"{self.metric} ratio"))

    __rmul__ = __mul__

    def __le__(self, other: object) -> Judgement:
        return self._compare(other, at_least=False)

    def __ge__(self, other: object) -> Judgement:
        return self._compare(other, at_least=True)

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        if isinstance(other, ScaledFactor) and type(other.of) is type(self):
            base = other.of
            if base._unit != self._unit:
                raise TypeError(
                    f"{self.label} is in {self._unit}, {base.label} in {base._unit}: compare like with like"
                )
            return self._judged(
                other.factor,
                lambda asked: self._case(asked, base._data, at_least=at_least),
                other=base,
            )
        return self._against(other, self._unit, lambda asked: self._case(asked, None, at_least=at_least))

    def _case(self, asked: Asked, baseline: ByItem | None, *, at_least: bool) -> FactorCase:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class ScaledFactor:
    """``level * 1.05``: another model's and how far above it one may be. Only there to be compared with."""

    of: Factor
    factor: Bound | Incomparable

    def __le__(self, other: object) -> Judgement:
        return self._like(other) >= self

    def __ge__(self, other: object) -> Judgement:
        return self._like(other) <= self

    __lt__ = __le__
    __gt__ = __ge__

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self.of.label} times a factor is not true or false: compare a {self.of.kind} with it"
        )

    def _like(self, other: object) -> Factor:
        if not isinstance(other, type(self.of)):
            kind = self.of.kind
            raise TypeError(f"a scaled {kind} is compared with another {kind}, not with {other!r}")
        return other
