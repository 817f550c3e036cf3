"""One night of a suite: its truths, and the data that they draw for each gate.

Gates that ask about the same answers or the same rounds get the same draws: a night keeps them by name. Every gate is
the product's own, and is settled and judged as in a run. Most of them are never in doubt: where the data lie
:data:`FAR` standard errors and more on the right side of the bound, the gate is not asked and counts as PASS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.characteristics.suite_gates import AskedGate
from pytest_llmperf.gates import early_stopping
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.decision import ALPHA
from pytest_llmperf.gates.mean import MacroF1Gate, MeanScoreGate
from pytest_llmperf.gates.mean_ratio import PerCorrectGate, PerplexityGate
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.quantile import QuantileGate
from pytest_llmperf.gates.ratio import PairedSamples, RatioGate, tail_size
from pytest_llmperf.gates.scalar import ScalarGate, ScalarRatioGate
from pytest_llmperf.stats import binomial, order_statistics, paired, start_to_start

Array = NDArray[np.float64]
RHO = 0.3
"""Correlation of one side's neighbouring rounds: .20 to .46 were seen on real machines."""
START = 0.03
"""Deviation of one start of one side."""
SAMPLES = 8
"""Samples of a round that an absolute quantile gets at most: those of one round are hardly worth more."""
FAR = 3.5
"""Standard errors beyond which a gate passes: all of them need less than 2.5. A test asks them."""
SURE = 2e-4
"""The one-sided p-value of as many."""
TOGETHER = 0.7
"""Share of the variance of a round, and of a start, that all metrics of that round or start have in common."""


class Night:
    """The draws of one night, each made once: the same name gives the same numbers, whoever asks first."""

    def __init__(self, seed: Sequence[int]) -> None:
        self._seed = tuple(seed)
        self._drawn: dict[tuple[str, tuple[int, ...]], Array] = {}

    def uniform(self, name: str, *shape: int) -> Array:
        return self._draw(f"u {name}", shape, lambda rng: rng.random(shape))

    def normal(self, name: str, *shape: int) -> Array:
        return self._draw(f"n {name}", shape, lambda rng: rng.standard_normal(shape))

    def _draw(self, name: str, shape: tuple[int, ...], make: Callable[[np.random.Generator], Array]) -> Array:
        if (name, shape) not in self._drawn:
            rng = np.random.default_rng([*self._seed, *name.encode()])
            self._drawn[name, shape] = make(rng)
        return self._drawn[name, shape]

    def mixed(self, common: str, own: str, *shape: int) -> Array:
        """Normal numbers that share :data:`TOGETHER` of their variance with all others of ``common``."""
        both = self.normal(common, *shape), self.normal(f"{common} {own}", *shape)
        return math.sqrt(TOGETHER) * both[0] + math.sqrt(1.0 - TOGETHER) * both[1]

    def rounds(self, side: str, metric: str, starts: int, each: int) -> Array:
        """(starts, rounds) of standard noise of one side, neighbours correlated by :data:`RHO`.

        All metrics of one load share their rounds; ``metric`` ends with the concurrency, as in ``TPOT at 8``.
        """
        white = self.mixed(f"rounds {side} {metric.rsplit(' ', 1)[-1]}", metric, starts, each)
        noise = white.copy()
        for at in range(1, each):
            noise[:, at] = RHO * noise[:, at - 1] + math.sqrt(1.0 - RHO * RHO) * white[:, at]
        return _sign(metric) * noise

    def starts(self, side: str, metric: str, starts: int) -> Array:
        """(starts, 1) of effects of a start on the log of a value."""
        return _sign(metric) * START * self.mixed(f"starts {side}", metric, starts, 1)


def _sign(metric: str) -> float:
    """A slow round or start has long times and a low throughput."""
    return -1.0 if metric.startswith("throughput") else 1.0


@dataclass(frozen=True)
class Damage:
    """A planted regression: points of right answers, and factors on times per token and on memory."""

    name: str = "nothing wrong"
    points: float = 0.0
    tpot: float = 1.0
    memory: float = 1.0

    def factor(self, metric: str) -> float:
        """By how much a value of this metric is multiplied."""
        if metric.startswith(("TPOT", "ITL")):
            return self.tpot
        return 1.0 / self.tpot if metric.startswith("throughput") else 1.0


