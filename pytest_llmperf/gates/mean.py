"""A mean over items that is no share of answers (macro-F1, a mean score): at least a floor, or not below the baseline's
by more than a margin.

A kind of mean says how it is made of the data (:class:`MeanGate`); what the two comparisons have in common is here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from statistics import fmean
from typing import Any, ClassVar, Self

from pytest_llmperf.gates import sensitivity
from pytest_llmperf.gates.base import Asked, Damage, Estimand, Gate, Relative
from pytest_llmperf.gates.bound import margin_of
from pytest_llmperf.gates.decision import (
    MAX_LOST_SHARE,
    Estimate,
    invalid,
    lost_decide,
    p_value_of,
    status_of,
    too_many_lost,
    verdict_of,
)
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.outcomes import Endings, with_endings
from pytest_llmperf.gates.plan import PlannedGate
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.stats import bounded_mean
from pytest_llmperf.stats.binomial import ENOUGH_UNLIKE, widen_for_unseen
from pytest_llmperf.stats.macro_f1 import Jackknifed, Said, macro_f1, macro_f1_difference

_LEAST = 30

ByItem = Mapping[str, Any]
"""The measurement of each item; None: an infrastructure error."""
Choices = Mapping[str, Sequence[str | None] | None]
"""By item: the right class and the chosen one (None: none); None in place of both: an infrastructure error."""
Scores = Mapping[str, float | None]
"""By item, between 0 and 1; None: an infrastructure error."""


@dataclass(frozen=True, kw_only=True)
class ByItemGate(Gate):
    """A gate over one measurement of each item, of the candidate and, where two models are compared, the baseline."""

    measured: ClassVar[frozenset[str]] = frozenset({"candidate", "baseline", "endings"})
    item_noun: ClassVar[str] = "item"
    not_planned: ClassVar[str] = ""
    """Why there is no forecast."""
    candidate: ByItem = field(repr=False)
    baseline: ByItem | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        return len(self.candidate)

    @property
    def common(self) -> list[str]:
        """The items that every side has."""
        sides = [self.candidate] if self.baseline is None else [self.candidate, self.baseline]
        return [name for name in self.candidate if all(side.get(name) is not None for side in sides)]

    def merge(self, earlier: Self) -> Self:
        """Keep the first measurement of each item that succeeded.

        The same item once more says little about other items, and these gates count items.
        """

        def first(then: ByItem, now: ByItem) -> dict[str, Any]:
            known = {item: value for item, value in then.items() if value is not None}
            return {**then, **now, **known}

        is_new = any(
            value is not None and earlier.candidate.get(item) is None
            for item, value in self.candidate.items()
        )
        return replace(
            self,
            candidate=first(earlier.candidate, self.candidate),
            baseline=None if self.baseline is None else first(earlier.baseline or {}, self.baseline),
            remark=self.remark
            if is_new
            else "this look added nothing: an earlier one measured the same items",
        )

    def plan(self, prior: Verdict | None) -> PlannedGate:
        del prior
        return replace(self.unplanned, noun=self.item_noun, remark=f"not planned: {self.not_planned}")


@dataclass(frozen=True, kw_only=True)
class MeanGate(ByItemGate):
    """Is the mean at least the bound; with a ``baseline``, no more than the bound below its?"""

    damage: ClassVar[Damage] = "points"
    guess: float = 0.0
    """The mean that a model reaches by guessing; see ``gates.sensitivity``."""
    endings: Mapping[str, Endings] = field(default_factory=dict, repr=False)
    """By side, how the answers ended."""

    def estimate(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> float:
        """Return the mean of ``ours``; with ``theirs``, of the same items in order, how much higher it is."""
        raise NotImplementedError

    def bounds(self, ours: Sequence[Any], theirs: Sequence[Any] | None, alpha: float) -> tuple[float, float]:
        """Return the one-sided bounds of :meth:`estimate`, each at ``1 - alpha``."""
        raise NotImplementedError

    def p_below(self, ours: Sequence[Any], theirs: Sequence[Any] | None, target: float) -> float:
        """Return the p-value of "the truth is below ``target``", to go with the upper bound."""
        return p_value_of(lambda alpha: self.bounds(ours, theirs, alpha)[1], target, at_least=True)

    def unlike(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> int:
        """Count the items that are unlike most: where hardly any is, the spread of the data says little."""
        raise NotImplementedError

    def too_few(self, names: Sequence[str]) -> tuple[str, int | None]:
        """Return why so few items are not judged, and how many would be; empty if they are."""
        del names
        return "", None

    def shift(self, *, worst: bool) -> float:
        """Return how much lower (``worst``) or higher the estimate would be if every lost answer had been as bad (as
        good) as it can have been."""
        raise NotImplementedError

    @property
    def method(self) -> str:
        """The name of the interval's method."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        return self.metric if self.baseline is None else f"{self.metric} difference"

    @property
    def verdict_unit(self) -> str:
        return "share" if self.baseline is None else "points"

    @property
    def target(self) -> float | None:
        return self.bound if self.baseline is None or self.bound is None else -self.bound

    def verdict(self, alpha: float) -> Verdict:
        return with_endings(self._by_items(alpha), self.endings)

    def _by_items(self, alpha: float) -> Verdict:
        names, bound = self.common, self.threshold
        lost = self.size - len(names)
        trouble = too_many_lost(lost, self.size, MAX_LOST_SHARE, "answer")
        if not trouble and len(names) < _LEAST:
            trouble = f"{len(names)} items were answered, {_LEAST} at least are needed"
        why, n_needed = self.too_few(names)
        if trouble or why:
            return invalid(
                self.label,
                trouble or why,
                bound=bound,
                n=len(names),
                n_needed=None if trouble else n_needed,
                unit=self.verdict_unit,
            )
        ours = [self.candidate[name] for name in names]
        theirs = None if self.baseline is None else [self.baseline[name] for name in names]
        observed = self.estimate(ours, theirs)
        low, high = self.bounds(ours, theirs, alpha)
        target = bound if theirs is None else -bound
        lost_turn, better = "", 0.0
        if lost:
            without = status_of(low, high, target, at_least=True)
            better = self.shift(worst=False)
            low, high = low - self.shift(worst=True), high + better
            now = status_of(low, high, target, at_least=True)
            lost_turn = lost_decide(lost, without, now, "answer")
        distance = abs(observed - target)
        # A spread falls with the root of the number of items, the share that none of them shows with the number.
        power = 1.0 if self.unlike(ours, theirs) < ENOUGH_UNLIKE else 2.0
        width = max(high - observed, observed - low)
        verdict = verdict_of(
            Estimate(self.label, self.verdict_unit, observed, low, high, len(names), "item", self.method),
            target,
            at_least=True,
            bound_name="floor" if theirs is None else "margin",
            alpha=alpha,
            p_value=self.p_below(ours, theirs, target - better),
            n_needed=round(len(names) * (width / distance) ** power) if distance else None,
            candidate=None if theirs is None else self.estimate(ours, None),
            baseline=None if theirs is None else self.estimate(theirs, None),
            level_unit="" if theirs is None else "share",
            detail=f"{lost} answers were lost" if lost else "",
            lost_turn=lost_turn,
        )
        if theirs is None:
            return verdict
        level, bounds = self.estimate(theirs, None), self.bounds(theirs, None, alpha)
        return sensitivity.checked(verdict, level, *bounds, bound, guess=self.guess, alpha=alpha)

    def plan(self, prior: Verdict | None) -> PlannedGate:
        gate = super().plan(prior)
        if self.baseline is None:
            return gate
        why = sensitivity.planned_trouble(gate.n, self.threshold, prior, guess=self.guess, alpha=self.alpha)
        return replace(gate, warning=why)


