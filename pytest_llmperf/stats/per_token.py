"""Two models' probabilities of the same tokens: the divergence of each token, and bounds for a mean per token.

Answers are the sample, not tokens: what one answer diverges by is correlated within it. Both bounds are betting
confidence bounds (Waudby-Smith and Ramdas 2024; ``stats.betting``), because sums of k3 have a heavy right tail: on
recorded answers Student's t passes in 57 % of runs whose true mean is exactly the bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.stats import arguments
from pytest_llmperf.stats.betting import Evidence

LIMIT_SHARE = 1 / 5
"""An answer counts at most as much as this share of what all answers together may at the bound: 40 times the amount
that is allowed to one among 200. Without any limit a mean has no upper bound, since an answer that was not seen could
hold all of it. Of recorded answers to two builds, one in 400 held half of the divergence: at the bound, 200 of them
passed wrongly in 1.5 % of draws with this limit, in 13.5 % with 1/6. With 1/4 hardly anything passes."""
_STAKES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Bets per unit of the limit; the first suit a mean near the bound, the last ones a mean far above it."""
_STEPS = 40


def k3(baseline: Sequence[float], candidate: Sequence[float]) -> list[float]:
    """The divergence of each token, nats: r − 1 − log r with r = q/p, the candidate's over the baseline's probability.

    Takes natural log probabilities of the same tokens. Where the tokens were sampled from the baseline at T = 1, the
    mean is an unbiased estimate of KL(baseline‖candidate) per token that is never negative (Schulman 2020,
    "Approximating KL divergence").
    """
    logs = [arguments.finite("log probability", q) - p for p, q in zip(baseline, candidate, strict=True)]
    # Above e^700 a float ends; no bound is anywhere near.
    return [max(0.0, math.expm1(min(log, 700.0)) - log) for log in logs]


@dataclass(frozen=True)
class PerToken:
    """Amounts (never negative) by answer, with the number of tokens of each; ``noise``: amounts to be taken off.

    A mean is tested with amounts truncated at the limit that belongs to it (:data:`LIMIT_SHARE`), or to ``bound`` where
    that is larger, so that the evidence is about the truncated mean. ``planned``: answers there may be in all; the
    limit is that of all of them from the first on, so that the evidence may be looked at while they come in.
    """

    amounts: Sequence[float]
    tokens: Sequence[float]
    bound: float
    noise: Sequence[float] | None = None
    planned: int | None = None

    def __post_init__(self) -> None:
        arguments.inside("bound", self.bound, 0.0, math.inf)

    @property
    def estimate(self) -> float:
        """The mean per token, nothing truncated."""
        return (math.fsum(self.amounts) - math.fsum(self.noise or ())) / math.fsum(self.tokens)

    def limit(self, mean: float) -> float:
        """The most that an answer counts for where ``mean`` is tested."""
        allowed = max(abs(mean), self.bound) * math.fsum(self.tokens)
        to_come = max(1.0, (self.planned or 0) / len(self.tokens))
        return LIMIT_SHARE * to_come * (allowed + math.fsum(self.noise or ()))

    def truncated(self, mean: float) -> int:
        """Answers whose amount is above the limit."""
        limit = self.limit(mean)
        return sum(amount > limit for amount in self.amounts)

    def e_value(self, mean: float, *, below: bool) -> float:
        """The most that bets on a true mean ``below`` (else above) ``mean`` ever made of 1, over the answers in order.

        Where the true mean is ``mean``, it exceeds 1/α with probability α at most, however many answers there are.
        """
        limit = self.limit(mean)
        noise = self.noise or [0.0] * len(self.tokens)
        sign = -1.0 if below else 1.0
        # What an answer can add, in units of the limit, at least and at most.
        low = (-(limit if self.noise else 0.0) - max(0.0, mean) * max(self.tokens)) / limit
        high = (limit - min(0.0, mean) * max(self.tokens)) / limit
        if below:
            low, high = -high, -low
        game = Evidence(0.0, low=low - 1e-9, high=high + 1e-9, stakes=_STAKES)
        best = 1.0
        for amount, taken, size in zip(self.amounts, noise, self.tokens, strict=True):
            value = (min(amount, limit) - min(taken, limit) - mean * size) / limit
            best = max(best, game.observe(sign * value))
        return best

    def bounds(self, level: float) -> tuple[float, float]:
        """One-sided bounds for the mean per token, each at ``level``: the means that the evidence does not rule out.

        They contain :attr:`estimate`. The upper one is infinite where no mean is ruled out.
        """
        enough = 1.0 / (1.0 - arguments.inside("level", level, 0.0, 1.0))
        return self._bound(enough, below=False), self._bound(enough, below=True)

    def _bound(self, enough: float, *, below: bool) -> float:
        inside = self.estimate
        most = max(math.fsum(self.amounts), math.fsum(self.noise or ())) / math.fsum(self.tokens)
        if not below and not self.noise:
            outside = 0.0
        else:
            step = max(most, self.bound)
            for _ in range(_STEPS):
                outside = inside + (step if below else -step)
                if self.e_value(outside, below=below) >= enough:
                    break
                step *= 2.0
            else:
                return math.inf if below else -math.inf
        while abs(outside - inside) > 1e-3 * max(self.bound, abs(outside)):
            middle = (inside + outside) / 2.0
            if self.e_value(middle, below=below) >= enough:
                outside = middle
            else:
                inside = middle
        return outside
