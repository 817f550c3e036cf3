"""A quantile of samples against a budget, by order statistics: no distribution is assumed.

A p95 needs at least 59 samples and a p99 at least 299 before its 95 % bound exists at all; with fewer the
gate is INVALID and says so, because neither the maximum nor an interpolation says anything about the tail.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from pytest_llmperf.gates.base import Asked, Estimand
from pytest_llmperf.gates.decision import MAX_LOST_SHARE, Estimate, invalid, too_many_lost, verdict_of
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.measured import MeasuredGate, scale
from pytest_llmperf.gates.plan import OFTEN, WANTED, PlannedGate, change
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.json_values import Json
from pytest_llmperf.stats import clustered_quantile, operating_characteristics, order_statistics, sample_size
from pytest_llmperf.stats.binomial import p_at_least, p_at_most
from pytest_llmperf.stats.operating_characteristics import Chances
from pytest_llmperf.units import format_value, percent


@dataclass(frozen=True, kw_only=True)
class QuantileGate(MeasuredGate, kind="quantile"):
    """Is the q-quantile of the samples at most (``at_least``: at least) the bound?

    None among the samples, and ``errors`` beside them, are requests that failed; more than ``max_error_share`` of them
    make the gate INVALID, as do no samples, too few for a bound, NaN, infinity, a negative sample, and samples that
    are all zero. ``ValueError`` for a bound that is not finite.

    ``groups`` names, sample by sample, what samples have in common (the round, the request): token gaps of
    one round are far fewer independent samples than there are gaps, and the bounds then account for it.
    """

    measured: ClassVar[frozenset[str]] = frozenset({"samples", "groups", "errors", "client_error"})
    samples: Sequence[float | None] = field(repr=False)
    q: float
    groups: Sequence[Hashable] | None = field(default=None, repr=False)
    errors: int = 0
    noun: str = "sample"
    group_noun: str = "round"
    max_error_share: float = MAX_LOST_SHARE
    client_error: float = 0.0
    """Client's reported value less the true one at this quantile, in ``unit``."""

    @property
    def label(self) -> str:
        return f"{self.metric} {self._name}"

    @property
    def _name(self) -> str:
        return f"p{100 * self.q:.6g}"

    @property
    def size(self) -> int:
        return len(self.samples)

    @property
    def client_error_text(self) -> str:
        return format_value(self.client_error, self.unit) if self.client_error else ""

    def without_client(self, value: float) -> float:
        return value - self.client_error

    def verdict(self, alpha: float) -> Verdict:
        bound, q, noun = self.threshold, self.q, self.noun
        if not math.isfinite(bound):
            raise ValueError(f"{self.metric}: the budget is {bound}, a finite number is needed")
        values = [float(value) for value in self.samples if value is not None]
        lost = self.errors + len(self.samples) - len(values)
        least = order_statistics.least_n(q, 1.0 - alpha)
        if trouble := _unusable(values, lost, self.max_error_share, noun):
            return self._invalid(trouble, len(values))
        if len(values) < least:
            short = f"cannot be judged from {len(values)} {noun}s, at least {least} are needed"
            return self._invalid(short, len(values), n_needed=least)
        worth, method = float(len(values)), f"order statistics, {self._name}"
        if self.groups is None:
            low, high = order_statistics.bounds(values, q, 1.0 - alpha)
        else:
            grouped = self._grouped(self.groups)
            low, high, worth = clustered_quantile.bounds(grouped, q, 1.0 - alpha)
            method += f", on {worth:.0f} effective samples in {len(grouped)} groups"
            if low is None or high is None:
                why = (
                    f"{len(values)} {noun}s in {plural(len(grouped), 'group')} are worth {worth:.0f} independent "
                    f"ones, at least {least} are needed: measure more groups"
                )
                needed = math.ceil(least * len(values) / worth)
                return self._invalid(why, len(values), n_needed=needed, method=method)
        assert low is not None, "there are enough samples for both bounds"
        assert high is not None, "there are enough samples for both bounds"
        observed = order_statistics.quantile(values, q)
        inside = sum(1 for value in values if value <= bound) / len(values)
        independent = sample_size.items_for_floor(inside, q, alpha=alpha)
        return verdict_of(
            Estimate(self.label, self.unit, observed, low, high, len(values), noun, method),
            bound,
            at_least=self.at_least,
            bound_name="floor" if self.at_least else "budget",
            alpha=alpha,
            p_value=self._p_value(values, worth),
            n_needed=None if independent is None else math.ceil(independent * (len(values) / worth)),
            detail=f"{lost} of {lost + len(values)} {noun}s failed" if lost else "",
        )

    def _invalid(
        self, why: str, n: int, *, n_needed: int | None = None, method: str = "not judged"
    ) -> Verdict:
        return invalid(
            self.label, why, bound=self.bound, n=n, n_needed=n_needed, unit=self.unit, method=method
        )

    def _grouped(self, groups: Sequence[Hashable]) -> list[list[float]]:
        """Return the samples that were measured, by group."""
        if len(groups) != len(self.samples):
            raise ValueError(
                f"{len(self.samples)} samples and {len(groups)} groups were given, one group a sample is needed"
            )
        by_group: dict[Hashable, list[float]] = {}
        for sample, group in zip(self.samples, groups, strict=True):
            if sample is not None:
                by_group.setdefault(group, []).append(float(sample))
        return list(by_group.values())

    def _p_value(self, values: Sequence[float], worth: float) -> float:
        """P(as many samples on the wrong side of the bound, or more) when the quantile lies at the bound."""
        scale, bound = worth / len(values), self.threshold
        if self.at_least:
            return p_at_least(scale * sum(1 for value in values if value < bound), worth, self.q)
        return p_at_most(scale * sum(1 for value in values if value <= bound), worth, self.q)

    def merge(self, earlier: Self) -> Self:
        groups: list[Hashable] | None = None
        if earlier.groups is not None and self.groups is not None:
            # Rounds of another run are other rounds, also where they have the same number.
            groups = [*((0, group) for group in earlier.groups), *((1, group) for group in self.groups)]
        return replace(
            self,
            samples=[*earlier.samples, *self.samples],
            groups=groups,
            errors=earlier.errors + self.errors,
            client_error=max(earlier.client_error, self.client_error, key=abs),
        )

    def scaled(self, factor: float) -> Self:
        return replace(self, samples=[scale(sample, factor) for sample in self.samples])

    def plan(self, prior: Verdict | None) -> PlannedGate:
        """Say how many samples may lie beyond the bound; absolute times cannot be forecast.

        The samples of one round count as one, which they are worth at least.
        """
        rounds = len(set(self.groups)) if self.groups is not None else self.size
        noun = self.group_noun if self.groups is not None else self.noun
        gate = replace(self.unplanned, n=rounds, noun=noun, caught_unit="beyond")
        # Against a floor the few bad samples lie below the quantile, and a p50 has as many on either side.
        q = 1.0 - self.q if self.at_least else self.q
        least = order_statistics.least_n(q, 1.0 - self.alpha)
        if rounds < least:
            worth = f"{plural(rounds, noun)} may be worth no more than {rounds} samples"
            return replace(gate, warning=f"may be INVALID: {worth}, {self._name} needs {least}")
        green = _beyond(rounds, q, self.alpha, lambda forecast: forecast.passes >= WANTED, last=True)
        return replace(
            gate,
            assumed=f"nothing: passes while at most {percent(green or 0.0)} of the samples are beyond",
            caught_often=_beyond(rounds, q, self.alpha, lambda chance: chance.fails >= OFTEN, last=False),
            caught=_beyond(rounds, q, self.alpha, lambda chance: chance.fails >= WANTED, last=False),
            remark=self._room(prior),
        )

    def _room(self, prior: Verdict | None) -> str:
        """Return by which factor the recorded samples would no longer pass, and by which they would fail."""
        if prior is None or prior.observed is None or prior.interval is None:
            return ""
        (low, high), bound = prior.interval, self.threshold
        if not 0.0 < low <= high < math.inf or bound <= 0.0:
            return ""
        passing, failing = (low / bound, high / bound) if self.at_least else (bound / high, bound / low)
        room = f"passes up to {change(passing)}, fails from {change(failing)} on"
        return f"{format_value(prior.observed, self.unit)} as recorded: {room}"

    def to_json(self) -> dict[str, Json]:
        """Number the groups: what they are called does not matter to a gate, and takes room."""
        numbers: dict[Hashable, int] = {}
        groups = None
        if self.groups is not None:
            groups = [numbers.setdefault(group, len(numbers)) for group in self.groups]
        return super().to_json() | {"groups": groups}


