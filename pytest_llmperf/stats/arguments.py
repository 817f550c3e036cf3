"""Refusal of arguments that would otherwise turn into NaN several lines later."""

from __future__ import annotations

import math
from collections.abc import Iterable


def finite(name: str, value: float) -> float:
    """``value`` as a float; ``ValueError`` when it is NaN or infinite."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}, a finite number is needed")
    return number


def inside(name: str, value: float, low: float, high: float) -> float:
    """``value`` when low < value < high, else ``ValueError``."""
    number = finite(name, value)
    if not low < number < high:
        raise ValueError(f"{name} is {number:g}, it must lie between {low:g} and {high:g}, both excluded")
    return number


def share(name: str, value: float) -> float:
    """``value`` when 0 <= value <= 1, else ``ValueError``."""
    number = finite(name, value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name} is {number:g}, a share lies between 0 and 1")
    return number


def successes_of(successes: float, n: float) -> tuple[float, float]:
    """Checked ``(successes, n)`` with 0 <= successes <= n and n > 0; both may be fractional (effective
    counts).
    """
    k, total = finite("successes", successes), finite("n", n)
    if total <= 0:
        raise ValueError(f"n is {total:g}, at least one observation is needed")
    if total < k <= total * (1.0 + 1e-9):
        k = total  # effective counts are products, and all of them may come out as a hair more than all
    if not 0.0 <= k <= total:
        raise ValueError(f"successes is {k:g}, it must lie between 0 and n = {total:g}")
    return k, total


def samples_of(samples: Iterable[float], *, least: int = 1) -> list[float]:
    """Finite samples as a list; ``ValueError`` when there are fewer than ``least`` or one is not finite."""
    values = [float(value) for value in samples]
    if len(values) < least:
        raise ValueError(f"{len(values)} samples were given, at least {least} are needed")
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise ValueError(f"sample {index} is {value}, every sample must be finite")
    return values
