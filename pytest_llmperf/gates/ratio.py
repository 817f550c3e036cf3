"""Candidate over baseline, measured in interleaved rounds.

A slow minute hits both sides of a round and leaves its ratio alone, which is why the pair is formed by round. With one
pair of starts the rounds are the sample, and the gate says whether *these processes* differ: the interval is Hodges and
Lehmann's for the per-round log ratios, so that a single round with a hiccup cannot decide. With several pairs of
starts the start is the sample, and the gate speaks of the *model*: Student's t over the centres of the starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import ClassVar, Self

from pytest_llmperf.gates.base import Estimand
from pytest_llmperf.gates.decision import ALPHA, Estimate, invalid, verdict_of
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.measured import MeasuredGate, scale, true_ratio
from pytest_llmperf.gates.plan import OFTEN, WANTED, PlannedGate, power_warning
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.gates.wording import about, plural
from pytest_llmperf.stats import hodges_lehmann, operating_characteristics, sample_size, start_to_start
from pytest_llmperf.stats.binomial import z_of
from pytest_llmperf.stats.start_to_start import LEAST_STARTS, t_of
from pytest_llmperf.units import format_value, percent

MAX_LOST_ROUNDS = 0.2
"""A lost round loses both sides, so that it biases less than a lost item; one of five may go."""
ROUND_NOISE = 0.03
"""Spread of a round's value on each side, where nothing is known; a quiet machine has less, a shared one more."""
START_NOISE = 0.03
"""Spread of one start's value around its model's, where nothing is known: two live servers of one model differed by up
to 12 % in time per output token on an H100, most by far less."""

Round = tuple[float | None, float | None]
Rounds = Sequence[Round]
"""One (candidate, baseline) value per round; None on a side: that round was lost."""


