"""Ratios of two totals of a load, such as the acceptance length of speculative decoding (tokens by verification step):
against a number, or against another model's.

The value is a ratio of sums, and not a mean of ratios by request: a short answer has few steps, and its own ratio says
little. Requests of one round share the machine and the moment, so the rounds are the sample; of a load on a schedule,
its slices. The interval is Student's, on the log scale (``stats.ratio_estimators.ratio_of_ratios``). Rounds that two
servers ran in turn, with the same prompts, are compared in pairs. The loads of two servers that ran one after the other
are not, and the variances of their logarithms add up.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import ClassVar, Self

from pytest_llmperf.gates.base import Asked, Estimand, Gate, Relative, Scalable
from pytest_llmperf.gates.decision import Estimate, decide_ratio, invalid, too_many_lost
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.plan import PlannedGate
from pytest_llmperf.gates.ratio import MAX_LOST_ROUNDS
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.stats.ratio_estimators import RatioOfRatios, ratio_of_ratios

LEAST_ROUNDS = 8
"""With fewer, Student's t of skewed rounds errs in more than 5 % of the runs (``tests/gates/test_totals.py``)."""

RoundTotals = Sequence[tuple[float, float] | None]
"""By round, numerator and denominator, both 0 or more, the denominator a count; None: not measured."""


