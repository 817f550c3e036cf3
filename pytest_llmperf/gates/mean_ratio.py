"""Positive metrics compared as ratios (perplexity, cost per correct answer): against a number, or against a multiple of
another model's on the same items.

A kind says how the level is made of the data; what the two comparisons have in common is here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from pytest_llmperf.gates.base import Asked, Relative, Scalable
from pytest_llmperf.gates.decision import (
    MAX_LOST_SHARE,
    Estimate,
    decide_ratio,
    invalid,
    too_many_lost,
)
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.mean import ByItem, ByItemGate
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.stats.ratio_estimators import ratio_of_ratios, ratio_of_sums

Documents = Mapping[str, Sequence[float] | None]
"""By document: tokens that were scored, the sum of their log probabilities, and that of the first; None: an error."""
Costs = Mapping[str, Sequence[float] | None]
"""By item: the cost of its answers, and how many of them are right; None: an infrastructure error."""


@dataclass(frozen=True, kw_only=True)
class MeanRatioGate(ByItemGate):
    """Is the level at most (or at least) the bound; with a ``baseline``, its ratio to the baseline's?"""

    method: ClassVar[str]
    at_least: bool = False

    @property
    def label(self) -> str:
        return self.metric if self.baseline is None else f"{self.metric} ratio"

    @property
    def verdict_unit(self) -> str:
        return self.bound_unit if self.baseline is None else "ratio"

    @property
    def bound_unit(self) -> str:
        """Unit of the level, as a bound is written in it."""
        raise NotImplementedError

    @property
    def level_unit(self) -> str:
        """Unit of either side's level in a verdict about their ratio."""
        return self.bound_unit

    def verdict(self, alpha: float) -> Verdict:
        if not (math.isfinite(self.threshold) and self.threshold > 0.0):
            raise ValueError(f"{self.label}: the bound is {self.bound}, a number above zero is needed")
        names = self.common
        return self.judge_items(names, self.size - len(names), alpha)

    def judge_items(self, names: Sequence[str], lost: int, alpha: float) -> Verdict:
        """Judge the items that every side has; ``lost`` others have no measurement."""
        raise NotImplementedError

    def decide(
        self,
        value: float,
        bounds: Callable[[float], tuple[float, float]],
        n: int,
        levels: Sequence[float],
        detail: str,
        alpha: float,
    ) -> Verdict:
        """Decide by a value and its one-sided ``bounds`` at an error, over ``n`` items; ``levels``: of both sides."""
        low, high = bounds(alpha)
        return decide_ratio(
            Estimate(self.label, self.verdict_unit, value, low, high, n, self.item_noun, self.method),
            bounds,
            self.threshold,
            at_least=self.at_least,
            alpha=alpha,
            levels=levels if self.baseline is not None else levels[:1],
            level_unit=self.level_unit,
            detail=detail,
        )


@dataclass(frozen=True, eq=False)
class MeanRatio(Scalable):
    """``level(candidate) <= level(baseline) * 1.05``, or against a number."""

    @property
    def size(self) -> int:
        return len(self.by_item)

    @property
    def by_item(self) -> ByItem:
        """The measurement of each item."""
        raise NotImplementedError

    @property
    def bound_unit(self) -> str:
        """Unit of the level."""
        raise NotImplementedError

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        if (
            isinstance(other, Relative)
            and isinstance(other.base, MeanRatio)
            and type(other.base) is type(self)
        ):
            base: MeanRatio = other.base
            if base.bound_unit != self.bound_unit:
                raise TypeError(
                    f"{self.label} is in {self.bound_unit}, {base.label} in {base.bound_unit}: "
                    "compare like with like"
                )
            return self.judge_by(
                other.by, lambda asked: self._gate(asked, base.by_item, at_least=at_least), baseline=base
            )
        return self.judge_against(
            other, self.bound_unit, lambda asked: self._gate(asked, None, at_least=at_least)
        )

    def _gate(self, asked: Asked, baseline: ByItem | None, *, at_least: bool) -> MeanRatioGate:
        raise NotImplementedError


# Perplexity


