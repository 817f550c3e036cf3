"""Shared parts of the gates over answers to items: collecting answers until the gate is decided, damage, and looks.

The bounds of a share are Clopper and Pearson's exact ones at every n: with Wilson's, a model exactly at its floor is
called too low in up to 9.4 % of runs (``stats.binomial``). With several samples an item, or groups of items, these are
the sample, with a bound for the mean of their shares (``stats.bounded_mean``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates import early_stopping
from pytest_llmperf.gates.base import Damage, Gate
from pytest_llmperf.gates.decision import LOST, MAX_LOST_SHARE, Estimate, too_many_lost
from pytest_llmperf.gates.outcomes import Endings, Outcome, Outcomes, Tally, with_endings
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.stats import arguments, binomial, bounded_mean
from pytest_llmperf.stats.clustered import clustered_mean

_NOTHING_NEW = (
    "this look added nothing: an earlier one asked all items, and greedy answers to them are the same again"
)


@dataclass(frozen=True, kw_only=True)
class AnswersGate(Gate):
    """A gate over the outcomes of answers to items.

    ``planned``: items that may be asked; the run looks while they come in and stops when it is clear. None: the
    outcomes are all there is. ``more(n)`` gives the outcomes of the first n items, in the order in which they are
    asked, of the candidate and (an empty mapping where nothing is compared) of the baseline. ``before``: items of
    earlier looks, which are among the outcomes, among the planned, and in front of those that ``more`` gives.
    ``available``: items that the task has, None if unknown.
    ``endings``: by side, how the answers ended; ``ended(n)`` gives those of the first n items.
    """

    damage: ClassVar[Damage] = "points"
    measured: ClassVar[frozenset[str]] = frozenset(
        {"candidate", "baseline", "planned", "before", "available", "more", "endings", "ended"}
    )
    unrecorded: ClassVar[frozenset[str]] = frozenset({"more", "ended", "available"})
    sides: ClassVar[Sequence[str]] = ("candidate",)

    at_least: bool
    candidate: Outcomes = field(repr=False)
    noun: str = "item"
    planned: int | None = None
    before: int = 0
    available: int | None = field(default=None, compare=False)
    max_lost_share: float = MAX_LOST_SHARE
    more: Callable[[int], tuple[Outcomes, Outcomes]] | None = field(default=None, repr=False, compare=False)
    endings: Mapping[str, Endings] = field(default_factory=dict, repr=False)
    ended: Callable[[int], Mapping[str, Endings]] | None = field(default=None, repr=False, compare=False)

    def judge_all(self, alpha: float) -> Verdict:
        """Judge the answers that are there with the fixed gate."""
        raise NotImplementedError

    def stopping_rule(self) -> Callable[[AnswersGate], bool]:
        """Return the function that says, at each look in turn, whether no more items need to be asked."""
        raise NotImplementedError

    @property
    def can_stop_early(self) -> bool:
        """Some data can show the bound."""
        return True

    @property
    def size(self) -> int:
        return len(self.candidate)

    @property
    def unasked(self) -> int:
        if self.planned is None or self.refused:
            return 0
        return max(0, self.planned - self.size)

    def settled(self) -> Self:
        if self.more is None or self.planned is None or self.refused or self.bound is None:
            return self
        if self.stands is not None or self.planned <= self.before:
            return self
        left = self.planned - self.before
        looks = early_stopping.looks(left) if self.can_stop_early else [left]
        more, asked = self.more, left

        def sizes() -> Iterator[int]:
            nonlocal asked
            for size in looks:
                asked = size
                yield size

        gate = self.collected(sizes(), lambda n: self._with(more(n)), self.stopping_rule())
        if self.ended is None or gate.refused:
            return gate
        return replace(gate, endings=self.ended(asked))

    def verdict(self, alpha: float) -> Verdict:
        return with_endings(self._by_outcomes(alpha), self.endings)

    def _by_outcomes(self, alpha: float) -> Verdict:
        """Judge the answers, whatever their endings."""
        raise NotImplementedError

    @property
    def _outcomes(self) -> dict[str, Outcomes]:
        return {side: getattr(self, side) for side in self.sides}

    def _with(self, outcomes: Sequence[Outcomes]) -> Self:
        given: dict[str, Any] = dict(zip(self.sides, outcomes, strict=False))
        return replace(self, **given)

    def mutate(self, by: float, seed: int = 0) -> Self:
        """Turn a share ``by`` of all answers that count to the bad outcome; where fewer are good, all of them."""
        return replace(self, candidate=_turned(self.candidate, by, seed, was=self.at_least), more=None)

    def merge(self, earlier: Self) -> Self:
        """Add the items of this look; an item that was asked again has more answers, and is not a new item."""
        then, more = earlier._outcomes, self.more

        def pooled(given: Sequence[Outcomes]) -> list[Outcomes]:
            return [_together(then[side], ours) for side, ours in zip(self.sides, given, strict=False)]

        if self.stands is not None and self.planned is not None:
            gate = self._with([*then.values()])
            return replace(gate, planned=earlier.planned, before=earlier.size, more=None)
        if more is None or self.planned is None:
            # Asked already: all of them, or the same items once more.
            remark = self.remark if self.size else _NOTHING_NEW
            gate = self._with(pooled([*self._outcomes.values()]))
            return replace(gate, planned=None, before=0, remark=remark)
        if earlier.planned is None:
            # The first look left nothing to be spent on looking: ask all, and look once.
            try:
                return replace(self._with(pooled(more(self.planned))), planned=None, more=None)
            except NotMeasured as error:
                return replace(self, refused=str(error))

        def pooled_first(n: int) -> tuple[Outcomes, Outcomes]:
            ours, *theirs = pooled(more(n))
            return ours, theirs[0] if theirs else {}

        return replace(
            self._with([*then.values()]),
            planned=earlier.size + self.planned,
            before=earlier.size,
            more=pooled_first,
        )


def _together(before: Outcomes, now: Outcomes) -> Outcomes:
    """Return the items in the order in which they were first asked, each with all of its answers."""
    again = {item: [*_several(before[item]), *_several(now[item])] for item in now if item in before}
    return {**before, **now, **again}


def _several(given: Any) -> list[Any]:
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str | bytes) else [given]


def _turned(outcomes: Outcomes, share: float, seed: int, *, was: bool) -> dict[str, Outcome | list[Outcome]]:
    """Turn ``share`` of all outcomes that count from ``was`` to its opposite; lost ones stay lost."""
    wanted = arguments.share("share", share)
    several: dict[str, list[Outcome]] = {
        item: list(given) if isinstance(given, Sequence) else [given] for item, given in outcomes.items()
    }
    counting = sum(1 for given in several.values() for outcome in given if outcome is not None)
    places = [
        (item, index)
        for item, given in several.items()
        for index, outcome in enumerate(given)
        if outcome is not None and bool(outcome) is was
    ]
    chosen = random.Random(seed).sample(places, min(len(places), round(wanted * counting)))
    for item, index in chosen:
        several[item][index] = not was
    return {
        item: several[item] if isinstance(given, Sequence) else several[item][0]
        for item, given in outcomes.items()
    }


# The level of one side


def estimate_share(metric: str, counted: Tally, alpha: float, noun: str) -> tuple[Estimate, float]:
    """Return the share over items with its two one-sided bounds, and the effective number of answers."""
    mean = clustered_mean(list(counted.scores.values()))
    if counted.sampled:
        method, means = "Gaffke's bound, clustered by item", item_means(counted)
        low, high = bounded_mean.lower(means, 0.0, alpha), bounded_mean.upper(means, 1.0, alpha)
    else:
        method, successes = "Clopper-Pearson", float(round(mean.mean * mean.items))
        low = binomial.clopper_pearson_lower(successes, mean.items, 1.0 - alpha)
        high = binomial.clopper_pearson_upper(successes, mean.items, 1.0 - alpha)
    return Estimate(metric, "share", mean.mean, low, high, mean.items, noun, method), mean.effective_n


def item_means(counted: Tally) -> list[float]:
    """Return the share of True among the answers of each item."""
    return [min(1.0, sum(scores) / len(scores)) for scores in counted.scores.values()]


def level_of(scores: Collection[Sequence[float]], alpha: float) -> tuple[float, float, float]:
    """Return a share over items and its two one-sided bounds; ``scores`` holds those of each item's answers."""
    items = {str(number): several for number, several in enumerate(scores)}
    estimate, _ = estimate_share("", Tally(items, 0, sum(map(len, scores))), alpha, "item")
    return estimate.observed, estimate.low, estimate.high


def missing(counted: Tally, allowed: float) -> str | None:
    """Return why these outcomes cannot be judged; None when they can."""
    if not counted.asked:
        return "nothing was measured, there is not one answer"
    if not counted.answers:
        return f"nothing was measured, all {counted.lost} answers {LOST}"
    return too_many_lost(counted.lost, counted.asked, allowed, "answer")
