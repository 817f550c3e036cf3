"""Types of the values in ``models.toml``, for the declarations in ``config.models``: ranges, units, texts.

Each raises ``ValueError`` with the end of the sentence ``key = value: …``.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator

from pytest_llmperf.units import Unit, parse_quantity

N = TypeVar("N", int, float)


def in_range(value: N, low: float, high: float = math.inf, *, above: bool = False) -> N:
    """``value``, if it is finite and in ``low … high``, both included; ``above``: more than ``low``."""
    if not math.isfinite(value):
        raise ValueError("must be finite")
    if above and value <= low:
        raise ValueError(f"must be more than {low:g} and at most {high:g}")
    if not low <= value <= high:
        raise ValueError(f"must be at least {low:g}" + ("" if math.isinf(high) else f" and at most {high:g}"))
    return value


def within(low: float, high: float = math.inf, *, above: bool = False) -> AfterValidator:
    """A number that :func:`in_range` allows."""
    return AfterValidator(lambda value: in_range(value, low, high, above=above))


def quantity(unit: Unit, low: float = 0.0) -> BeforeValidator:
    """A number with its unit, as in ``"10 min"``; the field holds it in SI units, at least ``low``."""
    return BeforeValidator(lambda value: in_range(parse_quantity(value, unit), low))


def interval(low: float, high: float) -> BeforeValidator:
    """``[lowest, highest]``, two numbers in ``low … high``."""

    def check(value: Any) -> tuple[float, float]:
        if not isinstance(value, list):
            raise ValueError(f"must be a list of two numbers such as [{low:g}, {high:g}]")
        if len(value) != 2 or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value):
            raise ValueError(f"must be two numbers such as [{low:g}, {high:g}]")
        first, last = float(value[0]), float(value[1])
        if not low <= first <= last <= high:
            raise ValueError(f"must be [lowest, highest] within {low:g} to {high:g}")
        return first, last

    return BeforeValidator(check)


def _with_something_in_it(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    return value


Text = Annotated[str, AfterValidator(_with_something_in_it)]
"""A string with something in it."""
