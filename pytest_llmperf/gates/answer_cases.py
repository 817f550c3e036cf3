"""Gates over answers to items: a share against a bound, and candidate against baseline on the same items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates import planted, sensitivity, sequential, spending
from pytest_llmperf.gates.case import Case, Damage
from pytest_llmperf.gates.decision import MAX_LOST_SHARE
from pytest_llmperf.gates.early import Question, Watch
from pytest_llmperf.gates.endings import Endings, with_endings
from pytest_llmperf.gates.not_worse import not_worse
from pytest_llmperf.gates.outcomes import Outcomes, tally
from pytest_llmperf.gates.share_gates import at_least as share_at_least
from pytest_llmperf.gates.share_gates import level_of, rate_below
from pytest_llmperf.gates.verdict import Status, Verdict


@dataclass(frozen=True, kw_only=True)
class _Answers(Case):
    """Of answers to items.

    ``planned``: items that may be asked; the run looks while they come in and stops when it is clear. None: the
    outcomes are all there is. ``more(n)`` gives the outcomes of the first n items, in the order in which they are
    asked, of the candidate and (an empty mapping where nothing is compared) of the baseline. ``before``: items of
    earlier looks, which are among the outcomes, among the planned, and in front of those that ``more`` gives.
    ``endings``: by side, how the answers ended; ``ended(n)`` gives those of the first n items.
    """

    candidate: Outcomes = field(repr=False)
    noun: str = "item"
    planned: int | None = None
    before: int = 0
    max_lost_share: float = MAX_LOST_SHARE
    more: Callable[[int], tuple[Outcomes, Outcomes]] | None = field(default=None, repr=False, compare=False)
    endings: Mapping[str, Endings] = field(default_factory=dict, repr=False)
    ended: Callable[[int], Mapping[str, Endings]] | None = field(default=None, repr=False, compare=False)

    @property
    def damage(self) -> Damage:
        return "points"

    @property
    def size(self) -> int:
        return len(self.candidate)

    @property
    def unasked(self) -> int:
        return max(0, self.planned - self.size) if self.planned is not None and not self.refused else 0

    def settled(self) -> Self:
        if self.more is None or self.planned is None or self.refused or self.bound is None:
            return self
        if self.stands is not None or self.planned <= self.before:
            return self
        left = self.planned - self.before
        looks = sequential.looks(left) if self._can_stop_early else [left]
        case, asked = self, left
        try:
            for asked in looks:
                case = self._with(*self.more(asked))
                if self._can_stop_early and case._is_decided:
                    break
        except NotMeasured as error:
            return replace(case, refused=str(error))
        return case if self.ended is None else replace(case, endings=self.ended(asked))

    def _verdict(self, bound: float) -> Verdict:
        return with_endings(self._by_outcomes(bound), self.endings)

    def _by_outcomes(self, bound: float) -> Verdict:
        if self.planned is None or not self._can_stop_early:
            return self._of_all(bound, self.alpha)
        watch = self._watch()
        if watch.status is None and self.size >= self.planned:
            return self._of_all(bound, spending.final(self.spent))
        aside = "" if self.size >= self.planned else f"stopped early of {self.planned}, "
        return watch.verdict(max_lost_share=self.max_lost_share, aside=aside)

    @property
    def _can_stop_early(self) -> bool:
        return True

    @property
    def _is_decided(self) -> bool:
        watch = self._watch()
        # With many lost at first, those that come may still make them few.
        return watch.status is not None and watch.lost_share <= self.max_lost_share

    def _watch(self) -> Watch:
        raise NotImplementedError

    def _with(self, candidate: Outcomes, baseline: Outcomes) -> Self:
        raise NotImplementedError

    def _of_all(self, bound: float, alpha: float) -> Verdict:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ShareCase(_Answers):
    """Is the share of True at least (``at_least`` False: at most) the bound?"""

    at_least: bool

    @property
    def verdict_unit(self) -> str:
        return "share"

    def damaged(self, by: float, seed: int = 0) -> Self:
        turn = planted.turned_wrong if self.at_least else planted.turned_true
        return replace(self, candidate=turn(self.candidate, by, seed), more=None)

    @property
    def _can_stop_early(self) -> bool:
        # No data can show an always or a never; the fixed gate says so.
        return self.bound is not None and 0.0 < self.bound < 1.0

    def _watch(self) -> Watch:
        assert self.bound is not None, "refused before"
        question = Question(self.metric, self.bound, at_least=self.at_least)
        return sequential.watch(question, self.candidate, {}, alpha=spending.early(self.spent))

    def _with(self, candidate: Outcomes, baseline: Outcomes) -> Self:
        del baseline
        return replace(self, candidate=candidate)

    def _of_all(self, bound: float, alpha: float) -> Verdict:
        gate = share_at_least if self.at_least else rate_below
        return gate(
            self.metric,
            self.candidate,
            bound,
            alpha=alpha,
            max_lost_share=self.max_lost_share,
            noun=self.noun,
        )


@dataclass(frozen=True, kw_only=True)
class MarginCase(_Answers):
    """Is the candidate's share not below (``lower_is_better``: not above) the baseline's by more than the bound?

    ``bound`` is the margin, a share (0.03 for three points).
    """

    baseline: Outcomes = field(repr=False)
    lower_is_better: bool
    guess: float = 0.0
    """The share that a model reaches which knows nothing; see ``gates.sensitivity``."""

    @property
    def verdict_unit(self) -> str:
        return "points"

    @property
    def _is_decided(self) -> bool:
        # A baseline that cannot be told from guessing yet may be with more items.
        return super()._is_decided and (
            self._watch().status is Status.FAIL or self._is_sensitive(spending.early(self.spent))
        )

    def _is_sensitive(self, alpha: float) -> bool:
        _, low, high = self._baseline_level(alpha)
        margin = self.bound or 0.0
        return sensitivity.is_sensitive(
            low, high, margin, guess=self.guess, lower_is_better=self.lower_is_better
        )

    def _baseline_level(self, alpha: float) -> tuple[float, float, float]:
        return level_of([*tally(self.baseline).scores.values()], alpha)

    def _by_outcomes(self, bound: float) -> Verdict:
        verdict = super()._by_outcomes(bound)
        if verdict.status is Status.INVALID:
            return verdict
        return sensitivity.checked(
            verdict,
            *self._baseline_level(self.alpha),
            bound,
            guess=self.guess,
            lower_is_better=self.lower_is_better,
            alpha=self.alpha,
        )

    def damaged(self, by: float, seed: int = 0) -> Self:
        turn = planted.turned_true if self.lower_is_better else planted.turned_wrong
        return replace(self, candidate=turn(self.candidate, by, seed), more=None)

    def _watch(self) -> Watch:
        assert self.bound is not None, "refused before"
        shift = self.bound if self.lower_is_better else -self.bound
        question = Question(self.metric, shift, paired=True, at_least=not self.lower_is_better)
        return sequential.watch(question, self.candidate, self.baseline, alpha=spending.early(self.spent))

    def _with(self, candidate: Outcomes, baseline: Outcomes) -> Self:
        return replace(self, candidate=candidate, baseline=baseline)

    def _of_all(self, bound: float, alpha: float) -> Verdict:
        return not_worse(
            self.metric,
            self.candidate,
            self.baseline,
            bound,
            lower_is_better=self.lower_is_better,
            guess=self.guess,
            alpha=alpha,
            max_lost_share=self.max_lost_share,
        )
