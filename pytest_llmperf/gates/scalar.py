"""One measurement with a unit: peak memory, size of the weights, time to ready."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmperf.config.bounds import Bound, Incomparable
from pytest_llmperf.gates.bound import bound_of
from pytest_llmperf.gates.comparable import Asked, Estimand
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.measured_cases import ValueCase, ValueRatioCase


@dataclass(frozen=True, eq=False)
class Scalar(Estimand):
    """A value measured once, in ``unit``; None: it could not be measured.

    ``memory.peak <= budget``, and against another: ``memory(a).peak <= memory(b).peak * 1.05``.
    ``may_be_zero`` is for counts; a memory or a time of zero was not measured.
    """

    metric: str
    value: float | None
    unit: str
    may_be_zero: bool = False

    @property
    def label(self) -> str:
        return self.metric

    @property
    def example(self) -> str:
        return f"{self.metric} <= budget, or {self.metric} <= other * 1.05"

    @property
    def size(self) -> int:
        return 0 if self.value is None else 1

    def __mul__(self, factor: object) -> ScaledScalar:
        return ScaledScalar(self, bound_of(factor, "ratio", metric=f"{self.metric} ratio"))

    __rmul__ = __mul__

    def __le__(self, other: object) -> Judgement:
        if isinstance(other, ScaledScalar):
            return self._relative(other, at_least=False)
        return self._against(
            other,
            self.unit,
            lambda asked: self._case(asked, at_least=False),
        )

    def __ge__(self, other: object) -> Judgement:
        if isinstance(other, ScaledScalar):
            return self._relative(other, at_least=True)
        return self._against(
            other,
            self.unit,
            lambda asked: self._case(asked, at_least=True),
        )

    def _case(self, asked: Asked, *, at_least: bool) -> ValueCase:
        return ValueCase(
            metric=self.metric,
            value=self.value,
            unit=self.unit,
            at_least=at_least,
            may_be_zero=self.may_be_zero,
            **asked,
        )

    def _relative(self, other: ScaledScalar, *, at_least: bool) -> Judgement:
        base = other.scalar
        if base.unit != self.unit:
            raise TypeError(
                f"{self.metric} is measured in {self.unit!r}, what it is compared with in {base.unit!r}"
            )
        return self._judged(
            other.factor,
            lambda asked: ValueRatioCase(
                metric=self.metric,
                candidate=self.value,
                baseline=base.value,
                unit=self.unit,
                at_least=at_least,
                **asked,
            ),
            other=base,
        )


@dataclass(frozen=True, eq=False)
class ScaledScalar:
    """``scalar * 1.05``: another measurement and how far above it one may be. Only there to be compared
    with.
    """

    scalar: Scalar
    factor: Bound | Incomparable

    def __le__(self, other: object) -> Judgement:
        return _scalar(other) >= self

    def __ge__(self, other: object) -> Judgement:
        return _scalar(other) <= self

    __lt__ = __le__
    __gt__ = __ge__

    def __bool__(self) -> bool:
        raise TypeError(f"{self.scalar.label} times a factor is not true or false: compare a value with it")


def _scalar(other: object) -> Scalar:
    if not isinstance(other, Scalar):
        raise TypeError(f"a scaled measurement is compared with another measurement, not with {other!r}")
    return other
