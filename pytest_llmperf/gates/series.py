"""Samples of one metric (a latency per request, a throughput per round), judged by their quantiles."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.gates.comparable import Asked, Estimand
from pytest_llmperf.gates.decision import MAX_LOST_SHARE
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.measured_cases import QuantileCase
from pytest_llmperf.stats import order_statistics


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
    """What each sample has in common with others (its round, its request); None: all are independent."""
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
        """The q-quantile, 0 < q < 1; ``ValueError`` outside."""
        if not 0.0 < q < 1.0:
            raise ValueError(f"a quantile lies between 0 and 1, both excluded, not at {q}")
        return Quantile(self, q, judge=self.judge, unusable=self.unusable)

    def __le__(self, other: object) -> Judgement:
        raise TypeError(f"{self.metric} is many samples: say which quantile is meant, e.g. {self.example}")

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

    def __le__(self, other: object) -> Judgement:
        return self._against(other, self.series.unit, lambda asked: self._case(asked, at_least=False))

    def __ge__(self, other: object) -> Judgement:
        return self._against(other, self.series.unit, lambda asked: self._case(asked, at_least=True))

    def _case(self, asked: Asked, *, at_least: bool) -> QuantileCase:
        series = self.series
        return QuantileCase(
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
