"""One word problem while it is being written: draws numbers and words, and records the equations."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

LEVELS = (1, 2, 3, 4, 5, 6)

# Quantities that are added and subtracted, by level (inclusive bounds).
_AMOUNTS = {1: (3, 20), 2: (12, 99), 3: (60, 499), 4: (120, 999), 5: (1_000, 9_999), 6: (10_000, 99_999)}

# Products are written down at once, without partial products, so the size of the factors is what makes a
# problem hard. Up to level 4 a small model can learn them all; level 6 has 800,000 pairs, too many to learn
# by heart.
_FACTORS = {
    1: ((2, 9), (3, 12)),
    2: ((3, 12), (11, 40)),
    3: ((3, 9), (51, 499)),
    4: ((12, 99), (12, 99)),
    5: ((12, 99), (101, 999)),
    6: ((101, 999), (101, 999)),
}


class Sheet:
    """Numbers, words and worked lines of one problem at one level (1 easiest, 6 hardest).

    Every arithmetic method returns the exact result and appends one line such as ``Pens: 3 * 24 = 72.``
    """

    def __init__(self, rng: random.Random, level: int) -> None:
        self.rng = rng
        self.level = level
        self.lines: list[str] = []

    # -- drawing ---------------------------------------------------------------------------------------
    def between(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return self.rng.randint(low, high)

    def amount(self, shift: int = 0) -> int:
        """A quantity for sums at this level, or ``shift`` levels away."""
        return self.between(*_AMOUNTS[min(6, max(1, self.level + shift))])

    def factors(self, shift: int = 0) -> tuple[int, int]:
        """Two factors for a product at this level, the smaller kind first."""
        first, second = _FACTORS[min(6, max(1, self.level + shift))]
        return self.between(*first), self.between(*second)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[self.rng.randrange(len(options))]

    def picks(self, options: Sequence[T], count: int) -> list[T]:
        """``count`` different options in random order."""
        return self.rng.sample(options, count)

    def deep(self, *by_level: int) -> int:
        """The number of parts at this level, from six values for levels 1 to 6."""
        return by_level[self.level - 1]

    # -- working ---------------------------------------------------------------------------------------
    def _line(self, label: str, left: str, right: object) -> None:
        self.lines.append(f"{label}: {left} = {right}.")

    def add(self, label: str, *terms: int) -> int:
        result = sum(terms)
        self._line(label, " + ".join(map(str, terms)), result)
        return result

    def sub(self, label: str, first: int, second: int) -> int:
        result = first - second
        self._line(label, f"{first} - {second}", result)
        return result

    def mul(self, label: str, first: int, second: int) -> int:
        result = first * second
        self._line(label, f"{first} * {second}", result)
        return result

    def mul_add(self, label: str, first: int, second: int, third: int) -> int:
        """``first * second + third`` on one line, as for hours and minutes."""
        result = first * second + third
        self._line(label, f"{first} * {second} + {third}", result)
        return result

    def percent(self, label: str, base: int, rate: int) -> int:
        """``rate`` percent of ``base``; ``ValueError`` unless whole (a mistake in a family)."""
        result, rest = divmod(base * rate, 100)
        if rest:
            raise ValueError(f"{rate} percent of {base} is not whole; this family promised that it is")
        self._line(label, f"{base} * {rate} / 100", result)
        return result

    def div(self, label: str, first: int, second: int) -> int:
        """Exact division; ``ValueError`` when a remainder is left (a mistake in a family)."""
        result, rest = divmod(first, second)
        if rest:
            raise ValueError(f"{first} / {second} leaves {rest}; this family promised an exact quotient")
        self._line(label, f"{first} / {second}", result)
        return result

    def divmod(self, label: str, first: int, second: int) -> tuple[int, int]:
        result, rest = divmod(first, second)
        self._line(label, f"{first} / {second}", f"{result} remainder {rest}")
        return result, rest
