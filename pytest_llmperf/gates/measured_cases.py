"""Gates over times, sizes and their ratios."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from pytest_llmperf.gates import planted
from pytest_llmperf.gates.answer_cases import MarginCase, ShareCase
from pytest_llmperf.gates.between import between
from pytest_llmperf.gates.case import Case, Damage
from pytest_llmperf.gates.client_bound import despite_client, true_ratio
from pytest_llmperf.gates.decision import MAX_LOST_SHARE
from pytest_llmperf.gates.macro_f1 import MacroF1Case
from pytest_llmperf.gates.mean_score import MeanScoreCase
from pytest_llmperf.gates.per_correct import PerCorrectCase
from pytest_llmperf.gates.perplexity import PerplexityCase
from pytest_llmperf.gates.ratio_over_starts import ratio_over_starts
from pytest_llmperf.gates.ratio_within import MAX_LOST_ROUNDS, ratio_within
from pytest_llmperf.gates.single import at_least_value, at_most_value, value_ratio
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.gates.within import within
from pytest_llmperf.gates.wording import percent, show

Rounds = Sequence[tuple[float | None, float | None]]


@dataclass(frozen=True, kw_only=True)
class _Measured(Case):
    """Of something in ``unit``: is it at most (``at_least``: at least) the bound?"""

    unit: str
    at_least: bool

    @property
    def verdict_unit(self) -> str:
        return self.unit

    @property
    def damage(self) -> Damage:
        return "share"

    def damaged(self, by: float, seed: int = 0) -> Self:
        """All of the candidate's data alike: what is ``by`` (0.25: a quarter) longer gives that much less (a fifth).

        ``ValueError`` for −1 and below.
        """
        del seed
        if not (math.isfinite(by) and by > -1.0):
            raise ValueError(f"by is {by:g}, a share above -1 is needed (0.08 for 8 % longer)")
        return self._changed(1.0 / (1.0 + by) - 1.0 if self.at_least else by)

    def _changed(self, by: float) -> Self:
        raise NotImplementedError

    def judge(self) -> Verdict:
        verdict, said = super().judge(), self._client_said
        if not said or self.stands is verdict.status:
            return verdict
        own = despite_client(verdict, self.bound, self._without_client, said, at_least=self.at_least)
        return replace(own, origin=verdict.origin)

    @property
    def _client_said(self) -> str:
        """The client's own error in words; empty if it has none here."""
        return ""

    def _without_client(self, value: float) -> float:
        return value


@dataclass(frozen=True, kw_only=True)
class QuantileCase(_Measured):
    """Is the q-quantile of the samples at most (``at_least``: at least) the bound?"""

    samples: Sequence[float | None] = field(repr=False)
    q: float
    groups: Sequence[Hashable] | None = field(default=None, repr=False)
    errors: int = 0
    noun: str = "sample"
    group_noun: str = "round"
    max_error_share: float = MAX_LOST_SHARE
    client_error: float = 0.0
    """What the client reports more than the truth at this quantile, in ``unit``."""

    @property
    def label(self) -> str:
        return f"{self.metric} p{100 * self.q:.6g}"

    @property
    def _client_said(self) -> str:
        return show(self.client_error, self.unit) if self.client_error else ""

    def _without_client(self, value: float) -> float:
        return value - self.client_error

    @property
    def size(self) -> int:
        return len(self.samples)

    def _changed(self, by: float) -> Self:
        return replace(self, samples=planted.slower(self.samples, by))

    def _verdict(self, bound: float) -> Verdict:
        return within(
            self.metric,
            self.samples,
            bound,
            q=self.q,
            unit=self.unit,
            at_least=self.at_least,
            groups=self.groups,
            errors=self.errors,
            alpha=self.alpha,
            max_error_share=self.max_error_share,
            noun=self.noun,
        )