def _unusable(values: Sequence[float], lost: int, allowed: float, noun: str) -> str | None:
    """Return why samples of a physical quantity cannot be judged; None when they can."""
    if not values:
        how = f"all {lost} {noun}s failed" if lost else f"no {noun}s"
        return f"nothing was measured, {how}"
    for index, value in enumerate(values):
        if not math.isfinite(value):
            return f"{noun} {index} is {value}, which is not a measurement"
        if value < 0.0:
            return f"{noun} {index} is {value:g}, below zero: the clock or the counter is broken"
    if not any(values):
        return f"every {noun} is zero, which is not a measurement"
    return too_many_lost(lost, lost + len(values), allowed, noun)


def _beyond(n: int, q: float, alpha: float, holds: Callable[[Chances], bool], *, last: bool) -> float | None:
    """Return the last (first) share of samples beyond the bound for which ``holds`` is true, to 0.001 points."""
    low, high = 0.0, 1.0
    if not holds(operating_characteristics.of_quantile(n, 1.0 if last else 0.0, q, alpha=alpha)):
        return None
    while high - low > 1e-5:
        middle = (low + high) / 2.0
        holds_there = holds(operating_characteristics.of_quantile(n, 1.0 - middle, q, alpha=alpha))
        low, high = (middle, high) if holds_there == last else (low, middle)
    return low if last else high


