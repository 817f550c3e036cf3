"""A proportion of items: accuracy, or how often a behaviour shows, against a floor, a limit or another model's.

The gate against a fixed bound is here; :mod:`pytest_llmperf.gates.paired` compares two models on the same items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Protocol

from pytest_llmperf.config.bounds import Bound, Incomparable
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates import early_stopping
from pytest_llmperf.gates.answers import AnswersGate, estimate_share, item_means, missing
from pytest_llmperf.gates.base import Estimand, Relative
from pytest_llmperf.gates.bound import Points, margin_of
from pytest_llmperf.gates.decision import (
    MAX_LOST_SHARE,
    Estimate,
    invalid,
    lost_decide,
    status_of,
    verdict_of,
)
from pytest_llmperf.gates.early_stopping import Question, Watch
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.outcomes import Endings, Outcomes, Tally, tally
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.plan import OFTEN, WANTED, PlannedGate, power_warning
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import about
from pytest_llmperf.stats import binomial, bounded_mean, operating_characteristics, sample_size
from pytest_llmperf.units import percent


@dataclass(frozen=True, kw_only=True)
class ProportionGate(AnswersGate, kind="share"):
    """Is the share of True at least (``at_least`` False: at most) the bound?

    INVALID without a single outcome, with more than ``max_lost_share`` infrastructure errors, or with
    something that is no outcome; ``ValueError`` for a bound outside 0…1.
    """

    @property
    def verdict_unit(self) -> str:
        return "share"

    @property
    def can_stop_early(self) -> bool:
        # No data can show an always or a never; the fixed gate says so.
        return self.bound is not None and 0.0 < self.bound < 1.0

    def watch(self, earlier: Watch | None = None) -> Watch:
        """Watch the bound over the answers that are there; ``earlier``: see :func:`early_stopping.watch`."""
        question = Question(self.metric, self.threshold, at_least=self.at_least)
        return early_stopping.watch(
            question, self.candidate, alpha=early_stopping.early(self.spent), earlier=earlier
        )

    def stopping_rule(self) -> Callable[[AnswersGate], bool]:
        watch: Watch | None = None

        def is_decided(gate: AnswersGate) -> bool:
            nonlocal watch
            assert isinstance(gate, ProportionGate)
            if not gate.can_stop_early:
                return False
            watch = gate.watch(watch)
            # With many lost at first, those that come may still make them few.
            return watch.status is not None and watch.lost_share <= self.max_lost_share

        return is_decided

    def _by_outcomes(self, alpha: float) -> Verdict:
        if self.planned is None or not self.can_stop_early:
            return self.judge_all(alpha)
        watch = self.watch()
        if watch.status is None and self.size >= self.planned:
            return self.judge_all(early_stopping.final(self.spent))
        planned = self.planned if self.unasked else None
        return watch.verdict(max_lost_share=self.max_lost_share, planned=planned)

    @property
    def planned_alpha(self) -> float:
        """The error of the gate over all items: where it may stop before, looking has cost its part."""
        return self.alpha if self.planned is None else early_stopping.final(self.spent)

    def judge_all(self, alpha: float) -> Verdict:
        bound, at_least, noun = self.threshold, self.at_least, self.noun
        name = "floor" if at_least else "limit"
        if not (math.isfinite(bound) and 0.0 <= bound <= 1.0):
            raise ValueError(f"{self.metric}: the {name} is {bound}, a share lies between 0 and 1")
        try:
            counted = tally(self.candidate)
        except NotMeasured as error:
            return invalid(self.metric, str(error), bound=bound, n=self.size, unit="share")
        if trouble := missing(counted, self.max_lost_share):
            return invalid(self.metric, trouble, bound=bound, n=len(counted.scores), unit="share")
        estimate, effective = estimate_share(self.metric, counted, alpha, noun)
        p_value, lost_turn, detail = self._p_value(counted), "", ""
        if counted.lost:
            detail = f"{counted.lost} of {counted.asked} answers were lost to infrastructure errors"
            without = status_of(estimate.low, estimate.high, bound, at_least=at_least)
            worst, _ = estimate_share(self.metric, tally(self.candidate, lost_as=False), alpha, noun)
            best, _ = estimate_share(self.metric, tally(self.candidate, lost_as=True), alpha, noun)
            p_value = self._p_value(tally(self.candidate, lost_as=at_least))
            estimate = replace(estimate, low=min(estimate.low, worst.low), high=max(estimate.high, best.high))
            now = status_of(estimate.low, estimate.high, bound, at_least=at_least)
            lost_turn = lost_decide(counted.lost, without, now, "answer")
        answers = sample_size.items_for_floor(estimate.observed, bound, alpha=alpha)
        verdict = verdict_of(
            estimate,
            bound,
            at_least=at_least,
            bound_name=name,
            alpha=alpha,
            p_value=p_value,
            n_needed=None if answers is None else math.ceil(answers * estimate.n / effective),
            detail=detail,
            available=self.available,
            lost_turn=lost_turn,
        )
        if verdict.status is Status.INCONCLUSIVE and self._is_extreme:
            return replace(verdict, status=Status.INVALID, why=self._cannot_be_shown(estimate), n_needed=None)
        return verdict

    def _p_value(self, counted: Tally) -> float:
        """Return the p-value of "the bound is met", to go with the bounds of ``estimate_share``."""
        means, bound = item_means(counted), self.threshold
        if counted.sampled:
            if self.at_least:
                return bounded_mean.p_below(means, 1.0, bound)
            return bounded_mean.p_above(means, 0.0, bound)
        bad_tail = binomial.p_at_most if self.at_least else binomial.p_at_least
        return bad_tail(float(round(sum(means))), float(len(means)), bound)

    @property
    def _is_extreme(self) -> bool:
        """The bound asks for an always or a never."""
        return self.bound == (1.0 if self.at_least else 0.0)

    def _cannot_be_shown(self, estimate: Estimate) -> str:
        name, extreme = ("floor", "1 (always)") if self.at_least else ("limit", "0 (never)")
        # The bound that these very data would have met, rounded to the lenient side.
        showable = (
            math.floor(estimate.low * 1000) / 1000
            if self.at_least
            else math.ceil(estimate.high * 1000) / 1000
        )
        return (
            f"{self.metric}: a {name} of {extreme} cannot be shown by any number of {self.noun}s; "
            f"none of {estimate.n} was against it, write the share that is still acceptable, "
            f"e.g. {showable:.3g}"
        )

    def plan(self, prior: Verdict | None) -> PlannedGate:
        n, alpha, bound = self.planned or self.size, self.planned_alpha, self.threshold
        gate = replace(
            self.unplanned, n=n, noun=self.noun, at_most=self.planned is not None, caught_unit="points"
        )
        if n < 1:
            return replace(gate, warning="will be INVALID: no items are asked")
        if self._is_extreme:
            what = "floor" if self.at_least else "limit"
            return replace(gate, warning=f"can never pass: no amount of data shows a {what} of {bound:g}")

        def good(share: float) -> float:
            return share if self.at_least else 1.0 - share

        if prior is not None and prior.observed is not None:
            truth = min(1.0, max(0.0, good(prior.observed)))
            assumed = f"{percent(good(truth))} as recorded"
        else:
            truth = (1.0 + good(bound)) / 2.0
            best = "100" if self.at_least else "0"
            assumed = f"{percent(good(truth))}, half-way from the bound to {best} %"
        forecast = operating_characteristics.of_floor(n, truth, good(bound), alpha=alpha)

        def needed() -> str:
            items = _items_needed(truth, good(bound), alpha)
            return f"about {about(items)} {self.noun}s" if items else ""

        return replace(
            gate,
            assumed=assumed,
            chances=forecast,
            caught_often=_drop_caught(n, truth, good(bound), alpha, OFTEN),
            caught=_drop_caught(n, truth, good(bound), alpha, WANTED),
            warning=power_warning(forecast, truth >= good(bound), needed, assumed),
        )


# Searches that take up to a second: several gates ask the same.


@lru_cache(maxsize=256)
def _drop_caught(n: int, truth: float, floor: float, alpha: float, wanted: float) -> float | None:
    return sample_size.drop_caught_by_floor(n, truth, floor, alpha=alpha, wanted=wanted)


@lru_cache(maxsize=256)
def _items_needed(truth: float, floor: float, alpha: float) -> int | None:
    return sample_size.exact_items_for_floor(truth, floor, alpha=alpha, wanted=WANTED)


class Growing(Protocol):
    """Outcomes that are measured when they are asked for, so that clear cases need few of them."""

    @property
    def planned(self) -> int:
        """Items that may be asked in all."""
        ...

    def first(self, n: int) -> Outcomes:
        """Return the outcomes of the first n items, in an order that is random and always the same."""
        ...


@dataclass(frozen=True, eq=False)
class Share(Estimand):
    """The share of True among the outcomes, by item id; None is an infrastructure error and does not count.

    An item has one outcome, or a sequence of those of its K samples. What can be written::

        share >= 0.74                         share <= 0.02
        share >= other - points(3)            share <= other + points(2)
        share.not_worse_than(other, margin=points(3))

    Two shares without a margin raise ``TypeError``: equal models would fail half of the time.

    With ``growing`` the outcomes are measured by the gates, as many as each needs to decide; ``outcomes`` is empty.
    ``guess``: the share that a model reaches by guessing; ``ended(n)``: how the answers to the first n items ended;
    ``available``: items that the task has, None if unknown.
    """

    what: ClassVar[str] = "share"
    metric: str
    outcomes: Outcomes = field(repr=False)
    noun: str = "item"
    growing: Growing | None = field(default=None, repr=False)
    max_lost_share: float = MAX_LOST_SHARE
    guess: float = 0.0
    ended: Callable[[int], Endings] | None = field(default=None, repr=False)
    available: int | None = field(default=None, repr=False)
    valueless: str = field(default="", repr=False)
    """Why :attr:`value` is not known, as only a part of the items is asked; empty if it is."""

    @property
    def label(self) -> str:
        return self.metric

    @property
    def example(self) -> str:
        return f"{self.metric} >= 0.74, or {self.metric} >= other - points(3)"

    @property
    def size(self) -> int:
        return self.growing.planned if self.growing else len(self.outcomes)

    @property
    def value(self) -> float | None:
        """The observed share over all items (each weighs the same), which are measured if need be; None without any.

        :class:`NotMeasured` in a shard that asks a part of the items.
        """
        if self.valueless:
            raise NotMeasured(f"{self.metric} has no value: {self.valueless}; compare it in an assert")
        outcomes = self.growing.first(self.growing.planned) if self.growing else self.outcomes
        scores = tally(outcomes).scores.values()
        return sum(sum(item) / len(item) for item in scores) / len(scores) if scores else None

    def __sub__(self, margin: object) -> Relative[Share]:
        by = margin_of(margin)
        return Relative(self, by if isinstance(by, Incomparable) else -by, "with a margin")

    def __add__(self, margin: object) -> Relative[Share]:
        return Relative(self, margin_of(margin), "with a margin")

    def not_worse_than(self, other: Share, *, margin: Points | Bound | Incomparable) -> Judgement:
        """``self >= other - margin`` in words."""
        return self >= other - margin

    def not_higher_than(self, other: Share, *, margin: Points | Bound | Incomparable) -> Judgement:
        """``self <= other + margin`` in words, for unwanted behaviours."""
        return self <= other + margin

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        if isinstance(other, Relative) and isinstance(other.base, Share):
            return self._compare_with(other.base, other.by, at_least=at_least)
        growing = self.growing
        return self.judge_against(
            other,
            "share",
            lambda asked: ProportionGate(
                metric=self.metric,
                candidate=self.outcomes,
                at_least=at_least,
                noun=self.noun,
                planned=growing.planned if growing else None,
                more=(lambda n: (growing.first(n), {})) if growing else None,
                max_lost_share=self.max_lost_share,
                available=self.available,
                **self._ending({"candidate": self}),
                **asked,
            ),
        )

    def _compare_with(self, other: Share, by: Points | Bound | Incomparable, *, at_least: bool) -> Judgement:
        assert not isinstance(by, Bound), "margin_of gives points"
        ours, theirs = self.growing, other.growing
        both = (ours, theirs) if ours and theirs and ours.planned == theirs.planned else None
        if (ours or theirs) and not both:
            raise TypeError(f"{self.label} is compared with {other.label}, which has other items")
        return self.judge_by(
            -by if at_least and isinstance(by, Points) else by,
            lambda asked: PairedGate(
                metric=self.metric,
                candidate=self.outcomes,
                baseline=other.outcomes,
                at_least=at_least,
                noun=self.noun,
                planned=both[0].planned if both else None,
                more=(lambda n: (both[0].first(n), both[1].first(n))) if both else None,
                max_lost_share=self.max_lost_share,
                available=self.available,
                guess=max(self.guess, other.guess),
                **self._ending({"candidate": self, "baseline": other}),
                **asked,
            ),
            baseline=other,
        )

    def _ending(self, sides: Mapping[str, Share]) -> Any:
        """Return how the answers of each side ended, or for answers that are yet to be asked what will tell it."""
        telling = {side: share.ended for side, share in sides.items() if share.ended}

        def ended(n: int) -> Mapping[str, Endings]:
            return {side: tell(n) for side, tell in telling.items()}

        return {"ended": ended} if self.growing else {"endings": ended(self.size)}