@dataclass(frozen=True, eq=False)
class Mean(Estimand):
    """``mean(candidate) >= 0.4``, or ``>= mean(baseline) - points(5)``."""

    what: ClassVar[str] = "mean"
    metric: str
    data: ByItem = field(repr=False)
    guess: float = field(default=0.0, kw_only=True)
    """The mean that a model reaches by guessing."""
    endings: Endings = field(default_factory=dict, repr=False, kw_only=True)
    """Counts of how the answers ended."""

    @property
    def label(self) -> str:
        return self.metric

    @property
    def example(self) -> str:
        return f"{self.metric} >= 0.4, or {self.metric} >= other - points(5)"

    @property
    def size(self) -> int:
        return len(self.data)

    def __sub__(self, margin: object) -> Relative[Mean]:
        return Relative(self, margin_of(margin), "with a margin")

    def __ge__(self, other: object) -> Judgement:
        if isinstance(other, Relative) and isinstance(other.base, Mean) and type(other.base) is type(self):
            base: Mean = other.base
            return self.judge_by(
                other.by,
                lambda asked: replace(
                    self._gate(asked, base.data),
                    guess=max(self.guess, base.guess),
                    endings=_sides(candidate=self.endings, baseline=base.endings),
                ),
                baseline=base,
            )
        return self.judge_against(
            other,
            "share",
            lambda asked: replace(self._gate(asked, None), endings=_sides(candidate=self.endings)),
        )

    def __le__(self, other: object) -> Judgement:
        raise TypeError(f"{self.metric}: high values are good, write {self.example}")

    def _gate(self, asked: Asked, baseline: ByItem | None) -> MeanGate:
        raise NotImplementedError