@dataclass(frozen=True, kw_only=True)
class PerplexityGate(MeanRatioGate, kind="perplexity"):
    """Gate on the ratio of two perplexities, weighted by tokens and paired by document.

    The log of the ratio of two perplexities is the sum of what the documents' log probabilities differ by, over their
    tokens (``stats.ratio_estimators``). That needs the same tokens on both sides.
    """

    least: ClassVar[int] = 10
    item_noun: ClassVar[str] = "document"
    method: ClassVar[str] = "ratio of sums by document, jackknife"
    not_planned: ClassVar[str] = "texts differ by what only a run shows"

    @property
    def bound_unit(self) -> str:
        return ""

    @property
    def level_unit(self) -> str:
        return "ppl"

    def mutate(self, by: float, seed: int = 0) -> Self:
        """Make every text less likely by the same factor: a perplexity higher by ``by``."""
        del seed
        worse = math.log1p(by)
        changed = {
            name: None if scored is None else (scored[0], scored[1] - worse * scored[0], scored[2] - worse)
            for name, scored in self.candidate.items()
        }
        return replace(self, candidate=changed)

    def judge_items(self, names: Sequence[str], lost: int, alpha: float) -> Verdict:
        n_needed = None
        trouble = too_many_lost(lost, self.size, MAX_LOST_SHARE, "document")
        if len(names) < self.least:
            trouble = f"{len(names)} documents were scored, {self.least} at least are needed"
            n_needed = self.least
        pairs = {name: self._pair(name) for name in names}
        unequal = [name for name, pair in pairs.items() if pair is None]
        if unequal and not trouble:
            trouble = self._other_tokens(unequal[0])
        if trouble:
            return invalid(
                self.label,
                trouble,
                bound=self.bound,
                n=len(names),
                n_needed=n_needed,
                unit=self.verdict_unit,
            )
        scored = [pair for pair in pairs.values() if pair is not None]
        tokens = [pair[0] for pair in scored]
        sums = ratio_of_sums([pair[1] for pair in scored], tokens)
        levels = [math.exp(-math.fsum(pair[side] for pair in scored) / math.fsum(tokens)) for side in (2, 3)]
        detail = f"{math.fsum(tokens):,.0f} tokens" + (f"; {lost} documents were lost" if lost else "")

        def bounds(error: float) -> tuple[float, float]:
            low, high = sums.bounds(1.0 - error)
            return math.exp(low), math.exp(high)

        return self.decide(math.exp(sums.estimate), bounds, len(names), levels, detail, alpha)

    def _pair(self, name: str) -> tuple[float, float, float, float] | None:
        """Return tokens, what is summed, and the log probability of each side; None where the tokens differ."""
        ours = self.candidate[name]
        if self.baseline is None:
            return float(ours[0]), -float(ours[1]), float(ours[1]), 0.0
        theirs = self.baseline[name]
        # A tokenizer that begins with a token of its own gives the first of the text a probability, another does not.
        if ours[0] == theirs[0] + 1:
            ours = (ours[0] - 1, ours[1] - ours[2])
        elif theirs[0] == ours[0] + 1:
            theirs = (theirs[0] - 1, theirs[1] - theirs[2])
        if ours[0] != theirs[0] or ours[0] < 1:
            return None
        return float(ours[0]), float(theirs[1] - ours[1]), float(ours[1]), float(theirs[1])

    def _other_tokens(self, name: str) -> str:
        ours, theirs = self.candidate[name], (self.baseline or {}).get(name)
        return (
            f"the tokenizers cut the texts differently ({name}: {ours and ours[0]:g} tokens and "
            f"{theirs and theirs[0]:g}): perplexities per token cannot be compared"
        )


@dataclass(frozen=True, eq=False)
class Perplexity(MeanRatio):
    """Perplexity of one model over documents: ``perplexity(a) <= perplexity(b) * 1.05``, or against a number."""

    what: ClassVar[str] = "perplexity"
    documents: Documents = field(repr=False)

    @property
    def example(self) -> str:
        return f"{self.metric} <= other * 1.05, or {self.metric} <= 12.5"

    @property
    def value(self) -> float | None:
        """The perplexity, for printing; None when nothing was scored."""
        scored = [document for document in self.documents.values() if document]
        tokens = sum(document[0] for document in scored)
        return math.exp(-math.fsum(document[1] for document in scored) / tokens) if tokens else None

    @property
    def by_item(self) -> ByItem:
        return self.documents

    @property
    def bound_unit(self) -> str:
        return ""

    def _gate(self, asked: Asked, baseline: ByItem | None, *, at_least: bool) -> PerplexityGate:
        return PerplexityGate(
            metric=self.metric, candidate=self.documents, baseline=baseline, at_least=at_least, **asked
        )


