"""A share over items: accuracy, or how often a behaviour shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_llmperf.config.bounds import Bound, Incomparable
from pytest_llmperf.gates.answer_cases import MarginCase, ShareCase
from pytest_llmperf.gates.bound import Points, margin_of
from pytest_llmperf.gates.comparable import Asked, Estimand
from pytest_llmperf.gates.decision import MAX_LOST_SHARE
from pytest_llmperf.gates.endings import Endings
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.outcomes import Outcomes, tally


class Growing(Protocol):
    """Outcomes that are measured when they are asked for, so that clear cases need few of them."""

    @property
    def planned(self) -> int:
        """Items that may be asked in all."""
        ...

    def first(self, n: int) -> Outcomes:
        """The outcomes of the first n items, in an order that is random and always the same."""
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
    ``guess``: the share that a model reaches which knows nothing; ``ended(n)``: how the answers to the first n items
    ended.
    """

    metric: str
    outcomes: Outcomes = field(repr=False)
    noun: str = "item"
    growing: Growing | None = field(default=None, repr=False)
    max_lost_share: float = MAX_LOST_SHARE
    guess: float = 0.0
    ended: Callable[[int], Endings] | None = field(default=None, repr=False)

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
        """The observed share (items weigh equally), for printing: of all items, which are measured if need be.

        None when nothing was measured.
        """
        outcomes = self.growing.first(self.growing.planned) if self.growing else self.outcomes
        scores = tally(outcomes).scores.values()
        return sum(sum(item) / len(item) for item in scores) / len(scores) if scores else None

    def __ge__(self, other: object) -> Judgement:
        if isinstance(other, ShiftedShare):
            return self._paired(other.share, other.by, lower_is_better=False)
        return self._against(other, "share", lambda asked: self._case(asked, at_least=True))

    def __le__(self, other: object) -> Judgement:
        if isinstance(other, ShiftedShare):
            return self._paired(other.share, other.by, lower_is_better=True)
        return self._against(other, "share", lambda asked: self._case(asked, at_least=False))

    def _case(self, asked: Asked, *, at_least: bool) -> ShareCase:
        growing = self.growing
        return ShareCase(
            metric=self.metric,
            candidate=self.outcomes,
            at_least=at_least,
            noun=self.noun,
            planned=growing.planned if growing else None,
            more=(lambda n: (growing.first(n), {})) if growing else None,
            max_lost_share=self.max_lost_share,
            **self._ending({"candidate": self}),
            **asked,
        )

    def _ending(self, sides: Mapping[str, Share]) -> Any:
        """How the answers of each side ended, or for answers that are yet to be asked what will tell it."""
        telling = {side: share.ended for side, share in sides.items() if share.ended}

        def ended(n: int) -> Mapping[str, Endings]:
            return {side: tell(n) for side, tell in telling.items()}

        return {"ended": ended} if self.growing else {"endings": ended(self.size)}

    def __sub__(self, margin: object) -> ShiftedShare:
        by = margin_of(margin)
        return ShiftedShare(self, by if isinstance(by, Incomparable) else -by)

    def __add__(self, margin: object) -> ShiftedShare:
        return ShiftedShare(self, margin_of(margin))

    def not_worse_than(self, other: Share, *, margin: Points | Bound | Incomparable) -> Judgement:
        """``self >= other - margin``, for those who prefer it in words."""
        return self >= other - margin

    def not_higher_than(self, other: Share, *, margin: Points | Bound | Incomparable) -> Judgement:
        """``self <= other + margin``, for behaviours that nobody wants."""
        return self <= other + margin

    def _paired(self, other: Share, by: Points | Incomparable, *, lower_is_better: bool) -> Judgement:
        sign = 1.0 if lower_is_better else -1.0
        ours, theirs = self.growing, other.growing
        both = (ours, theirs) if ours and theirs and ours.planned == theirs.planned else None
        if (ours or theirs) and not both:
            raise TypeError(f"{self.label} is compared with {other.label}, which has other items")
        return self._judged(
            by if isinstance(by, Incomparable) else Points(sign * by.share, by.origin),
            lambda asked: MarginCase(
                metric=self.metric,
                candidate=self.outcomes,
                baseline=other.outcomes,
                lower_is_better=lower_is_better,
                noun=self.noun,
                planned=both[0].planned if both else None,
                more=(lambda n: (both[0].first(n), both[1].first(n))) if both else None,
                max_lost_share=self.max_lost_share,
                guess=max(self.guess, other.guess),
                **self._ending({"candidate": self, "baseline": other}),
                **asked,
            ),
            other=other,
        )


@dataclass(frozen=True, eq=False)
class ShiftedShare:
    """``share - points(3)``: another share and how far from it one may be. Only there to be compared with."""

    share: Share
    by: Points | Incomparable

    def __le__(self, other: object) -> Judgement:
        return _share(other) >= self

    def __ge__(self, other: object) -> Judgement:
        return _share(other) <= self

    __lt__ = __le__
    __gt__ = __ge__

    def __bool__(self) -> bool:
        raise TypeError(f"{self.share.label} with a margin is not true or false: compare a share with it")


def _share(other: object) -> Share:
    if not isinstance(other, Share):
        raise TypeError(f"a share with a margin is compared with another share, not with {other!r}")
    return other