def _sides(**endings: Endings) -> Mapping[str, Endings]:
    return {side: counts for side, counts in endings.items() if counts}


# A mean score


@dataclass(frozen=True, kw_only=True)
class MeanScoreGate(MeanGate, kind="mean score"):
    """The mean of a score between 0 and 1 that every item has (ROUGE-L of its summary)."""

    not_planned: ClassVar[str] = "scores spread by what only a run shows"

    @property
    def method(self) -> str:
        return "mean by item, Gaffke's bound"

    def mutate(self, by: float, seed: int = 0) -> Self:
        """Multiply every score by the same factor, so that the mean is lower by ``by``; not below 0."""
        del seed
        scores = [score for score in self.candidate.values() if score is not None]
        mean = sum(scores) / len(scores) if scores else 0.0
        factor = max(0.0, 1.0 - by / mean) if mean > 0.0 else 1.0
        changed = {name: None if score is None else score * factor for name, score in self.candidate.items()}
        return replace(self, candidate=changed)

    def estimate(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> float:
        return fmean(_differences(ours, theirs))

    def bounds(self, ours: Sequence[Any], theirs: Sequence[Any] | None, alpha: float) -> tuple[float, float]:
        values, least = _differences(ours, theirs), 0.0 if theirs is None else -1.0
        return bounded_mean.lower(values, least, alpha), bounded_mean.upper(values, 1.0, alpha)

    def p_below(self, ours: Sequence[Any], theirs: Sequence[Any] | None, target: float) -> float:
        return bounded_mean.p_below(_differences(ours, theirs), 1.0, target)

    def unlike(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> int:
        values = _differences(ours, theirs)
        return len(values) - max(Counter(values).values())

    def shift(self, *, worst: bool) -> float:
        """A score is 0 at the worst and 1 at the best."""
        lowest, highest = (0.0, 1.0) if worst else (1.0, 0.0)
        sides = [(self.candidate, lowest)] + ([] if self.baseline is None else [(self.baseline, highest)])

        def mean(names: Sequence[str]) -> float:
            given = [[lost if (s := side.get(name)) is None else s for name in names] for side, lost in sides]
            return sum(_differences(given[0], given[1] if len(given) > 1 else None)) / len(names)

        return abs(mean([*self.candidate]) - mean(self.common))


def _differences(ours: Sequence[Any], theirs: Sequence[Any] | None) -> list[float]:
    """Return the score of each item, or how much higher it is than the baseline's."""
    if theirs is None:
        return [float(score) for score in ours]
    return [float(score) - float(other) for score, other in zip(ours, theirs, strict=True)]


@dataclass(frozen=True, eq=False)
class MeanScore(Mean):
    """``summaries(candidate).rouge_l >= 0.25``, or ``>= summaries(baseline).rouge_l - points(2)``."""

    data: Scores

    def _gate(self, asked: Asked, baseline: ByItem | None) -> MeanScoreGate:
        return MeanScoreGate(metric=self.metric, candidate=self.data, baseline=baseline, **asked)


# Macro-F1


@dataclass(frozen=True, kw_only=True)
class MacroF1Gate(MeanGate, kind="macro-F1"):
    """The macro-F1 of a multiple choice: the mean of the classes' F1."""

    not_planned: ClassVar[str] = "it depends on how the answers spread"
    least_of_a_class: ClassVar[int] = 5
    """With fewer items the F1 of a class is far from normal."""
    classes: Sequence[str] = ()

    @property
    def method(self) -> str:
        interval = "Korn and Graubard" if self.baseline is None else "Student's t"
        return f"jackknife by item, {interval}"

    def mutate(self, by: float, seed: int = 0) -> Self:
        """Answer a share ``by`` of all items with no class, drawn among those that are right."""
        right = [name for name, pair in self.candidate.items() if pair and pair[0] == pair[1]]
        hit = set(Random(seed).sample(right, min(len(right), round(by * self.size))))
        changed = {
            name: (pair[0], None) if pair and name in hit else pair for name, pair in self.candidate.items()
        }
        return replace(self, candidate=changed)

    def estimate(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> float:
        return self._jackknifed(ours, theirs).estimate

    def bounds(self, ours: Sequence[Any], theirs: Sequence[Any] | None, alpha: float) -> tuple[float, float]:
        found, level = self._jackknifed(ours, theirs), 1.0 - alpha
        if theirs is None:
            return found.bounds(level)
        return widen_for_unseen(
            *found.bounds(level),
            estimate=found.estimate,
            unlike=self.unlike(ours, theirs),
            n=len(ours),
            level=level,
            least=-1.0,
            most=1.0,
        )

    def too_few(self, names: Sequence[str]) -> tuple[str, int | None]:
        golds = Counter(gold for gold, _ in _pairs([self.candidate[name] for name in names]))
        rare, count = min(golds.items(), key=lambda entry: entry[1], default=("", self.least_of_a_class))
        if count >= self.least_of_a_class:
            return "", None
        least = self.least_of_a_class
        needed = math.ceil(len(names) * least / count)
        few = plural(count, "item")
        return f"class {rare} has {few}, {least} at least are needed: ask about {needed}", needed

    def _jackknifed(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> Jackknifed:
        if theirs is None:
            return macro_f1(_pairs(ours), self.classes)
        return macro_f1_difference(_pairs(ours), _pairs(theirs), self.classes)

    def unlike(self, ours: Sequence[Any], theirs: Sequence[Any] | None) -> int:
        if theirs is not None:
            sides = zip(_pairs(ours), _pairs(theirs), strict=True)
            return sum(said != other for (_, said), (_, other) in sides)
        right = sum(gold == said for gold, said in _pairs(ours))
        return min(right, len(ours) - right)

    def shift(self, *, worst: bool) -> float:
        """With all lost items of one class and all answered with one, the pair of them that moves the level most."""
        names = self.common
        lost = self.size - len(names)
        ours = _pairs([self.candidate[name] for name in names])
        theirs = None if self.baseline is None else _pairs([self.baseline[name] for name in names])

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
        here = self.estimate(ours, theirs)
        return max(
            0.0, here - min(low for low, _ in moves) if worst else max(high for _, high in moves) - here
        )


def _pairs(data: Sequence[Any]) -> list[Said]:
    return [(str(pair[0]), pair[1]) for pair in data]


@dataclass(frozen=True, eq=False)
class MacroF1(Mean):
    """``macro_f1(candidate, "medqa") >= 0.4``, or ``>= macro_f1(baseline, "medqa") - points(5)``."""

    data: Choices
    classes: Sequence[str] = ()

    def _gate(self, asked: Asked, baseline: ByItem | None) -> MacroF1Gate:
        return MacroF1Gate(
            metric=self.metric,
            candidate=self.data,
            baseline=baseline,
            classes=tuple(self.classes),
            **asked,
        )