# Cost per correct answer


@dataclass(frozen=True, kw_only=True)
class PerCorrectGate(MeanRatioGate, kind="per correct"):
    """The cost of a correct answer in ``unit`` (tokens, seconds).

    A model that thinks longer may be right more often, and cost more. The cost of wrong answers counts too.
    """

    least: ClassVar[int] = 30
    least_right: ClassVar[int] = 10
    """With fewer right answers the log of their mean is far from normal."""
    method: ClassVar[str] = "ratio of totals by item, log scale, Student's t"
    not_planned: ClassVar[str] = "answers differ in length by what only a run shows"
    per: ClassVar[str] = "right"
    """What the answers that are counted under the line are."""
    unit: str

    @property
    def bound_unit(self) -> str:
        return self.unit

    def mutate(self, by: float, seed: int = 0) -> Self:
        """Make every answer cost more by the same factor."""
        del seed
        changed = {
            name: None if cost is None else (cost[0] * (1.0 + by), cost[1])
            for name, cost in self.candidate.items()
        }
        return replace(self, candidate=changed)

    def judge_items(self, names: Sequence[str], lost: int, alpha: float) -> Verdict:
        sides = [self.candidate] if self.baseline is None else [self.candidate, self.baseline]
        found = [[(float(side[name][0]), float(side[name][1])) for name in names] for side in sides]
        if trouble := too_many_lost(lost, self.size, MAX_LOST_SHARE, "answer"):
            pass
        elif len(names) < self.least:
            trouble = f"{len(names)} items were answered, {self.least} at least are needed"
        elif (few := min(sum(right for _, right in side) for side in found)) < self.least_right:
            trouble = f"{few:g} answers of one side are {self.per}, {self.least_right} at least are needed"
        elif not all(sum(cost for cost, _ in side) > 0.0 for side in found):
            trouble = f"the server told no {self.unit}"
        if trouble:
            return invalid(self.label, trouble, bound=self.bound, n=len(names), unit=self.verdict_unit)
        ratio = ratio_of_ratios(found[0], found[1] if self.baseline is not None else None)
        levels = [sum(cost for cost, _ in side) / sum(right for _, right in side) for side in found]
        detail = f"{lost} answers were lost" if lost else ""

        def bounds(error: float) -> tuple[float, float]:
            return ratio.bounds(1.0 - error)

        return self.decide(ratio.estimate, bounds, len(names), levels, detail, alpha)


@dataclass(frozen=True, eq=False)
class PerCorrect(MeanRatio):
    """``answers(a).tokens_per_correct <= answers(b).tokens_per_correct * 1.2``, or against a number."""

    what: ClassVar[str] = "cost"
    kind_of_gate: ClassVar[type[PerCorrectGate]] = PerCorrectGate
    unit: str
    costs: Costs = field(repr=False)

    @property
    def example(self) -> str:
        return f"{self.metric} <= other * 1.2, or {self.metric} <= 500"

    @property
    def by_item(self) -> ByItem:
        return self.costs

    @property
    def bound_unit(self) -> str:
        return self.unit

    def _gate(self, asked: Asked, baseline: ByItem | None, *, at_least: bool) -> PerCorrectGate:
        return self.kind_of_gate(
            metric=self.metric,
            unit=self.unit,
            candidate=self.costs,
            baseline=baseline,
            at_least=at_least,
            **asked,
        )


# Length of answers


@dataclass(frozen=True, kw_only=True)
class LengthGate(PerCorrectGate, kind="length"):
    """The output tokens of an answer, right or wrong: the same ratio of totals, over answers in place of right ones.

    With a baseline it is paired by item: what makes an item's answer long is the same on both sides.
    """

    per: ClassVar[str] = "there"


@dataclass(frozen=True, eq=False)
class Length(PerCorrect):
    """``answers(a).length <= answers(b).length * 1.1``, ``>= … * 0.9``, or against a number of tokens."""

    what: ClassVar[str] = "length"
    kind_of_gate: ClassVar[type[PerCorrectGate]] = LengthGate
