"""A value that stands against a claim's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """A value in the claim's unit, its 95 % bounds (each one-sided; None: too few data for one), and of how many."""

    value: float
    low: float | None
    high: float | None
    n: int
    what: str
    least_n: int = 1
    """The fewest that give bounds at all."""
    computed: bool = False
    """The bounds are what arithmetic leaves open, and nothing was measured."""