@dataclass(frozen=True, kw_only=True)
class TotalsGate(Gate, kind="totals"):
    """Is the ratio of two totals at least (or at most) the bound; with a ``baseline``, its ratio to the baseline's?

    ``paired``: round ``i`` of both sides belongs together. INVALID: too few rounds, too many lost ones, denominators
    that are all zero (``why_nothing`` says what that means), a baseline of zero. ``ValueError`` for a bound that is not
    finite and above zero.
    """

    measured: ClassVar[frozenset[str]] = frozenset({"candidate", "baseline"})
    unit: str
    at_least: bool
    noun: str = "round"
    why_nothing: str
    paired: bool = False
    candidate: RoundTotals = field(repr=False)
    baseline: RoundTotals | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        return self.metric if self.baseline is None else f"{self.metric} ratio"

    @property
    def verdict_unit(self) -> str:
        return self.unit if self.baseline is None else "ratio"

    @property
    def size(self) -> int:
        return len(self.candidate)

    def mutate(self, by: float, seed: int = 0) -> Self:
        """Make the candidate's ratio worse by a factor of 1 + ``by`` in every round."""
        del seed
        factor = 1.0 / (1.0 + by) if self.at_least else 1.0 + by
        changed = [None if totals is None else (totals[0] * factor, totals[1]) for totals in self.candidate]
        return replace(self, candidate=changed)

    def merge(self, earlier: Self) -> Self:
        """Pool the rounds of both runs."""
        pooled = None if self.baseline is None else [*(earlier.baseline or ()), *self.baseline]
        return replace(self, candidate=[*earlier.candidate, *self.candidate], baseline=pooled)

    def plan(self, prior: Verdict | None) -> PlannedGate:
        del prior
        few = len(self.candidate) < LEAST_ROUNDS
        return replace(
            self.unplanned,
            noun=self.noun,
            remark=f"not planned: how far {self.noun}s differ is known once they are measured",
            warning=f"will be INVALID: {self._too_few(len(self.candidate))}" if few else "",
        )

    def verdict(self, alpha: float) -> Verdict:
        if not (math.isfinite(self.threshold) and self.threshold > 0.0):
            raise ValueError(f"{self.label}: the bound is {self.bound}, a number above zero is needed")
        sides = [self.candidate] if self.baseline is None else [self.candidate, self.baseline]
        kept = self._kept(sides)
        n = min(map(len, kept))
        if trouble := self._trouble(sides, kept):
            return invalid(
                self.label,
                trouble,
                bound=self.bound,
                n=n,
                n_needed=LEAST_ROUNDS if n < LEAST_ROUNDS else None,
                unit=self.verdict_unit,
            )
        levels = [_sum(side, 0) / _sum(side, 1) for side in kept]
        ratio = self._ratio(kept)
        observed = levels[0] if len(levels) == 1 else levels[0] / levels[1]
        highest = 1.0 if self.unit == "share" and self.baseline is None else math.inf

        def bounds(error: float) -> tuple[float, float]:
            low, high = (0.0, 0.0) if ratio is None else ratio.bounds(1.0 - error)
            less, more = _unseen(kept, error)
            return min(max(0.0, low - less), highest), min(high + more, highest)

        low, high = bounds(alpha)
        return decide_ratio(
            Estimate(self.label, self.verdict_unit, observed, low, high, n, self.noun, self._method),
            bounds,
            self.threshold,
            at_least=self.at_least,
            alpha=alpha,
            levels=levels,
            level_unit=self.unit,
            detail=self._lost_text(sides, kept),
        )

    @property
    def _method(self) -> str:
        pairs = ", in pairs" if self.paired and self.baseline is not None else ""
        return f"ratio of totals by {self.noun}{pairs}, log scale, Student's t"

    def _kept(self, sides: Sequence[RoundTotals]) -> list[list[tuple[float, float]]]:
        """Return the rounds of each side that were measured; in pairs, those that both sides have."""
        if self.paired:
            whole = [pair for pair in zip(*sides, strict=True) if None not in pair]
            return [[totals for pair in whole if (totals := pair[side])] for side in range(len(sides))]
        return [[totals for totals in side if totals is not None] for side in sides]

    def _trouble(
        self, sides: Sequence[RoundTotals], kept: Sequence[Sequence[tuple[float, float]]]
    ) -> str | None:
        """Return why these rounds are not judged; None if they are."""
        names = ("", "baseline: ") if len(sides) == 2 else ("",)
        for name, side, rounds in zip(names, sides, kept, strict=True):
            if trouble := too_many_lost(len(side) - len(rounds), len(side), MAX_LOST_ROUNDS, self.noun):
                return f"{name}{trouble}"
            if len(rounds) < LEAST_ROUNDS:
                return f"{name}{self._too_few(len(rounds))}"
            if not all(math.isfinite(count) and count >= 0.0 for count in chain.from_iterable(rounds)):
                return f"{name}a total is negative or not finite"
            if _sum(rounds, 1) <= 0.0:
                return f"{name}{self.why_nothing}"
        if len(sides) == 2 and _sum(kept[1], 0) <= 0.0:
            return "the baseline's value is 0, of which nothing is a multiple: compare with a number"
        return None

    def _too_few(self, n: int) -> str:
        return f"cannot be judged from {plural(n, self.noun)}, at least {LEAST_ROUNDS} are needed"

    def _ratio(self, kept: Sequence[Sequence[tuple[float, float]]]) -> RatioOfRatios | None:
        """Return the ratio with its error; None where the candidate's numerators are all zero, in every round."""
        if _sum(kept[0], 0) <= 0.0:
            return None
        if len(kept) == 1 or self.paired:
            return ratio_of_ratios(*kept)
        ours, theirs = map(ratio_of_ratios, kept)
        # The fewer of both: as few degrees of freedom as the sum of two variances can have.
        return RatioOfRatios(
            ours.estimate / theirs.estimate, math.hypot(ours.error, theirs.error), min(ours.n, theirs.n)
        )

    def _lost_text(self, sides: Sequence[RoundTotals], kept: Sequence[Sequence[tuple[float, float]]]) -> str:
        lost = sum(map(len, sides)) - sum(map(len, kept))
        return f"{lost} of {plural(sum(map(len, sides)), self.noun)} were lost" if lost else ""