@dataclass(frozen=True, kw_only=True)
class RatioGate(MeasuredGate, kind="ratio"):
    """Is candidate/baseline at most (``at_least``: at least) the bound, over interleaved rounds?

    ``starts`` holds the rounds of each pair of starts of both servers, values in ``unit``; with one pair the rounds are
    the sample, with more of them the starts are. INVALID: too few rounds or starts for a bound, too many lost rounds
    (in any start), a value that is not finite and above zero. ``ValueError`` for a bound that is not finite and above
    zero.
    """

    measured: ClassVar[frozenset[str]] = frozenset({"starts", "client_share"})
    starts: Sequence[Rounds] = field(repr=False)
    max_lost_share: float = MAX_LOST_ROUNDS
    client_share: float = 0.0
    """Share of the baseline's time that is the client's own."""

    @property
    def label(self) -> str:
        return f"{self.metric} ratio"

    @property
    def verdict_unit(self) -> str:
        return "ratio"

    @property
    def size(self) -> int:
        return sum(map(len, self.starts))

    @property
    def over_starts(self) -> bool:
        """The starts are the sample, and not the rounds."""
        return len(self.starts) > 1

    @property
    def client_error_text(self) -> str:
        return f"{percent(self.client_share)} of the baseline's time" if self.client_share else ""

    def without_client(self, value: float) -> float:
        return true_ratio(value, self.client_share, rate=self.unit != "s")

    def verdict(self, alpha: float) -> Verdict:
        if not (math.isfinite(self.threshold) and self.threshold > 0.0):
            raise ValueError(
                f"{self.metric}: the budget for the ratio is {self.bound}, a number above zero is needed"
            )
        return self._over_starts(alpha) if self.over_starts else self._over_rounds(alpha)

    def _over_rounds(self, alpha: float) -> Verdict:
        given = self.starts[0] if self.starts else ()
        kept = _kept(given)
        lost, least = len(given) - len(kept), hodges_lehmann.least_n(1.0 - alpha)
        if trouble := _unusable(kept, lost, self.max_lost_share):
            return self._invalid(trouble, len(kept))
        if len(kept) < least:
            why = f"cannot be judged from {len(kept)} rounds, at least {least} are needed"
            return self._invalid(why, len(kept), n_needed=least)
        logs = [math.log(ours) - math.log(theirs) for ours, theirs in kept]
        low, high = hodges_lehmann.bounds(logs, 1.0 - alpha)
        observed = math.exp(hodges_lehmann.estimate(logs))
        worse = hodges_lehmann.p_less if self.at_least else hodges_lehmann.p_greater
        method = "Hodges-Lehmann, signed rank"
        return verdict_of(
            Estimate(
                self.label, "ratio", observed, math.exp(low), math.exp(high), len(kept), "round", method
            ),
            self.threshold,
            at_least=self.at_least,
            bound_name="floor" if self.at_least else "budget",
            alpha=alpha,
            p_value=worse(logs, math.log(self.threshold)),
            n_needed=sample_size.rounds_for_ratio(observed, self.threshold, _deviation(logs), alpha=alpha),
            candidate=median(ours for ours, _ in kept),
            baseline=median(theirs for _, theirs in kept),
            level_unit=self.unit,
            detail=f"{lost} of {len(given)} rounds were lost" if lost else "",
        )

    def _over_starts(self, alpha: float) -> Verdict:
        n = len(self.starts)
        if n < LEAST_STARTS:
            why = (
                f"{plural(n, 'start')} of each side tell nothing of how starts differ, "
                f"at least {LEAST_STARTS} are needed"
            )
            return self._invalid(why, n, n_needed=LEAST_STARTS)
        centres: list[float] = []
        every: list[tuple[float, float]] = []
        for number, rounds in enumerate(self.starts, 1):
            kept = _kept(rounds)
            if trouble := _unusable(kept, len(rounds) - len(kept), self.max_lost_share):
                return self._invalid(f"start {number}: {trouble}", n)
            every += kept
            logs = [math.log(ours) - math.log(theirs) for ours, theirs in kept]
            centres.append(hodges_lehmann.estimate(logs))
        low, high = start_to_start.bounds(centres, 1.0 - alpha)
        observed = math.exp(math.fsum(centres) / n)
        sign = -1.0 if self.at_least else 1.0
        deviation = _spread(centres)
        seen = start_to_start.StartVariation(deviation, 0.0, n, 1.0)
        method = "Student's t over starts, Hodges-Lehmann within"
        verdict = verdict_of(
            Estimate(self.label, "ratio", observed, math.exp(low), math.exp(high), n, "start", method),
            self.threshold,
            at_least=self.at_least,
            bound_name="floor" if self.at_least else "budget",
            alpha=alpha,
            p_value=start_to_start.p_above(
                [sign * centre for centre in centres], sign * math.log(self.threshold)
            ),
            n_needed=start_to_start.starts_needed(math.log(observed / self.threshold), seen, 1, alpha=alpha),
            candidate=median(ours for ours, _ in every),
            baseline=median(theirs for _, theirs in every),
            level_unit=self.unit,
            detail=f"starts differ by {percent(deviation)} (standard deviation of the ratio)",
        )
        return replace(verdict, starts=n)

    def _invalid(self, why: str, n: int, *, n_needed: int | None = None) -> Verdict:
        return invalid(self.label, why, bound=self.bound, n=n, n_needed=n_needed, unit="ratio")

    def merge(self, earlier: Self) -> Self:
        """Pool rounds of one start each; where starts are the sample, pool the starts."""
        share = max(earlier.client_share, self.client_share)
        by_start = [len(gate.starts) >= LEAST_STARTS for gate in (earlier, self)]
        if all(by_start):
            return replace(self, starts=[*earlier.starts, *self.starts], client_share=share)
        if any(by_start):
            counts = f"{len(earlier.starts)} and {len(self.starts)}"
            return replace(
                self, refused=f"the two looks compare {counts} starts: give the same --llmperf-starts"
            )
        rounds = [pair for gate in (earlier, self) for rounds in gate.starts for pair in rounds]
        return replace(self, starts=[rounds])

    def scaled(self, factor: float) -> Self:
        return replace(
            self,
            starts=[[(scale(ours, factor), theirs) for ours, theirs in rounds] for rounds in self.starts],
        )

    def plan(self, prior: Verdict | None) -> PlannedGate:
        # High is good where at_least: the same question turned round.
        budget = 1.0 / self.threshold if self.at_least else self.threshold
        noun, n = ("start", len(self.starts)) if self.over_starts else ("round", self.size)
        if self.over_starts:
            each = max(1, self.size // len(self.starts))
            side = math.hypot(START_NOISE, ROUND_NOISE * math.sqrt(math.pi / 3.0 / each))
            sources = f"{percent(START_NOISE)} from start to start, {percent(ROUND_NOISE)} noise a round"
        else:
            side, sources = ROUND_NOISE, f"{percent(ROUND_NOISE)} noise a round"
        ratio, noise, assumed = 1.0, side * math.sqrt(2.0), f"equal servers, {sources}"
        # A record over rounds tells nothing of starts, nor the other way round.
        if prior is not None and self.over_starts is (prior.starts is None):
            prior = None
        if prior is not None and prior.observed and prior.interval is not None and prior.n > 1:
            ratio = 1.0 / prior.observed if self.at_least else prior.observed
            noise = (start_noise if self.over_starts else round_noise)(prior.interval, prior.n)
            side = noise / math.sqrt(2.0)
            assumed = f"{format_value(prior.observed, 'ratio')}, {percent(side)} noise a {noun}, as recorded"
        gate = replace(self.unplanned, n=n, noun=noun, assumed=assumed, caught_unit="slower")
        least = LEAST_STARTS if self.over_starts else hodges_lehmann.least_n(1.0 - self.alpha)
        if n < least:
            return replace(gate, warning=f"will be INVALID: {plural(n, noun)}, at least {least} are needed")
        chances_of, enough, caught = (
            (
                operating_characteristics.of_starts,
                sample_size.starts_for_ratio,
                sample_size.slowdown_caught_by_starts,
            )
            if self.over_starts
            else (
                operating_characteristics.of_ratio,
                sample_size.exact_rounds_for_ratio,
                sample_size.slowdown_caught_by_ratio,
            )
        )
        forecast = chances_of(n, ratio, budget, noise, alpha=self.alpha)

        def needed() -> str:
            more = enough(ratio, budget, noise, alpha=self.alpha, wanted=WANTED)
            return f"about {about(more)} {noun}s" if more else ""

        def slower(wanted: float) -> float | None:
            found = caught(n, budget, noise, alpha=self.alpha, wanted=wanted)
            return None if found is None else max(0.0, (1.0 + found) / ratio - 1.0)

        return replace(
            gate,
            chances=forecast,
            caught_often=slower(OFTEN),
            caught=slower(WANTED),
            warning=power_warning(forecast, ratio <= budget, needed, assumed),
        )


def start_noise(interval: tuple[float, float], starts: int) -> float:
    """Return the deviation of one pair of starts, from the interval of so many; 0 for a degenerate one."""
    low, high = interval
    if not 0.0 < low < high < math.inf:
        return 0.0
    return math.log(high / low) / 2.0 / t_of(starts - 1, 1.0 - ALPHA) * math.sqrt(starts)


def round_noise(interval: tuple[float, float], rounds: int) -> float:
    """Return the deviation of one round's log ratio, from the interval of so many; 0 for a degenerate one."""
    low, high = interval
    if not 0.0 < low < high < math.inf:
        return 0.0
    return math.log(high / low) / 2.0 / z_of(1.0 - ALPHA) * math.sqrt(rounds * 3.0 / math.pi)


def _kept(rounds: Iterable[Round]) -> list[tuple[float, float]]:
    """Return the rounds that were lost on neither side."""
    return [
        (float(ours), float(theirs)) for ours, theirs in rounds if ours is not None and theirs is not None
    ]


def _unusable(kept: Sequence[tuple[float, float]], lost: int, allowed: float) -> str | None:
    """Return why these rounds must not be judged, after ``lost`` others were; None if they may."""
    if not kept:
        how = f"all {lost} rounds were lost" if lost else "there are no rounds"
        return f"nothing was measured, {how}"
    for index, pair in enumerate(kept):
        for side, value in zip(("candidate", "baseline"), pair, strict=True):
            if not (math.isfinite(value) and value > 0.0):
                return f"the {side}'s value in round {index} is {value:g}, a number above zero is needed"
    every = lost + len(kept)
    if lost / every > allowed:
        share = f"{percent(lost / every)}, allowed {percent(allowed)}"
        why = "a side had no success in them, or was descheduled until all its tokens arrived at once"
        return f"{lost} of {plural(every, 'round')} were lost ({share}): {why}"
    return None


def _deviation(logs: Sequence[float]) -> float:
    """Return the standard deviation from the median absolute deviation, so that one hiccup does not inflate the advice.

    The factor makes it agree with the standard deviation on normal data.
    """
    middle = median(logs)
    return 1.4826 * median(abs(value - middle) for value in logs)


def _spread(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


@dataclass(frozen=True, eq=False)
class Ratio(Estimand):
    """The ratio of interleaved rounds, in ``unit``, by pair of starts of the two servers; see :class:`RatioGate`.

    ``tpot.ratio <= 1.05`` where low is good, ``throughput.ratio >= 0.95`` where high is.
    """

    metric: str
    starts: Sequence[Rounds] = field(repr=False)
    unit: str
    max_lost_share: float = MAX_LOST_ROUNDS
    client_share: float = 0.0
    """Share of the baseline's time that is the client's own (``load.calibration``)."""

    @property
    def label(self) -> str:
        return f"{self.metric} ratio"

    @property
    def example(self) -> str:
        return f"{self.metric}.ratio <= 1.05"

    @property
    def size(self) -> int:
        return sum(map(len, self.starts))

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        return self.judge_against(
            other,
            "ratio",
            lambda asked: RatioGate(
                metric=self.metric,
                starts=self.starts,
                unit=self.unit,
                at_least=at_least,
                max_lost_share=self.max_lost_share,
                client_share=self.client_share,
                **asked,
            ),
        )