class Truth:
    """The true values behind one gate; ``source`` says where they come from."""

    source: str

    def says(self) -> str:
        """Return the truth in a few characters."""
        raise NotImplementedError

    def sees(self, asked: AskedGate, damage: Damage) -> bool:
        """The damage changes the data of this gate."""
        del asked, damage
        return False

    def gate(self, asked: AskedGate, night: Night, damage: Damage) -> Gate:
        """Return the gate with this night's data."""
        raise NotImplementedError

    def settled(self, asked: AskedGate, night: Night, damage: Damage) -> Gate:
        """Return the gate with as much of this night's data as its decision needs."""
        return self.gate(asked, night, damage).settled()

    def is_clear(self, asked: AskedGate, night: Night, damage: Damage) -> bool:
        """The gate passes without a doubt; False where it must be asked."""
        del asked, night, damage
        return False


@dataclass(frozen=True)
class Share(Truth):
    """A share of answers. ``draws``: the answers that it is seen in; of those, a rarer event lies within another one.

    ``right``: the share counts right answers, which a loss of accuracy lowers. ``each``: answers (facts) of an item.
    """

    rate: float
    draws: str
    source: str
    right: bool = False
    each: int = 1

    def says(self) -> str:
        return f"{100 * self.rate:.3g} %"

    def sees(self, asked: AskedGate, damage: Damage) -> bool:
        del asked
        return self.right and bool(damage.points)

    def gate(self, asked: AskedGate, night: Night, damage: Damage) -> Gate:
        lost = damage.points if self.right else 0.0
        good = self._seen(asked, night, lost)
        rows: list[Any] = good[:, 0].tolist() if self.each == 1 else good.tolist()

        def first(n: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            return dict(zip(map(str, range(n)), rows, strict=False)), {}

        return ProportionGate(
            metric=asked.metric, bound=asked.bound, at_least=asked.at_least, candidate={},
            planned=asked.n, more=first,
        )  # fmt: skip

    def _seen(self, asked: AskedGate, night: Night, lost: float) -> NDArray[np.bool_]:
        seen = night.uniform(self.draws, asked.n, self.each)
        # A good share counts what is not among the rare events.
        return (seen < self.rate - lost) if self.right or not asked.at_least else (seen >= 1.0 - self.rate)

    def is_clear(self, asked: AskedGate, night: Night, damage: Damage) -> bool:
        count = float(self._seen(asked, night, damage.points if self.right else 0.0).mean() * asked.n)
        tail = binomial.p_at_least if asked.at_least else binomial.p_at_most
        return tail(round(count), asked.n, asked.bound) <= SURE


@dataclass(frozen=True)
class Margin(Truth):
    """Both models on the same items; ``draws`` as in :class:`Share`, whose draws give the same candidate."""

    rate: float
    difference: float
    discordance: float
    draws: str
    source: str

    def says(self) -> str:
        return f"{100 * self.difference:+.2g} points, {100 * self.discordance:.3g} % answered differently"

    def sees(self, asked: AskedGate, damage: Damage) -> bool:
        del asked
        return bool(damage.points)

    def gate(self, asked: AskedGate, night: Night, damage: Damage) -> Gate:
        sides = [side.tolist() for side in self._sides(asked, night, damage)]

        def first(n: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
            names = [*map(str, range(n))]
            return dict(zip(names, sides[0], strict=False)), dict(zip(names, sides[1], strict=False))

        return PairedGate(
            metric=asked.metric, bound=asked.bound, at_least=asked.at_least, candidate={}, baseline={},
            planned=asked.n, more=first,
        )  # fmt: skip

    def settled(self, asked: AskedGate, night: Night, damage: Damage) -> Gate:
        """Return the gate as ``Gate.settled`` does, without the looks that cannot decide.

        The exact critical value of a look is never below the normal quantile of its level, so that a smaller score of
        either bound decides nothing. Judging a look takes a tenth of a second, and nine of ten are left out.
        """
        whole = self.gate(asked, night, damage)
        assert isinstance(whole, PairedGate), "a margin is asked by a paired gate"
        more, sizes = whole.more, tuple(early_stopping.looks(asked.n))
        assert more is not None, "the answers of a night are asked for"
        bound, (ours, theirs) = (
            -asked.bound if asked.at_least else asked.bound,
            self._sides(asked, night, damage),
        )
        change = ours.astype(int) - theirs
        may_decide = []
        for size, level in zip(sizes, early_stopping.margin_levels(sizes, ALPHA), strict=True):
            gained, lost = int((change[:size] > 0).sum()), int((change[:size] < 0).sum())
            if size == asked.n or abs(paired.tango_z(gained, lost, size, bound)) >= binomial.z_of(
                1.0 - level
            ):
                may_decide.append(size)
        return whole.collected(
            may_decide,
            lambda n: replace(whole, candidate=more(n)[0], baseline=more(n)[1]),
            whole.stopping_rule(),
        )

    def _sides(
        self, asked: AskedGate, night: Night, damage: Damage
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        seen = night.uniform(self.draws, asked.n, 1)[:, 0]
        gained, lost = ((self.discordance + sign * self.difference) / 2.0 for sign in (1, -1))
        return seen < self.rate - damage.points, (seen >= gained) & (seen < self.rate + lost)

    def is_clear(self, asked: AskedGate, night: Night, damage: Damage) -> bool:
        ours, theirs = self._sides(asked, night, damage)
        flips = max(float((ours != theirs).mean()), asked.bound)
        return bool(ours.mean() - theirs.mean() + asked.bound >= FAR * math.sqrt(flips / asked.n))


@dataclass(frozen=True)
class Samples(Truth):
    """An absolute time or rate: its typical value, and the spread of rounds and of the samples of one round."""

    value: float
    rounds: float
    samples: float
    source: str
    starts: int = 1
    rounds_each: int = 64
    """Rounds of each pair of starts, of which a tail takes the first ones."""
    most: int = 64
    """Rounds that the run measures for it."""

    def says(self) -> str:
        return f"{self.value:.3g}, rounds {100 * self.rounds:.3g} %, samples {100 * self.samples:.3g} %"

    def sees(self, asked: AskedGate, damage: Damage) -> bool:
        return damage.factor(asked.metric) != 1.0

    def gate(self, asked: AskedGate, night: Night, damage: Damage) -> Gate:
        factor = damage.factor(asked.metric)
        values = self._values(asked, night, factor)
        return QuantileGate(
            metric=asked.metric, bound=asked.bound, at_least=asked.at_least, unit=asked.unit, q=asked.q,
            samples=values.ravel().tolist(),
            groups=np.repeat(np.arange(len(values)), values.shape[1]).tolist(),
        )  # fmt: skip

    def _values(self, asked: AskedGate, night: Night, factor: float) -> Array:
        """(rounds, samples)"""
        each, count = min(SAMPLES, asked.each), min(asked.n, self.most)
        noise = night.rounds("candidate", asked.metric, self.starts, self.rounds_each)
        level = self.rounds * noise + night.starts("candidate", asked.metric, self.starts)
        logs = level.ravel()[:count, None] + self.samples * night.normal(
            f"samples {asked.metric}", count, each
        )
        return np.asarray(self.value * factor * np.exp(logs))

    def is_clear(self, asked: AskedGate, night: Night, damage: Damage) -> bool:
        values = self._values(asked, night, damage.factor(asked.metric))
        met = values.min() >= asked.bound if asked.at_least else values.max() <= asked.bound
        if not met:
            return False
        # There must be enough samples as well, and those of a round may resemble each other.
        beyond = values > np.quantile(values, asked.q)
        variance = float(beyond.mean(axis=1).var(ddof=1)) / len(values)
        worth = float(beyond.mean() * (1.0 - beyond.mean())) / max(variance, 1e-12)
        return worth >= 2.0 * order_statistics.least_n(asked.q)


@dataclass(frozen=True)
class Interleaved(Truth):
    """Two equal servers; ``rounds``: deviation of a round's value on each side, starts differ by :data:`START`."""

    rounds: float
    source: str

    def says(self) -> str:
        return f"equal, rounds {100 * self.rounds:.3g} %, starts {100 * START:g} % a side"

    def sees(self, asked: AskedGate, damage: Damage) -> bool:
        return damage.factor(asked.metric) != 1.0

    def gate(self, asked: AskedGate, night: Night, damage: Damage) -> Gate:
        each = asked.schedule[-1] // asked.starts
        values = [np.exp(side).tolist() for side in self._sides(asked, night, damage)]

        def first(n: int) -> PairedSamples:
            took = max(1, n // each)
            found = [list(zip(a, b, strict=True))[:n] for a, b in zip(*values, strict=True)]
            return PairedSamples(found[:took], started=True)

        return RatioGate(
            metric=asked.metric, bound=asked.bound, at_least=asked.at_least,
            unit="tok/s" if asked.at_least else "s", starts=[], started=True,
            schedule=asked.schedule, more=first,
        )  # fmt: skip

    def _sides(self, asked: AskedGate, night: Night, damage: Damage) -> tuple[Array, Array]:
        """(starts, rounds) of the logs of both sides."""
        each = asked.schedule[-1] // asked.starts
        ours, theirs = (
            night.starts(side, asked.metric, asked.starts)
            + self.rounds * night.rounds(side, asked.metric, asked.starts, each)
            for side in ("candidate", "baseline")
        )
        return ours + math.log(damage.factor(asked.metric)), theirs

    def is_clear(self, asked: AskedGate, night: Night, damage: Damage) -> bool:
        ours, theirs = self._sides(asked, night, damage)
        logs = (ours - theirs) * (1.0 if asked.bound > 1.0 else -1.0)
        room = abs(math.log(asked.bound)) - float(logs.mean())
        if asked.starts > 1:
            centres = logs.mean(axis=1)
            return room >= FAR * float(centres.std(ddof=1)) / math.sqrt(len(centres))
        # Of one start the interval has the assumed spread of starts beside the error of the rounds.
        start = start_to_start.spread_quantile((), 1.0 - ALPHA)
        return room >= 1.5 * math.hypot(start, FAR * float(logs.std()) / math.sqrt(logs.size))


@dataclass(frozen=True)
class Scores(Truth):
    """A score between 0 and 1: its values with their shares, drawn for each side on its own."""

    values: Sequence[float]
    shares: Sequence[float]
    draws: str
    source: str

    def says(self) -> str:
        mean = sum(v * s for v, s in zip(self.values, self.shares, strict=True))
        return f"mean {mean:.3g} on both sides"

    def gate(self, asked: AskedGate, night: Night, damage: Damage) -> Gate:
        del damage
        names = [*map(str, range(asked.n))]
        sides = [
            dict(zip(names, self._side(asked, night, side).tolist(), strict=True))
            for side in ("candidate", "baseline")
        ]
        return MeanScoreGate(
            metric=asked.metric, bound=asked.bound, at_least=asked.at_least, candidate=sides[0],
            baseline=sides[1] if asked.paired else None,
        )  # fmt: skip

    def _side(self, asked: AskedGate, night: Night, side: str) -> Array:
        drawn = np.searchsorted(np.cumsum(self.shares)[:-1], night.uniform(f"{self.draws} {side}", asked.n))
        return np.asarray(self.values)[drawn]

    def is_clear(self, asked: AskedGate, night: Night, damage: Damage) -> bool:
        del damage
        ours = self._side(asked, night, "candidate")
        values = (
            ours - self._side(asked, night, "baseline") + asked.bound if asked.paired else ours - asked.bound
        )
        # A bound without a distribution allows for one more item at the worst value.
        worst = 1.0 / asked.n
        return bool(values.mean() - 3.0 * worst >= FAR * values.std() / math.sqrt(asked.n))


@dataclass(frozen=True)
class Choices(Truth):
    """A multiple choice of four letters, right at this rate."""

    rate: float
    draws: str
    source: str
    classes: str = "ABCD"

    def says(self) -> str:
        return f"{100 * self.rate:.3g} % right, letters even"

    def sees(self, asked: AskedGate, damage: Damage) -> bool:
        del asked
        return bool(damage.points)

    def gate(self, asked: AskedGate, night: Night, damage: Damage) -> Gate:
        seen = night.uniform(self.draws, asked.n, 1)[:, 0] < self.rate - damage.points
        gold, other = (night.uniform(f"{self.draws} {what}", asked.n) for what in ("letter", "other"))
        pairs = {}
        for i, right in enumerate(seen.tolist()):
            letter = int(4 * gold[i])
            chosen = letter if right else (letter + 1 + int(3 * other[i])) % 4
            pairs[str(i)] = (self.classes[letter], self.classes[chosen])
        return MacroF1Gate(
            metric=asked.metric, bound=asked.bound, at_least=asked.at_least, candidate=pairs,
            classes=tuple(self.classes),
        )  # fmt: skip


@dataclass(frozen=True)
class Costs(Truth):
    """Cost of each answer, log-normal and alike on both sides but for ``ratio``; right at these rates.

    ``loops`` is the share of the candidate's answers that go on to the limit, and what one costs over the baseline's
    typical answer; none of them is right.
    """

    ratio: float
    spread: float
    rates: tuple[float, float]
    draws: str
    source: str
    loops: tuple[float, float] = (0.0, 1.0)

    def says(self) -> str:
        said = f"×{self.ratio * self.rates[1] / self.rates[0]:.3g} a right answer, answers spread by {self.spread:g}"
        share, times = self.loops
        return f"{said}, {share:.1%} of them ×{times:g}" if share else said

    def sees(self, asked: AskedGate, damage: Damage) -> bool:
        del asked
        return bool(damage.points)

    def gate(self, asked: AskedGate, night: Night, damage: Damage) -> Gate:
        seen = night.uniform(self.draws, asked.n, 1)[:, 0]
        common, own = (night.normal(f"{asked.metric} {what}", asked.n) for what in ("item", "answer"))
        sides: list[dict[str, tuple[float, float]]] = []
        for factor, rate, log in (
            (self.ratio, self.rates[0] - damage.points, (common + own) * math.sqrt(0.5)),
            (1.0, self.rates[1], common),
        ):
            cost = 100.0 * factor * np.exp(self.spread * log)
            right = seen < rate
            if not sides:
                looping = night.uniform(f"{asked.metric} loops", asked.n, 1)[:, 0] < self.loops[0]
                cost, right = np.where(looping, 100.0 * self.loops[1], cost), right & ~looping
            sides.append({str(i): (c, float(r)) for i, (c, r) in enumerate(zip(cost, right, strict=True))})
        return PerCorrectGate(
            metric=asked.metric, bound=asked.bound, at_least=asked.at_least, unit="tokens",
            candidate=sides[0], baseline=sides[1],
        )  # fmt: skip


@dataclass(frozen=True)
class Texts(Truth):
    """Perplexity of both models on the same texts: mean and spread of the difference a token, by text."""

    ratio: float
    spread: float
    tokens: float
    lengths: float
    source: str

    def says(self) -> str:
        return f"×{self.ratio:g}, texts differ by {self.spread:g}"

    def gate(self, asked: AskedGate, night: Night, damage: Damage) -> Gate:
        del damage
        tokens = np.maximum(
            10, self.tokens * np.exp(self.lengths * night.normal("text lengths", asked.n))
        ).round()
        extra = math.log(self.ratio) + self.spread * night.normal("texts", asked.n)
        theirs = {str(i): (float(n), -6.0 * float(n), -6.0) for i, n in enumerate(tokens)}
        ours = {
            str(i): (float(n), -(6.0 + float(e)) * float(n), -6.0)
            for i, (n, e) in enumerate(zip(tokens, extra, strict=True))
        }
        return PerplexityGate(
            metric=asked.metric, bound=asked.bound, at_least=asked.at_least, candidate=ours, baseline=theirs
        )


@dataclass(frozen=True)
class Single(Truth):
    """A value that is measured once; ``spread`` from run to run. ``memory``: what more memory makes larger."""

    value: float
    spread: float
    source: str
    memory: bool = False
    baseline: float | None = None
    shown: str = field(default="", kw_only=True)

    def says(self) -> str:
        level = self.shown or f"{self.value:.4g}"
        return f"{level}, spread {100 * self.spread:.2g} %"

    def sees(self, asked: AskedGate, damage: Damage) -> bool:
        del asked
        return self.memory and damage.memory != 1.0

    def gate(self, asked: AskedGate, night: Night, damage: Damage) -> Gate:
        factor = damage.memory if self.memory else 1.0
        drawn = np.exp(self.spread * night.normal(asked.metric, 2)) * [
            self.value * factor,
            self.baseline or 1.0,
        ]
        common: dict[str, Any] = {
            "metric": asked.metric, "bound": asked.bound, "at_least": asked.at_least, "unit": asked.unit
        }  # fmt: skip
        if self.baseline is None:
            return ScalarGate(value=float(drawn[0]), **common)
        return ScalarRatioGate(candidate=float(drawn[0]), baseline=float(drawn[1]), **common)


def with_rounds(truths: Mapping[str, Truth], schedule: Sequence[int], starts: int) -> dict[str, Truth]:
    """Give absolute times the rounds that a run measures for a tail: the first ones of those that ratios are of."""

    def measured(truth: Truth) -> Truth:
        if not isinstance(truth, Samples):
            return truth
        return replace(truth, starts=starts, rounds_each=schedule[-1] // starts, most=tail_size(schedule))

    return {name: measured(truth) for name, truth in truths.items()}