def _unseen(kept: Sequence[Sequence[tuple[float, float]]], error: float) -> tuple[float, float]:
    """Return by how much the bounds lie further out than the spread of the rounds shows, below and above.

    Rounds that are all alike show no spread, however little they count: n trials whose share is 1 − 3/n are nothing but
    ones in 5 % of the runs. So −ln(error) events are added to the numerator, or taken from it, which is little where
    there are many. Twice as many where most rounds of a side are alike: then the few others tell how often something
    happens, and not how much of it.
    """
    hidden = math.log(1.0 / error) * (2.0 if any(map(_mostly_alike, kept)) else 1.0)
    (over, under), *others = [(_sum(rounds, 0), _sum(rounds, 1)) for rounds in kept]
    if not others:
        return hidden / under, hidden / under
    [(their_over, their_under)] = others
    ratio, per = over / under / (their_over / their_under), their_under / under
    least = max(0.0, over - hidden) / (their_over + hidden) * per
    # As far out on the log scale as the other way: of few events a difference would be nothing, or less.
    most = (over + hidden) / (their_over / (1.0 + hidden / their_over)) * per
    return ratio - least, most - ratio


def _mostly_alike(rounds: Sequence[tuple[float, float]]) -> bool:
    """Return whether more than half of the rounds have the same ratio."""
    ratios = Counter(round(over / under, 9) for over, under in rounds if under > 0.0)
    return 2 * max(ratios.values()) > len(rounds)


def _sum(rounds: Sequence[tuple[float, float]], which: int) -> float:
    return math.fsum(totals[which] for totals in rounds)


@dataclass(frozen=True, eq=False, kw_only=True)
class TotalsLevel(Scalable):
    """The ratio of two totals of one load: ``load(a).acceptance_length >= 2.5``, or a multiple of another load's."""

    what: ClassVar[str] = "ratio of totals"
    unit: str
    noun: str
    why_nothing: str
    rounds: RoundTotals = field(repr=False)

    @property
    def size(self) -> int:
        return len(self.rounds)

    @property
    def example(self) -> str:
        return f"{self.metric} >= other * 0.95, or {self.metric} >= 2.5"

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        if isinstance(other, Relative) and isinstance(other.base, TotalsLevel):
            base: TotalsLevel = other.base
            if (base.unit, base.why_nothing) != (self.unit, self.why_nothing):
                raise TypeError(f"{self.label} is compared with {base.label}: compare like with like")
            return self.judge_by(
                other.by, lambda asked: self._gate(asked, base.rounds, at_least=at_least), baseline=base
            )
        return self.judge_against(other, self.unit, lambda asked: self._gate(asked, None, at_least=at_least))

    def _gate(self, asked: Asked, baseline: RoundTotals | None, *, at_least: bool) -> TotalsGate:
        return TotalsGate(
            metric=self.metric,
            unit=self.unit,
            noun=self.noun,
            why_nothing=self.why_nothing,
            at_least=at_least,
            candidate=self.rounds,
            baseline=baseline,
            **asked,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class TotalsRatio(Estimand):
    """Candidate over baseline, of rounds in turn: ``load.interleaved(a, b, concurrency=8).acceptance_length.ratio``."""

    what: ClassVar[str] = "ratio of totals"
    metric: str
    unit: str
    why_nothing: str
    candidate: RoundTotals = field(repr=False)
    baseline: RoundTotals = field(repr=False)
    remark: str = ""

    @property
    def label(self) -> str:
        return f"{self.metric} ratio"

    @property
    def size(self) -> int:
        return len(self.candidate)

    @property
    def example(self) -> str:
        return f"{self.label} >= 0.95"

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        return self.judge_against(
            other,
            "ratio",
            lambda asked: TotalsGate(
                metric=self.metric,
                unit=self.unit,
                why_nothing=self.why_nothing,
                at_least=at_least,
                paired=True,
                candidate=self.candidate,
                baseline=self.baseline,
                remark=self.remark,
                **asked,
            ),
        )