@dataclass(frozen=True, kw_only=True)
class RatioCase(_Measured):
    """Is candidate/baseline at most (``at_least``: at least) the bound, over interleaved rounds?

    ``starts`` holds the rounds of each pair of starts of both servers; with one pair the rounds are the sample, with
    more of them the starts are.
    """

    starts: Sequence[Rounds] = field(repr=False)
    max_lost_share: float = MAX_LOST_ROUNDS
    client_share: float = 0.0
    """Share of the baseline's time that is the client's own."""

    @property
    def label(self) -> str:
        return f"{self.metric} ratio"

    @property
    def _client_said(self) -> str:
        return f"{percent(self.client_share)} of the baseline's time" if self.client_share else ""

    def _without_client(self, value: float) -> float:
        return true_ratio(value, self.client_share, rate=self.unit != "s")

    @property
    def verdict_unit(self) -> str:
        return "ratio"

    @property
    def size(self) -> int:
        return sum(map(len, self.starts))

    def _changed(self, by: float) -> Self:
        return replace(self, starts=[planted.slower_rounds(rounds, by) for rounds in self.starts])

    def _verdict(self, bound: float) -> Verdict:
        if len(self.starts) > 1:
            return ratio_over_starts(
                self.metric,
                self.starts,
                bound,
                unit=self.unit,
                at_least=self.at_least,
                alpha=self.alpha,
                max_lost_share=self.max_lost_share,
            )
        return ratio_within(
            self.metric,
            self.starts[0] if self.starts else (),
            bound,
            unit=self.unit,
            at_least=self.at_least,
            alpha=self.alpha,
            max_lost_share=self.max_lost_share,
        )


@dataclass(frozen=True, kw_only=True)
class ValueCase(_Measured):
    """Is a value that was measured once at most (``at_least``: at least) the bound?"""

    value: float | None
    may_be_zero: bool = False

    @property
    def size(self) -> int:
        return 0 if self.value is None else 1

    def _changed(self, by: float) -> Self:
        return replace(self, value=_scaled(self.value, by))

    def _verdict(self, bound: float) -> Verdict:
        gate = at_least_value if self.at_least else at_most_value
        return gate(self.metric, self.value, bound, unit=self.unit, may_be_zero=self.may_be_zero)


@dataclass(frozen=True, kw_only=True)
class ValueRatioCase(_Measured):
    """Is candidate/baseline, each measured once, at most (``at_least``: at least) the bound?"""

    candidate: float | None
    baseline: float | None

    @property
    def label(self) -> str:
        return f"{self.metric} ratio"

    @property
    def verdict_unit(self) -> str:
        return "ratio"

    @property
    def size(self) -> int:
        return 0 if self.candidate is None or self.baseline is None else 1

    def _changed(self, by: float) -> Self:
        return replace(self, candidate=_scaled(self.candidate, by))

    def _verdict(self, bound: float) -> Verdict:
        return value_ratio(
            self.metric, self.candidate, self.baseline, bound, unit=self.unit, at_least=self.at_least
        )


@dataclass(frozen=True, kw_only=True)
class BracketCase(_Measured):
    """Is a value that was shown to lie between ``low`` and ``high`` at least (or at most) the bound?

    None: on that side it was not shown to end. ``n`` trials made the two, right together with ``confidence``.
    """

    low: float | None
    high: float | None
    n: int
    confidence: float
    noun: str = "trial"
    unplanned: ClassVar[Mapping[str, Any]] = {
        "noun": "trial",
        "at_most": True,
        "remark": "a search: every rate is called by an exact bound",
    }

    @property
    def size(self) -> int:
        return self.n

    def _changed(self, by: float) -> Self:
        return replace(self, low=_scaled(self.low, by), high=_scaled(self.high, by))

    def _verdict(self, bound: float) -> Verdict:
        return between(
            self.metric,
            self.low,
            self.high,
            bound,
            unit=self.unit,
            at_least=self.at_least,
            n=self.n,
            noun=self.noun,
            confidence=self.confidence,
        )


KINDS: Mapping[str, type[Case]] = {
    "share": ShareCase,
    "margin": MarginCase,
    "quantile": QuantileCase,
    "ratio": RatioCase,
    "value": ValueCase,
    "value ratio": ValueRatioCase,
    "bracket": BracketCase,
    "perplexity": PerplexityCase,
    "macro-F1": MacroF1Case,
    "mean score": MeanScoreCase,
    "per correct": PerCorrectCase,
}
"""By the name that a record gives them."""


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value * (1.0 + by)
