"""Candidate against baseline on the same items: not worse by more than a margin.

One answer an item and side: Tango's score interval for the paired difference, at the critical value that keeps
both errors at the margin (``stats.paired_exact``). Several, or groups of items: a bound for the mean of per-item (or
per-group) differences that assumes no distribution (``stats.bounded_mean``).
Never "no significant difference, hence equal": the margin must be shown.

A gate that may stop early is a group-sequential test: it judges the items so far after each portion of them, at the
level of that look (``early_stopping.margin_levels``), and its interval is the look's repeated confidence interval.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates import early_stopping, sensitivity
from pytest_llmperf.gates.answers import AnswersGate, estimate_share, level_of, missing
from pytest_llmperf.gates.decision import enough, invalid, lost_decide, status_of, too_many_lost, would_decide
from pytest_llmperf.gates.outcomes import Outcome, Outcomes, Tally, flips, tally
from pytest_llmperf.gates.plan import OFTEN, WANTED, PlannedGate, power_warning
from pytest_llmperf.gates.sentence import Told, count_words
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import about, plural
from pytest_llmperf.stats import (
    bounded_mean,
    group_sequential,
    operating_characteristics,
    paired,
    paired_exact,
    sample_size,
)
from pytest_llmperf.stats.operating_characteristics import Chances
from pytest_llmperf.units import format_interval, format_size, format_value, percent

DISCORDANCE = 0.20
"""Items that two equal models answer differently, where nothing is known: a fifth. Independently trained ones have more
(.26 to .41 on GSM8K), a model and its quantised self less."""
FLIPS_SHOWN = 12
FLIPS_ALPHA = 0.05
"""Error of the interval of the share of flips, half of it on either side."""


@dataclass(frozen=True, kw_only=True)
class PairedGate(AnswersGate, kind="margin"):
    """Is the candidate's share not below (``at_least`` False: not above) the baseline's by more than the bound?

    ``bound`` is the margin, a share (0.03 for three points); a negative one asks for an improvement. Items that only
    one side has, or that were lost on one side, are left out of what is observed; its bounds count them as the worst
    and the best that they can have been, and more than ``max_lost_share`` of them make the gate INVALID.
    ``ValueError`` for a margin outside −1…1.
    """

    sides: ClassVar[Sequence[str]] = ("candidate", "baseline")
    baseline: Outcomes = field(repr=False)
    guess: float = 0.0
    """The share that a model reaches by guessing; see ``gates.sensitivity``."""

    @property
    def verdict_unit(self) -> str:
        return "points"

    @property
    def target(self) -> float | None:
        """The difference that must be reached: minus the margin where high values are good, else plus."""
        return self.bound if self.bound is None or not self.at_least else -self.bound

    @property
    def _difference(self) -> float:
        """:attr:`target` of a gate with a bound."""
        return -self.threshold if self.at_least else self.threshold

    @property
    def _schedule(self) -> tuple[int, ...]:
        """Numbers of items after which the gate looks; empty where the items are all there is.

        After the decision of an earlier run nothing is left to be asked, and one look has the error of all.
        """
        if self.planned is None or self.planned <= self.before or self.stands is not None:
            return ()
        return tuple(self.before + n for n in early_stopping.looks(self.planned - self.before))

    @property
    def _look(self) -> int:
        """The index of this look in the schedule."""
        return next((i for i, n in enumerate(self._schedule) if n >= self.size), len(self._schedule) - 1)

    def _level(self, alpha: float) -> float:
        """Return the error of this look, where ``alpha`` is that of all looks of the schedule."""
        return early_stopping.margin_levels(self._schedule, alpha)[self._look] if self._schedule else alpha

    def stopping_rule(self) -> Callable[[AnswersGate], bool]:
        # INVALID goes on: few of many items may be lost, and a baseline that cannot be told from guessing yet may be.
        return lambda gate: gate.judge().status in (Status.PASS, Status.FAIL)

    def _by_outcomes(self, alpha: float) -> Verdict:
        verdict = self.judge_all(alpha)
        return verdict if verdict.status is Status.INVALID else self._with_flips(verdict)

    def _with_flips(self, verdict: Verdict) -> Verdict:
        """Return ``verdict`` with the share of flips and its two-sided interval, which the decision does not use."""
        counted = tally(flips(self.candidate, self.baseline))
        if not counted.answers:
            return verdict
        share, _ = estimate_share("flips", counted, FLIPS_ALPHA / 2, self.noun)
        interval = format_interval((share.low, share.high), "share")
        line = f"flips: {format_value(share.observed, 'share')} ({percent(1.0 - FLIPS_ALPHA)} interval {interval})"
        return replace(
            verdict,
            detail="\n".join(filter(None, (verdict.detail, line))),
            flips=share.observed,
            flips_interval=(share.low, share.high),
        )

    def judge_all(self, alpha: float) -> Verdict:
        self._check_margin()
        bound = self._difference
        try:
            ours, theirs = tally(self.candidate), tally(self.baseline)
        except NotMeasured as error:
            return invalid(self.metric, str(error), bound=bound, unit="points")
        common = sorted(ours.scores.keys() & theirs.scores.keys(), key=_natural)
        if trouble := self._trouble(ours, theirs, len(common)):
            return invalid(self.metric, trouble, bound=bound, n=len(common), unit="points")
        pairs, level = _Pairs.of(ours.scores, theirs.scores, common), self._level(alpha)
        low, high, p_value, method = self._bounds(pairs, level)
        status, lost_turn = status_of(low, high, bound, at_least=self.at_least), ""
        every = len(self.candidate.keys() | self.baseline.keys())
        if ours.lost or theirs.lost or every > pairs.n:
            without = status
            low_at_worst, _, p_at_worst, _ = self._bounds(self._filled(worst=True), level)
            _, high_at_best, p_at_best, _ = self._bounds(self._filled(worst=False), level)
            low, high = min(low, low_at_worst), max(high, high_at_best)
            p_value = p_at_best if self.at_least else p_at_worst
            status = status_of(low, high, bound, at_least=self.at_least)
            lost_turn = lost_decide(max(every - pairs.n, ours.lost, theirs.lost), without, status, "item")
        n_needed = None
        if status is Status.INCONCLUSIVE and not lost_turn:
            difference = min(0.999, max(-0.999, pairs.difference))
            needed = sample_size.items_for_margin(difference, -bound, min(1.0, pairs.squared), alpha=level)
            n_needed = enough(needed, pairs.n)
        told = Told(
            metric=self.metric,
            unit="points",
            status=status,
            observed=pairs.difference,
            low=low,
            high=high,
            bound=bound,
            at_least=self.at_least,
            alpha=alpha,
            counted=count_words(pairs.n, "common item", self.planned if self.unasked else None),
            turn=lost_turn or would_decide(n_needed, self.noun, self.available),
        )
        verdict = Verdict(
            status=status,
            metric=self.metric,
            observed=pairs.difference,
            interval=(low, high),
            bound=bound,
            n=pairs.n,
            n_needed=n_needed,
            method=method,
            why=told.against_baseline(pairs.candidate, pairs.baseline, "share"),
            unit="points",
            candidate=pairs.candidate,
            baseline=pairs.baseline,
            detail=_detail(pairs, ours, theirs, every),
            p_value=self._p_value(p_value, alpha),
            level_unit="share",
            discordance=pairs.discordance,
            level=level if self._schedule else None,
        )
        return sensitivity.checked(
            verdict,
            *level_of([theirs.scores[item] for item in common], level),
            self.threshold,
            guess=self.guess,
            at_least=self.at_least,
            alpha=level,
        )

    def _p_value(self, p: float, alpha: float) -> float:
        """Return the p-value over all looks, from that of this one."""
        if not self._schedule:
            return p
        return group_sequential.p_value(p, self._look, self._schedule, alpha, early_stopping.MARGIN_RHO)

    def _check_margin(self) -> None:
        if not -1.0 < self.threshold < 1.0:
            raise ValueError(
                f"{self.metric}: the margin is {self.bound}, a share between -1 and 1 (0.03 for three points)"
            )

    def _filled(self, *, worst: bool) -> _Pairs:
        """Return all items, lost answers counted so that the difference is the lowest possible, or the highest."""
        items = sorted(self.candidate.keys() | self.baseline.keys(), key=_natural)
        ours = tally({item: _given(self.candidate, item) for item in items}, lost_as=not worst)
        theirs = tally({item: _given(self.baseline, item) for item in items}, lost_as=worst)
        return _Pairs.of(ours.scores, theirs.scores, items)

    def _trouble(self, ours: Tally, theirs: Tally, common: int) -> str | None:
        for side, counted in (("candidate", ours), ("baseline", theirs)):
            if why := missing(counted, self.max_lost_share):
                return f"{side}: {why}"
        if not common:
            sizes = f"{len(self.candidate)} and {len(self.baseline)} items"
            return f"the two sides have no item in common ({sizes})"
        every = len(self.candidate.keys() | self.baseline.keys())
        one_sided = len(self.candidate.keys() ^ self.baseline.keys())
        if one_sided / every > self.max_lost_share:
            return (
                f"{one_sided} of {plural(every, 'item')} were given to one side only "
                f"({percent(one_sided / every)}, allowed {percent(self.max_lost_share)}): compare the same items"
            )
        return too_many_lost(every - common, every, self.max_lost_share, "item")

    def _bounds(self, pairs: _Pairs, alpha: float) -> tuple[float, float, float, str]:
        """Return the lower bound, the upper bound, the p-value of "the bound is met" and the method."""
        bound = self._difference
        if pairs.sampled:
            means = pairs.differences
            low, high = bounded_mean.lower(means, -1.0, alpha), bounded_mean.upper(means, 1.0, alpha)
            wrong = bounded_mean.p_below if self.at_least else bounded_mean.p_above
            p_value = wrong(means, 1.0 if self.at_least else -1.0, bound)
            return low, high, p_value, "Gaffke's bound of the paired differences, clustered by item"
        gained, lost, n = len(pairs.gained), len(pairs.lost), pairs.n
        discordant = gained + lost
        low = paired.tango_lower_at(gained, lost, n, paired_exact.critical_z(n, discordant, bound, alpha))
        high = paired.tango_upper_at(gained, lost, n, paired_exact.critical_z(n, discordant, -bound, alpha))
        if self.at_least:
            p_value = paired_exact.p_above(lost, gained, n, -bound, alpha)
        else:
            p_value = paired_exact.p_above(gained, lost, n, bound, alpha)
        return low, high, p_value, "Tango's paired score interval, exact at the margin"

    def plan(self, prior: Verdict | None) -> PlannedGate:
        self._check_margin()
        margin, n = self.threshold, self.planned or self.size
        alpha = self.alpha * (early_stopping.MARGIN_POWER if len(self._schedule) > 1 else 1.0)
        gate = replace(
            self.unplanned, n=n, noun=self.noun, at_most=self.planned is not None, caught_unit="points"
        )
        if n < 1:
            return replace(gate, warning="will be INVALID: no items are asked")
        if why := sensitivity.planned_trouble(
            n, margin, prior, guess=self.guess, at_least=self.at_least, alpha=alpha
        ):
            return replace(gate, warning=why)
        difference, assumed = 0.0, "equal models"
        if prior is not None and prior.observed is not None:
            difference = prior.observed if self.at_least else -prior.observed
            assumed = f"{format_value(prior.observed, 'points')} as recorded"
        seen = None if prior is None else prior.discordance
        discordance = min(1.0, max(abs(difference), DISCORDANCE if seen is None else seen))
        recorded = "" if seen is None else " as recorded"
        assumed += f", {percent(discordance)} answered differently{recorded}"
        forecast = _chances(n, difference, discordance, margin, alpha)

        def needed() -> str:
            items = _items_needed(difference, margin, discordance, alpha)
            wider = _margin_needed(n, difference, discordance, margin, alpha)
            ways = [f"about {about(items)} {self.noun}s"] if items else []
            ways += [f"a margin of {format_size(round(wider, 3), 'points')}"] if wider is not None else []
            return ", or ".join(ways)

        return replace(
            gate,
            assumed=assumed,
            chances=forecast,
            caught_often=_drop_caught(n, discordance, margin, alpha, OFTEN),
            caught=_drop_caught(n, discordance, margin, alpha, WANTED),
            warning=power_warning(forecast, difference >= -margin, needed, assumed),
        )


@dataclass(frozen=True)
class _Pairs:
    """Item means of both sides on the same items."""

    ours: Mapping[str, float]
    theirs: Mapping[str, float]
    sampled: bool

    @classmethod
    def of(
        cls, ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]], items: Sequence[str]
    ) -> _Pairs:
        return cls(
            {item: _mean(ours[item]) for item in items},
            {item: _mean(theirs[item]) for item in items},
            sampled=any(len(side[item]) > 1 for side in (ours, theirs) for item in items),
        )

    @property
    def n(self) -> int:
        return len(self.ours)

    @property
    def candidate(self) -> float:
        return sum(self.ours.values()) / self.n

    @property
    def baseline(self) -> float:
        return sum(self.theirs.values()) / self.n

    @property
    def differences(self) -> list[float]:
        return [self.ours[item] - self.theirs[item] for item in self.ours]

    @property
    def difference(self) -> float:
        return sum(self.differences) / self.n

    @property
    def gained(self) -> list[str]:
        return [item for item in self.ours if self.ours[item] > self.theirs[item]]

    @property
    def lost(self) -> list[str]:
        return [item for item in self.ours if self.ours[item] < self.theirs[item]]

    @property
    def discordance(self) -> float:
        """Share of the items whose means differ."""
        return (len(self.gained) + len(self.lost)) / self.n

    @property
    def squared(self) -> float:
        """Mean squared difference: the discordant share where every item has one answer a side."""
        return sum(d * d for d in self.differences) / self.n


def _given(side: Outcomes, item: str) -> Outcome | Sequence[Outcome]:
    """Return the outcomes of an item; None, which is lost, for one that this side has no answer to."""
    given = side.get(item)
    return None if isinstance(given, Sequence) and not given else given


def _detail(pairs: _Pairs, ours: Tally, theirs: Tally, every: int) -> str:
    gained, lost = pairs.gained, pairs.lost
    same = pairs.n - len(lost) - len(gained)
    lines = [f"{len(lost)} items got worse, {len(gained)} got better, {same} stayed the same"]
    lines += [f"{name}: {_some(items)}" for name, items in (("worse", lost), ("better", gained)) if items]
    if every > pairs.n:
        lines.append(
            f"{plural(every - pairs.n, 'item')} left out: on one side only, or lost to infrastructure errors "
            f"({ours.lost} answers of the candidate, {theirs.lost} of the baseline)"
        )
    return "\n".join(lines)


def _some(items: Sequence[str]) -> str:
    shown = ", ".join(str(item) for item in items[:FLIPS_SHOWN])
    return shown if len(items) <= FLIPS_SHOWN else f"{shown} and {len(items) - FLIPS_SHOWN} more"


def _natural(item: str) -> list[tuple[int, str]]:
    """Sorts ``item-9`` before ``item-10``."""
    parts = re.split(r"(\d+)", str(item))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores)


# Searches that take up to a second: several gates ask the same.


@lru_cache(maxsize=256)
def _chances(n: int, difference: float, discordance: float, margin: float, alpha: float) -> Chances:
    return operating_characteristics.of_margin(n, difference, discordance, margin, alpha=alpha)


@lru_cache(maxsize=256)
def _drop_caught(n: int, discordance: float, margin: float, alpha: float, wanted: float) -> float | None:
    return sample_size.drop_caught_by_margin(n, discordance, margin, alpha=alpha, wanted=wanted)


@lru_cache(maxsize=256)
def _items_needed(difference: float, margin: float, discordance: float, alpha: float) -> int | None:
    return sample_size.exact_items_for_margin(difference, margin, discordance, alpha=alpha, wanted=WANTED)


@lru_cache(maxsize=256)
def _margin_needed(
    n: int, difference: float, discordance: float, margin: float, alpha: float
) -> float | None:
    """The margin, to a tenth of a point and never too narrow, that so many items decide; None above 30 points."""
    low, high = math.floor(1000 * margin), 300
    if (
        operating_characteristics.of_margin(n, difference, discordance, high / 1000, alpha=alpha).passes
        < WANTED
    ):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        decides = (
            operating_characteristics.of_margin(n, difference, discordance, middle / 1000, alpha=alpha).passes
            >= WANTED
        )
        low, high = (low, middle) if decides else (middle, high)
    return high / 1000
