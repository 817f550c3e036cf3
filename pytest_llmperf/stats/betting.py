"""Evidence that may be looked at after every item: betting e-processes for the mean of a bounded quantity.

A gambler who may not borrow bets on each next value against the hypothesis "the mean is at most
``null``". While it is true the game is not in the gambler's favour, so the wealth ever reaches 1/alpha
with probability at most alpha (Ville 1939), however often one looks and whenever one stops. Waudby-Smith
and Ramdas (2020, "Confidence sequences for sampling without replacement"; 2024, Journal of the Royal
Statistical Society B 86, 1).

Without replacement (``population``: the number of items in all, drawn in random order) the statement is
about the mean of *these* items, and everything is decided when the last one was seen. With replacement
(``population`` None) it is about the source that the items come from, which needs more of them. The
order must be random either way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import add

from pytest_llmperf.stats import arguments

STAKES = (0.1, 0.25, 0.5)
"""Bets per unit of a paired difference, averaged: the best single one is about drift/variance, 0.1 to 0.5 for drifts
of 2 to 10 points at a discordance of 0.05 to 0.25. Against this set, wider ones and one that adapts
needed 18 % fewer items (clear cases) to 19 % more (close ones) in simulation."""
SHARE_STAKES = (0.25, 0.5, 1.0, 2.0)
"""The same for a share against a bound, whose drifts are larger and, near 0 and 1, whose variance is smaller: in
simulation 30 to 60 % fewer items for rates of a few per cent, and no more for accuracies."""
RESERVE = 0.05
"""Share of the wealth that is never staked, so that one surprise cannot end the game."""
_TIE = 1e-9


class Evidence:
    """The wealth of a gambler who doubts that the mean is at most ``null``.

    Values lie in ``low``…``high``. Raises ``ValueError`` for a null outside this range, for values
    outside it, and for more values than the population has.
    """

    def __init__(
        self,
        null: float,
        *,
        low: float = -1.0,
        high: float = 1.0,
        population: int | None = None,
        stakes: Sequence[float] = STAKES,
    ) -> None:
        self.null = arguments.inside("null", null, low, high)
        self.low, self.high, self.population = low, high, population
        if population is not None and population < 1:
            raise ValueError(f"population is {population}, at least one item is needed")
        self.seen = 0
        self._total = 0.0
        self._stakes = tuple(stakes)
        self._log_wealth = [0.0] * len(self._stakes)
        self._gains: dict[float, list[float]] = {}
        """By value, what it adds to each logarithm: of a source (no population) always the same."""

    @property
    def e_value(self) -> float:
        """The wealth, from a start of 1; infinite once the items seen alone rule the hypothesis out."""
        if self._impossible():
            return math.inf
        most = max(self._log_wealth)
        if most > 700.0:
            return math.inf
        return math.exp(most) * sum(math.exp(w - most) for w in self._log_wealth) / len(self._stakes)

    def observe(self, value: float) -> float:
        """Bet, then look at the next value; the new :attr:`e_value`."""
        gains = self._gains.get(value)
        if gains is None:
            gains = self._gains_of(arguments.finite("value", value))
            if self.population is None:
                self._gains[value] = gains
        self._log_wealth = list(map(add, self._log_wealth, gains))
        self.seen += 1
        self._total += value
        return self.e_value

    def ever_reaches(self, enough: float, values: Sequence[float]) -> bool:
        """True if one of the next ``values`` takes the wealth to ``enough`` or above. Nothing else may follow."""
        if self.population is not None or not values:
            return any(self.observe(value) >= enough for value in values)
        import numpy as np

        distinct, which = np.unique(values, return_inverse=True)
        gains = np.array([self._gains_of(value) for value in distinct.tolist()])
        logs = self._log_wealth + gains[which].cumsum(axis=0)
        most = logs.max(axis=1)
        wealth = np.exp(np.minimum(most, 700.0)) * np.exp(logs - most[:, None]).sum(axis=1)
        return bool((wealth / len(self._stakes) >= enough).any())

    def _gains_of(self, x: float) -> list[float]:
        if not self.low <= x <= self.high:
            raise ValueError(f"value is {x:g}, it must lie between {self.low:g} and {self.high:g}")
        if self.seen == self.population:
            raise ValueError(f"all {self.population} items were seen already")
        expected = self._expected()
        if not self.low - _TIE <= expected < self.high:
            return [0.0] * len(self._stakes)
        at_risk = max(expected - self.low, 1e-12)
        return [math.log1p(min(stake, (1.0 - RESERVE) / at_risk) * (x - expected)) for stake in self._stakes]

    def _expected(self) -> float:
        """The highest mean of the next value that the hypothesis allows, given what was seen."""
        if self.population is None:
            return self.null
        return (self.population * self.null - self._total) / (self.population - self.seen)

    def _impossible(self) -> bool:
        """True if the items seen rule the hypothesis out, whatever the rest would be."""
        if self.population is None:
            return False
        left = self.population - self.seen
        return self._total + left * self.low > self.population * self.null + _TIE


@dataclass(frozen=True)
class Decision:
    """``above``: True when the mean is shown to be above the bound, False when below, None when undecided."""

    above: bool | None
    n: int
    e_above: float
    e_below: float


def decide(
    values: Iterable[float],
    bound: float,
    *,
    low: float = -1.0,
    high: float = 1.0,
    population: int | None = None,
    alpha: float = 0.05,
) -> Decision:
    """Take values in their (random) order until the mean is shown to be above or below ``bound``.

    Each of the two wrong decisions has probability at most ``alpha``; ``n`` is the number of values taken.
    """
    enough = 1.0 / arguments.inside("alpha", alpha, 0.0, 1.0)
    above = Evidence(bound, low=low, high=high, population=population)
    below = Evidence(-bound, low=-high, high=-low, population=population)
    n = 0
    for n, value in enumerate(values, start=1):
        up, down = above.observe(value), below.observe(-value)
        if up >= enough or down >= enough:
            return Decision(up >= enough, n, up, down)
    return Decision(None, n, above.e_value, below.e_value)


def interval(
    values: Sequence[float],
    *,
    low: float = -1.0,
    high: float = 1.0,
    population: int | None = None,
    alpha: float = 0.05,
    stakes: Sequence[float] = STAKES,
) -> tuple[float, float]:
    """One-sided bounds for the mean that hold however often one looked: what bets ever ruled out, to 1e-4.

    Each misses the mean with probability at most ``alpha``. Cost: some forty games over the values.
    """
    enough = 1.0 / arguments.inside("alpha", alpha, 0.0, 1.0)

    def highest_ruled_out(signed: Sequence[float], bottom: float, top: float) -> float:
        floor, ceiling = bottom, top
        while ceiling - floor > 1e-4:
            middle = (floor + ceiling) / 2.0
            game = Evidence(middle, low=bottom, high=top, population=population, stakes=stakes)
            if game.ever_reaches(enough, signed):
                floor = middle
            else:
                ceiling = middle
        return floor

    return (
        highest_ruled_out(values, low, high),
        -highest_ruled_out([-value for value in values], -high, -low),
    )