@dataclass(frozen=True, eq=False)
class Series(Estimand):
    """All samples of one metric, in ``unit``; None, and ``errors`` beside them, are requests that failed.

    It is compared through ``.p50``, ``.p95``, ``.p99`` or ``.quantile(q)``. There is no ``.mean`` on purpose:
    the mean of a latency follows its few slowest requests, and no interval for it holds at these sample
    sizes.
    """

    metric: str
    samples: Sequence[float | None] = field(repr=False)
    unit: str
    groups: Sequence[Hashable] | None = field(default=None, repr=False)
    """Group of each sample (its round, its request); None: all are independent."""
    errors: int = 0
    noun: str = "sample"
    group_noun: str = "round"
    max_error_share: float = MAX_LOST_SHARE
    client_error: Callable[[float], float] | None = field(default=None, repr=False)
    """By quantile, what the client reports more than the truth, in ``unit``; None: nothing that is known."""

    @property
    def label(self) -> str:
        return self.metric

    @property
    def example(self) -> str:
        return f"{self.metric}.p95 <= 0.25"

    @property
    def size(self) -> int:
        return len(self.samples)

    @property
    def p50(self) -> Quantile:
        return self.quantile(0.50)

    @property
    def p95(self) -> Quantile:
        return self.quantile(0.95)

    @property
    def p99(self) -> Quantile:
        return self.quantile(0.99)

    def quantile(self, q: float) -> Quantile:
        """Return the q-quantile, 0 < q < 1; ``ValueError`` outside."""
        if not 0.0 < q < 1.0:
            raise ValueError(f"a quantile lies between 0 and 1, both excluded, not at {q}")
        return Quantile(self, q, judge=self.judge, unusable=self.unusable)

    def __le__(self, other: object) -> Judgement:
        raise TypeError(
            f"{self.metric} is many samples: say which quantile is meant, by .p50, .p95 or .p99 before the comparison"
        )

    __ge__ = __le__


@dataclass(frozen=True, eq=False)
class Quantile(Estimand):
    """One quantile of a :class:`Series`: ``ttft.p95 <= 0.25``, ``throughput.p50 >= 1000``."""

    series: Series
    q: float

    @property
    def label(self) -> str:
        return f"{self.series.metric} p{100 * self.q:.6g}"

    @property
    def example(self) -> str:
        return (
            f"{self.series.metric}.p{100 * self.q:.6g} <= 0.25, or the ratio of two interleaved measurements"
        )

    @property
    def size(self) -> int:
        return self.series.size

    @property
    def value(self) -> float | None:
        """The observed quantile, for printing; None when nothing was measured."""
        values = [value for value in self.series.samples if value is not None]
        return order_statistics.quantile(values, self.q) if values else None

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        return self.judge_against(other, self.series.unit, lambda asked: self._gate(asked, at_least=at_least))

    def _gate(self, asked: Asked, *, at_least: bool) -> QuantileGate:
        series = self.series
        return QuantileGate(
            metric=series.metric,
            samples=series.samples,
            q=self.q,
            unit=series.unit,
            at_least=at_least,
            groups=series.groups,
            errors=series.errors,
            noun=series.noun,
            group_noun=series.group_noun,
            max_error_share=series.max_error_share,
            client_error=series.client_error(self.q) if series.client_error else 0.0,
            **asked,
        )
