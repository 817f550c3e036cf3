"""The other side of a comparison: a bound with its unit and origin, or percentage points."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

from pytest_llmperf.config.bounds import Bound, Incomparable


@dataclass(frozen=True)
class Points:
    """A difference between two shares, held as a share (0.03 for three percentage points).

    A type of its own, because 3, 3 % and 0.03 are mixed up too easily. Made by :func:`points`.
    """

    share: float
    origin: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, Real):
            raise TypeError(f"percentage points are a number, not {self.share!r}")
        if not -1.0 < self.share < 1.0:
            raise ValueError(
                f"{100 * self.share:g} percentage points: a number between -100 and 100 is needed"
            )

    def __repr__(self) -> str:
        return f"points({100 * self.share:.12g})"

    def __neg__(self) -> Points:
        return Points(-self.share, self.origin)

    def __bool__(self) -> bool:
        raise TypeError(f"{self!r} is a margin, not true or false")


def points(number: float, *, origin: str = "") -> Points:
    """``points(3)``: three percentage points, the margin by which a share may be below another."""
    if isinstance(number, bool) or not isinstance(number, Real):
        raise TypeError(f"points() takes a number of percentage points, not {number!r}")
    return Points(number / 100.0, origin)


def bound_of(value: object, unit: str, *, metric: str) -> Bound | Incomparable:
    """Return the bound that a suite wrote, in ``unit``.

    Raises ``TypeError`` for anything that is not a number, a :class:`Bound` or an :class:`Incomparable`, and
    for a bound in another unit; ``ValueError`` for NaN, infinity and shares outside 0…1.
    """
    if isinstance(value, Incomparable):
        return value
    if isinstance(value, Points):
        raise TypeError(
            f"{value!r} is a difference, {metric} is compared with a value in {unit!r}: "
            "write other - points(3), or a plain number"
        )
    if not isinstance(value, Bound):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(
                f"{metric} is compared with a number or a budget, not with {type(value).__name__} {value!r}"
            )
        value = Bound(float(value), unit)
    if value.unit not in ("", unit):
        raise TypeError(
            f"{metric} is measured in {unit!r}, the bound {value.value:g} in {value.unit!r}{_where(value)}"
        )
    if unit == "share" and not 0.0 <= value.value <= 1.0:
        raise ValueError(
            f"{metric} is a share between 0 and 1, the bound is {value.value:g}{_where(value)}: "
            f"write {value.value / 100:g} for {value.value:g} %"
        )
    return value


def margin_of(value: object) -> Points | Incomparable:
    """Return the margin added to or taken from a share: ``points(3)``, a :class:`Bound` in points, or no budget."""
    if isinstance(value, Points | Incomparable):
        return value
    if isinstance(value, Bound) and value.unit == "points":
        return Points(value.value, value.origin)
    raise TypeError(
        f"a margin between two shares is written points(3), for three percentage points, not {value!r}"
    )


def _where(bound: Bound) -> str:
    return f" ({bound.origin})" if bound.origin else ""
