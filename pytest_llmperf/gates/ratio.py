"""Candidate over baseline, measured in interleaved rounds.

A slow minute hits both sides of a round and leaves its ratio alone, which is why the pair is formed by round. The
rounds of one pair of starts say whether *these processes* differ: Hodges and Lehmann's interval for the per-round log
ratios, so that a single round with a hiccup cannot decide. Servers that the run started are judged as *models*, and
their starts are the sample: Student's t over the centres of three pairs or more. With one or two, the interval carries
the spread that earlier starts on this machine had, or that is assumed where there were none.

A gate looks after some rounds or starts (``schedule``) and takes no more once it is decided; all looks together err as
often as one would (``stats.group_sequential``). More rounds do not make starts differ less: of one start only the
error of its rounds is spent over the looks, and a gate that the spread of starts keeps open stops as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise
from statistics import median
from typing import ClassVar, Self, overload

from pytest_llmperf.gates.base import Estimand
from pytest_llmperf.gates.decision import ALPHA, MAX_LOST_SHARE, Estimate, invalid, verdict_of
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.measured import MeasuredGate, scale, true_ratio
from pytest_llmperf.gates.plan import OFTEN, WANTED, PlannedGate, power_warning
from pytest_llmperf.gates.quantile import Quantile, Series
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import about, plural
from pytest_llmperf.stats import (
    autocorrelation,
    group_sequential,
    hodges_lehmann,
    operating_characteristics,
    order_statistics,
    sample_size,
    start_to_start,
)
from pytest_llmperf.stats.binomial import z_of
from pytest_llmperf.stats.operating_characteristics import Chances
from pytest_llmperf.stats.start_to_start import LEAST_STARTS, Centre, t_of
from pytest_llmperf.units import format_value, percent

TOLD_WIDENING = 1.25
"""A verdict tells of noise that outlasts a round if it makes the interval this many times as wide."""
EARLY_WIDENING = math.sqrt(3.0)
"""Least widening before the last look: that of neighbours correlated by .5, which so few rounds would not show. Without
it, noise of one side that lasts so long is called FAIL in 9 % of runs at the budget; 6 % with it, 5 % without looks."""
TOLD_FAR = 0.05
"""A verdict tells of rounds far from the others if they are at least this share of all."""
FAR = 1.25
"""The least factor from the centre at which a round is far; it must be beyond three times the usual spread as well."""
TAIL_ROUNDS = 59
"""Rounds that a quantile takes at least: with fewer no p95 is known, as .95^59 is 5 %."""
MAX_LOST_ROUNDS = 0.2
"""A lost round loses both sides, so that it biases less than a lost item; one of five may go."""
ROUND_NOISE = 0.03
"""Spread of a round's value on each side, where nothing is known; a quiet machine has less, a shared one more."""

STUDENT_SHARE = 0.88
"""Share of the error that looks at three starts and more spend: Student's t of few values is less like that of more
than sums are, so that the whole would be exceeded by an eighth (5.6 % for looks after 3, 5, 8, 11 and 15 starts; 4.9 %
with this share, 200,000 simulated runs)."""

Round = tuple[float | None, float | None]
Rounds = Sequence[Round]
"""One (candidate, baseline) value per round; None on a side: that round was lost."""


@dataclass(frozen=True)
class PairedSamples:
    """The rounds of one metric of both models."""

    starts: Sequence[Rounds]
    """The rounds of each pair of starts."""
    unusable: str = ""
    """Why they must not be judged; empty if they may."""
    client_share: float = 0.0
    """Share of the baseline's value that is the client's own."""
    started: bool = False
    """The run started both servers, and speaks of any start of theirs."""
    remembered: Sequence[Sequence[Centre]] = ()
    """Centres of earlier pairs of starts, see ``measure.start_memory``."""
    remark: str = ""
    """A line below the verdict."""


@dataclass(frozen=True, kw_only=True)
class RatioGate(MeasuredGate, kind="ratio"):
    """Is candidate/baseline at most (``at_least``: at least) the bound, over interleaved rounds?

    ``starts`` holds the rounds of each pair of starts of both servers, values in ``unit``. ``started``: the run started
    both servers, and the verdict speaks of any start of theirs; False: of the processes that were measured, as for
    servers given by URL. ``remembered`` holds the centres of earlier starts, see
    :func:`~pytest_llmperf.stats.start_to_start.spread_quantile`.

    ``schedule``: the numbers of rounds (of all starts of this run) after which the run looks, the last one all that it
    may take; empty where the rounds are all there is. ``more(n)`` gives the first ``n`` of them.

    INVALID: too few rounds or starts for a bound, too many lost rounds (in any start), a value that is not finite and
    above zero. ``ValueError`` for a bound that is not finite and above zero.
    """

    measured: ClassVar[frozenset[str]] = frozenset(
        {"starts", "started", "remembered", "client_share", "looks", "schedule", "more"}
    )
    unrecorded: ClassVar[frozenset[str]] = frozenset({"more"})
    data_noun: ClassVar[str] = "rounds"
    starts: Sequence[Rounds] = field(repr=False)
    started: bool = False
    remembered: Sequence[Sequence[Centre]] = field(default=(), repr=False)
    max_lost_share: float = MAX_LOST_ROUNDS
    client_share: float = 0.0
    """Share of the baseline's time that is the client's own."""
    looks: Sequence[int] = ()
    """Rounds of each earlier run whose rounds are pooled with those of this one, which come last."""
    schedule: Sequence[int] = ()
    more: Callable[[int], PairedSamples] | None = field(default=None, repr=False, compare=False)

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
    def _own_size(self) -> int:
        """Rounds of this run."""
        return self.size - sum(self.looks)

    @property
    def unasked(self) -> int:
        return 0 if self.refused or not self.schedule else max(0, self.schedule[-1] - self._own_size)

    def settled(self) -> Self:
        if self.more is None or self.refused or self.bound is None:
            return self
        if self.stands is not None and self.schedule:
            # Decided by an earlier run: one look, which spends nothing, shows that these rounds can be judged.
            return replace(self._with_first(self.schedule[0]), schedule=())
        return self.collected(self.schedule, self._with_first, lambda gate: gate._is_decided)

    def _with_first(self, n: int) -> Self:
        assert self.more is not None, "a gate without a source of rounds is not settled"
        data = self.more(n)
        return replace(self, starts=data.starts, client_share=data.client_share, refused=data.unusable)

    @property
    def _is_decided(self) -> bool:
        """No more rounds are needed: they are decided, or only further starts could decide."""
        status = self.judge().status
        if status is not Status.INCONCLUSIVE or not self.started or len(self.starts) >= LEAST_STARTS:
            return status in (Status.PASS, Status.FAIL)
        starts = [_OneStart([_kept(rounds)], self._least_widening) for rounds in self.starts]
        spread = _Starts(starts, _groups(self.remembered))
        return not spread.can_decide(math.log(self.threshold), self.alpha, self._level(self.alpha))

    def _level(self, alpha: float) -> float:
        """Return the error of this look, where ``alpha`` is that of all looks of the schedule."""
        return self._levels(alpha)[self._look] if self.schedule else alpha

    def _levels(self, alpha: float) -> tuple[float, ...]:
        return group_sequential.levels(tuple(self.schedule), self._shared(alpha))

    def _shared(self, alpha: float) -> float:
        """Return the error that the looks of the schedule share."""
        several = len(self.schedule) > 1 and len(self.starts) >= LEAST_STARTS
        return alpha * STUDENT_SHARE if several else alpha

    @property
    def _least_widening(self) -> float:
        return EARLY_WIDENING if self.unasked else 1.0

    @property
    def _look(self) -> int:
        """The index of this look in the schedule."""
        return next(
            (i for i, size in enumerate(self.schedule) if size >= self._own_size), len(self.schedule) - 1
        )

    def _p_value(self, p: float, alpha: float) -> float:
        """Return the p-value over all looks, from that of this one."""
        if not self.schedule:
            return p
        return group_sequential.p_value(p, self._look, tuple(self.schedule), self._shared(alpha))

    @property
    def over_starts(self) -> bool:
        """The starts are the sample, and not the rounds."""
        return self.started or len(self.starts) > 1

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
        level = self._level(alpha)
        lost, least = len(given) - len(kept), hodges_lehmann.least_n(1.0 - level)
        if trouble := _unusable(kept, lost, self.max_lost_share):
            return self._invalid(trouble, len(kept))
        if len(kept) < least:
            why = f"cannot be judged from {len(kept)} rounds, at least {least} are needed"
            return self._invalid(why, len(kept), n_needed=least)
        rounds = _OneStart(self._kept_by_look(given), self._least_widening)
        low, high = self._ends(rounds.bounds(level))
        observed = math.exp(rounds.centre)
        method = "Hodges-Lehmann, signed rank"
        lost_text = f"{lost} of {len(given)} rounds were lost" if lost else ""
        verdict = verdict_of(
            Estimate(self.label, "ratio", observed, low, high, len(kept), "round", method),
            self.threshold,
            at_least=self.at_least,
            bound_name="floor" if self.at_least else "budget",
            alpha=alpha,
            p_value=self._p_value(rounds.p_beyond(math.log(self.threshold), below=self.at_least), alpha),
            n_needed=sample_size.rounds_for_ratio(
                observed, self.threshold, _deviation(rounds.logs) * rounds.widening, alpha=level
            ),
            candidate=median(ours for ours, _ in kept),
            baseline=median(theirs for _, theirs in kept),
            level_unit=self.unit,
            detail="\n".join(filter(None, (lost_text, rounds.remark))),
            planned=self.schedule[-1] if self.unasked else None,
        )
        return replace(verdict, level=level if self.schedule else None)

    def _kept_by_look(self, given: Rounds) -> list[list[tuple[float, float]]]:
        """Return the rounds of each run that were not lost."""
        ends = [*accumulate(self.looks), len(given)]
        return [_kept(given[begin:end]) for begin, end in pairwise([0, *ends]) if begin < end]

    def _ends(self, bounds: tuple[float, float]) -> tuple[float, float]:
        """Return the interval of the ratio; an end that is the threshold but for rounding is the threshold."""
        low, high = (
            self.threshold if math.isclose(end, self.threshold, rel_tol=1e-12) else end
            for end in map(math.exp, bounds)
        )
        return low, high

    def _over_starts(self, alpha: float) -> Verdict:
        n = len(self.starts)
        if n < (1 if self.started else LEAST_STARTS):
            why = (
                f"{plural(n, 'start')} of each side tell nothing of how starts differ, "
                f"at least {LEAST_STARTS} are needed"
            )
            return self._invalid(why, n, n_needed=LEAST_STARTS)
        starts: list[_OneStart] = []
        every: list[tuple[float, float]] = []
        level = self._level(alpha)
        least = 1 if n >= LEAST_STARTS else hodges_lehmann.least_n(1.0 - level)
        for number, rounds in enumerate(self.starts, 1):
            kept = _kept(rounds)
            trouble = _unusable(kept, len(rounds) - len(kept), self.max_lost_share)
            if not trouble and len(kept) < least:
                trouble = f"cannot be judged from {len(kept)} rounds, at least {least} are needed"
            if trouble:
                return self._invalid(f"start {number}: {trouble}" if n > 1 else trouble, n)
            every += kept
            starts.append(_OneStart([kept], self._least_widening))
        lost = self.size - len(every)
        lost_text = f"{lost} of {self.size} rounds were lost" if lost else ""
        spread = _Starts(starts, _groups(self.remembered))
        low, high = self._ends(spread.bounds(alpha, level))
        observed = math.exp(spread.centre)
        needed = start_to_start.StartVariation(spread.deviation, 0.0, n, 1.0)
        verdict = verdict_of(
            Estimate(self.label, "ratio", observed, low, high, n, "start", spread.method),
            self.threshold,
            at_least=self.at_least,
            bound_name="floor" if self.at_least else "budget",
            alpha=alpha,
            p_value=self._p_over_starts(spread, alpha),
            n_needed=start_to_start.starts_needed(
                math.log(observed / self.threshold), needed, 1, alpha=level if spread.is_measured else alpha
            ),
            candidate=median(ours for ours, _ in every),
            baseline=median(theirs for _, theirs in every),
            level_unit=self.unit,
            detail="\n".join(filter(None, (lost_text, spread.detail(len(every), self.unasked)))),
            planned=n + self._unasked_starts if self._unasked_starts else None,
        )
        return replace(verdict, starts=n, level=level if self.schedule else None)

    @property
    def _unasked_starts(self) -> int:
        """Starts that the run would have made if the gate had not been decided early."""
        # Each run that is added to this one has left its size in `looks`, and has one start or several.
        if len(self.starts) - len(self.looks) < 2 or len(self.starts) < LEAST_STARTS:
            return 0
        return self.unasked // len(self.starts[-1])

    def _p_over_starts(self, spread: _Starts, alpha: float) -> float:
        below = self.at_least
        if not spread.is_measured:
            return spread.p_by_memory(math.log(self.threshold), below=below, level=self._level(alpha) / alpha)
        return self._p_value(spread.p_beyond(math.log(self.threshold), below=below), alpha)

    def _invalid(self, why: str, n: int, *, n_needed: int | None = None) -> Verdict:
        return invalid(self.label, why, bound=self.bound, n=n, n_needed=n_needed, unit="ratio")

    def merge(self, earlier: Self) -> Self:
        """Add the starts of an earlier look; pool the rounds of two looks at servers that the run did not start."""
        share, more = max(earlier.client_share, self.client_share), self.more

        def pooled(gate: Self) -> Self:
            """Let the rounds that are still to come be pooled as well."""
            if more is None:
                return gate

            def with_earlier(n: int) -> PairedSamples:
                data = more(n)
                both = replace(self, starts=data.starts, client_share=data.client_share, more=None).merge(
                    earlier
                )
                return replace(data, starts=both.starts, client_share=both.client_share)

            return replace(gate, more=with_earlier)

        runs = [size for size in (*earlier.looks, earlier._own_size) if size]
        by_start = [gate.started or len(gate.starts) >= LEAST_STARTS for gate in (earlier, self)]
        if any(by_start):
            if not all(by_start) and not self.started:
                count = plural(len(earlier.starts), "start")
                why = f"an earlier look compared {count}, this one servers that it did not start: start anew"
                return replace(self, refused=why)
            starts = [*earlier.starts, *self.starts]
            return pooled(replace(self, starts=starts, client_share=share, looks=runs))
        rounds = [pair for gate in (earlier, self) for rounds in gate.starts for pair in rounds]
        return pooled(replace(self, starts=[rounds], looks=runs))

    def scaled(self, factor: float) -> Self:
        return replace(
            self,
            starts=[[(scale(ours, factor), theirs) for ours, theirs in rounds] for rounds in self.starts],
        )

    def plan(self, prior: Verdict | None) -> PlannedGate:
        # High is good where at_least: the same question turned round.
        budget = 1.0 / self.threshold if self.at_least else self.threshold
        noun, n = ("start", len(self.starts)) if self.over_starts else ("round", self.size)
        each = max(1, self.size // max(1, len(self.starts)))
        few = self.started and n < LEAST_STARTS
        rounds_error = ROUND_NOISE * math.sqrt(2.0 * math.pi / 3.0 / each)
        between = start_to_start.spread_seen(_groups(self.remembered)) if self.over_starts else 0.0
        effect = start_to_start.spread_quantile(_groups(self.remembered), 1.0 - self.alpha) if few else 0.0
        sizes = [size // (1 if few or not self.over_starts else each) for size in self.schedule] or [n]
        levels = self._levels(self.alpha) if self.schedule else (self.alpha,)
        ratio, sources = 1.0, f"{percent(ROUND_NOISE)} noise a round"
        remembered = " (remembered)" if _Starts((), _groups(self.remembered)).is_remembered else ""
        spread = f"{percent(between / math.sqrt(2.0))}{remembered}"
        if self.over_starts:
            sources = f"{spread} from start to start, {sources}"
        assumed = f"equal servers, {sources}"
        noise = math.hypot(between, rounds_error) if self.over_starts else ROUND_NOISE * math.sqrt(2.0)
        # A record over rounds tells nothing of starts, nor the other way round.
        if prior is not None and self.over_starts is (prior.starts is None):
            prior = None
        stopped = prior is not None and prior.level is not None and prior.level < levels[-1]
        widened = EARLY_WIDENING if stopped and (few or not self.over_starts) else 1.0
        if prior is not None and prior.observed and prior.interval is not None:
            recorded = format_value(prior.observed, "ratio")
            if prior.starts is not None and prior.starts < LEAST_STARTS:
                ratio = 1.0 / prior.observed if self.at_least else prior.observed
                assumed = f"{recorded} as recorded, {sources}"
                low, high = prior.interval
                # What the spread of starts leaves of the interval is the error of the rounds.
                left = (math.log(high / low) / 2.0) ** 2 * prior.starts - effect**2 if low > 0.0 else 0.0
                if few and left > 0.0:
                    rounds_error = math.sqrt(left) / z_of(1.0 - (prior.level or ALPHA)) / widened
                    noise = math.hypot(between, rounds_error)
                    side = rounds_error * math.sqrt(each * 3.0 / math.pi / 2.0)
                    assumed = f"{recorded}, {spread} from start to start, {percent(side)} noise a round, as recorded"
            elif prior.n > 1:
                ratio = 1.0 / prior.observed if self.at_least else prior.observed
                seen = start_noise if self.over_starts else round_noise
                noise = seen(prior.interval, prior.n, prior.level or ALPHA) / widened
                assumed = f"{recorded}, {percent(noise / math.sqrt(2.0))} noise a {noun}, as recorded"
        gate = replace(
            self.unplanned,
            n=n,
            noun=noun,
            assumed=assumed,
            caught_unit="slower",
            at_most=len(sizes) > 1 and not few,
        )
        rounds, least = (each, hodges_lehmann.least_n(1.0 - levels[-1])) if n else (0, 1)
        if self.over_starts and not few:
            rounds, least = n, LEAST_STARTS
        if rounds < least:
            short = plural(rounds, "round" if few else noun)
            return replace(gate, warning=f"will be INVALID: {short}, at least {least} are needed")

        def chances_at(look: int, ratio: float) -> Chances:
            size, level = sizes[look], levels[look]
            if few:
                # More rounds leave the spread of starts.
                error = rounds_error * math.sqrt(each / size) if self.schedule else rounds_error
                error *= 1.0 if look in (-1, len(sizes) - 1) else EARLY_WIDENING
                half = math.hypot(effect, z_of(1.0 - level) * error) / math.sqrt(n)
                return operating_characteristics.of_width(ratio, budget, noise / math.sqrt(n), half)
            by = (
                operating_characteristics.of_starts
                if self.over_starts
                else operating_characteristics.of_ratio
            )
            is_early = not self.over_starts and look not in (-1, len(sizes) - 1)
            return by(size, ratio, budget, noise * (EARLY_WIDENING if is_early else 1.0), alpha=level)

        def chances_of(ratio: float) -> Chances:
            return chances_at(-1, ratio)

        def needed() -> str:
            enough = sample_size.starts_for_ratio if self.over_starts else sample_size.exact_rounds_for_ratio
            more = enough(ratio, budget, noise, alpha=levels[-1], wanted=WANTED)
            return f"about {about(more)} {noun}s" if more else ""

        def slower(wanted: float) -> float | None:
            found = sample_size.slowdown_caught(chances_of, wanted)
            return None if found is None else max(0.0, (1.0 + found) / ratio - 1.0)

        forecast = chances_of(ratio)
        expected = _expected_size(sizes, lambda look: chances_at(look, ratio))
        unit = "start" if self.over_starts and not few else "round"
        return replace(
            gate,
            chances=forecast,
            caught_often=slower(OFTEN),
            caught=slower(WANTED),
            warning=power_warning(forecast, ratio <= budget, needed, assumed),
            remark=f"about {about(expected)} of {plural(sizes[-1], unit)} decide it"
            if len(sizes) > 1
            else "",
        )


@dataclass(frozen=True)
class _OneStart:
    """The rounds of one pair of starts, none of them lost.

    The interval is wider where neighbouring rounds of a look resemble each other (``stats.autocorrelation``), and by
    one step where the values of a side come in steps. Rounds of two looks are no neighbours.
    """

    looks: Sequence[Sequence[tuple[float, float]]]
    least_widening: float = 1.0

    @cached_property
    def rounds(self) -> list[tuple[float, float]]:
        return [pair for look in self.looks for pair in look]

    @cached_property
    def _logs_by_look(self) -> list[list[float]]:
        return [[math.log(ours) - math.log(theirs) for ours, theirs in look] for look in self.looks]

    @cached_property
    def logs(self) -> list[float]:
        return [value for look in self._logs_by_look for value in look]

    @cached_property
    def centre(self) -> float:
        return hodges_lehmann.estimate(self.logs)

    @cached_property
    def _seen_widening(self) -> float:
        return autocorrelation.widening(self._logs_by_look)

    @property
    def widening(self) -> float:
        return max(self._seen_widening, self.least_widening)

    @cached_property
    def step(self) -> float:
        return max(_step([pair[side] for pair in self.rounds]) for side in (0, 1))

    @property
    def error(self) -> float:
        """Standard error of the centre."""
        return hodges_lehmann.with_error(self.logs)[1] * self.widening

    def bounds(self, alpha: float) -> tuple[float, float]:
        """One-sided bounds of the log ratio, each with error ``alpha``."""
        low, high = hodges_lehmann.bounds(self.logs, 1.0 - alpha)
        if self.widening > 1.0:
            low = self.centre - (self.centre - low) * self.widening
            high = self.centre + (high - self.centre) * self.widening
        allowed = math.log1p(self.step)
        return low - allowed, high + allowed

    def p_beyond(self, threshold: float, *, below: bool) -> float:
        """One-sided p-value of a log ratio above (``below``: below) the threshold, to go with :meth:`bounds`."""
        test = hodges_lehmann.p_less if below else hodges_lehmann.p_greater
        point = threshold - math.log1p(self.step) if below else threshold + math.log1p(self.step)
        if self.widening > 1.0:
            point = self.centre + (point - self.centre) / self.widening
        return test(self.logs, point)

    @property
    def _far(self) -> int:
        """The number of rounds far from the others, 0 where they are few."""
        apart = max(math.log(FAR), 3.0 * _deviation(self.logs))
        far = sum(abs(value - self.centre) > apart for value in self.logs)
        return far if far >= max(2, TOLD_FAR * len(self.logs)) else 0

    @property
    def remark(self) -> str:
        """Notes on unusual rounds and on what widens the interval beyond the rounds alone; empty if there are none."""
        lines = []
        if self._seen_widening >= max(TOLD_WIDENING, self.least_widening):
            spreads = [_deviation([math.log(pair[side]) for pair in self.rounds]) for side in (0, 1)]
            whose = ""
            if max(spreads) > 2.0 * min(spreads):
                side = "candidate" if spreads[0] > spreads[1] else "baseline"
                whose = f", mostly the {side}'s,"
            lines.append(
                f"noise{whose} that outlasts a round (correlation of neighbours "
                f"{autocorrelation.lag_one(self._logs_by_look):.2f}): the interval is {self.widening:.2g} times as wide"
            )
        if far := self._far:
            lines.append(
                f"{far} of {len(self.logs)} rounds lie beyond ×{FAR} of the typical one and three times the usual "
                "spread: the ratio does not see them, .ratio.p90 does"
            )
        if self.step:
            lines.append(f"values come in steps of {percent(self.step)}: the interval allows for one")
        return "\n".join(lines)


def _step(values: Sequence[float]) -> float:
    """Return the smallest step between values that repeat, as a share of their median; 0 where few repeat."""
    ordered = sorted(values)
    apart = [b - a for a, b in pairwise(ordered) if b - a > 1e-9 * b]
    if not apart or len(apart) + 1 > len(ordered) / 3:
        return 0.0
    return min(apart) / median(ordered)


@dataclass(frozen=True)
class _Starts:
    """Pairs of starts, and the centres of earlier ones."""

    starts: Sequence[_OneStart]
    remembered: tuple[tuple[Centre, ...], ...]

    @property
    def is_measured(self) -> bool:
        """There are enough starts to measure how they differ."""
        return len(self.starts) >= LEAST_STARTS

    @property
    def is_remembered(self) -> bool:
        return any(len(group) > 1 for group in self.remembered)

    @cached_property
    def centres(self) -> list[float]:
        return [start.centre for start in self.starts]

    @cached_property
    def centre(self) -> float:
        return math.fsum(self.centres) / len(self.centres)

    @cached_property
    def deviation(self) -> float:
        """Standard deviation of the log ratio of one pair of starts, measured over its rounds."""
        if self.is_measured:
            return _spread(self.centres)
        error = max(start.error for start in self.starts)
        return math.hypot(start_to_start.spread_seen(self.remembered), error)

    @property
    def method(self) -> str:
        if self.is_measured:
            return "Student's t over starts, Hodges-Lehmann within"
        basis = "remembered" if self.is_remembered else "assumed"
        return f"Hodges-Lehmann, with the {basis} spread of starts"

    def bounds(self, alpha: float, level: float) -> tuple[float, float]:
        """One-sided bounds of the log ratio, each with error ``alpha`` in all looks, ``level`` in this one.

        Where the spread is not measured, looks share the starts and differ in their rounds alone.
        """
        if self.is_measured:
            return start_to_start.bounds(self.centres, 1.0 - level)
        within = [start.bounds(level) for start in self.starts]
        return start_to_start.bounds_by_memory(self._with_errors, within, self.remembered, 1.0 - alpha)

    @property
    def _with_errors(self) -> list[Centre]:
        return [(start.centre, start.error) for start in self.starts]

    def can_decide(self, threshold: float, alpha: float, level: float) -> bool:
        """More rounds of these starts, whose spread is not measured, could bring a bound to the threshold."""
        effect = start_to_start.effect_of(self._with_errors, self.remembered, 1.0 - alpha)
        low, high = self.bounds(alpha, level)
        lowest = self.centre - math.sqrt(max(0.0, (self.centre - low) ** 2 - effect**2))
        highest = self.centre + math.sqrt(max(0.0, (high - self.centre) ** 2 - effect**2))
        return lowest + effect <= threshold or highest - effect >= threshold

    def p_beyond(self, threshold: float, *, below: bool) -> float:
        """One-sided p-value of a log ratio above (``below``: below) the threshold, where the spread is measured."""
        sign = -1.0 if below else 1.0
        return start_to_start.p_above([sign * centre for centre in self.centres], sign * threshold)

    def p_by_memory(self, threshold: float, *, below: bool, level: float) -> float:
        """The same where it is not measured; ``level``: this look's share of the error of the rounds."""

        def is_shown(alpha: float) -> bool:
            low, high = self.bounds(alpha, alpha * level)
            return high < threshold if below else low > threshold

        # The least alpha that shows it; with so few rounds there is no bound below 2^-n.
        low, high = max(1e-9, 2.0 ** -min(len(start.rounds) for start in self.starts) / level), 0.49
        if not is_shown(high):
            return 1.0
        if is_shown(low):
            return low
        for _ in range(24):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if is_shown(middle) else (middle, high)
        return high

    def detail(self, rounds: int, unasked: int) -> str:
        """The line below the verdict: how much starts differ, and where that is known from."""
        if self.is_measured:
            return f"starts differ by {percent(self.deviation)} (standard deviation of the ratio)"
        if self.is_remembered:
            count = sum(map(len, self.remembered))
            side = percent(start_to_start.spread_seen(self.remembered) / math.sqrt(2.0))
            how = f"starts differ by {side} a side, remembered from {count} earlier ones here"
        else:
            side = percent(start_to_start.ASSUMED_DEVIATION)
            how = f"starts are assumed to differ by {side} a side: no earlier ones are remembered here"
        of = f" of {rounds + unasked}" if unasked else ""
        return "\n".join(
            filter(None, (f"{rounds}{of} rounds; {how}", *(start.remark for start in self.starts)))
        )


def _groups(remembered: Sequence[Sequence[Centre]]) -> tuple[tuple[Centre, ...], ...]:
    return tuple(tuple((float(centre), float(error)) for centre, error in group) for group in remembered)


def _expected_size(sizes: Sequence[int], chances_at: Callable[[int], Chances]) -> int:
    """Return the data after which a gate stops in the mean, if each look decides as often as it would alone."""
    decided, expected = 0.0, 0.0
    for look, size in enumerate(sizes):
        last = look == len(sizes) - 1
        at_look = 1.0 if last else max(decided, 1.0 - chances_at(look).undecided)
        expected, decided = expected + (at_look - decided) * size, at_look
    return math.ceil(expected)


def start_noise(interval: tuple[float, float], starts: int, level: float = ALPHA) -> float:
    """Return the deviation of one pair of starts, from the interval of so many; 0 for a degenerate one."""
    low, high = interval
    if not 0.0 < low < high < math.inf:
        return 0.0
    return math.log(high / low) / 2.0 / t_of(starts - 1, 1.0 - level) * math.sqrt(starts)


def round_noise(interval: tuple[float, float], rounds: int, level: float = ALPHA) -> float:
    """Return the deviation of one round's log ratio, from the interval of so many; 0 for a degenerate one."""
    low, high = interval
    if not 0.0 < low < high < math.inf:
        return 0.0
    return math.log(high / low) / 2.0 / z_of(1.0 - level) * math.sqrt(rounds * 3.0 / math.pi)


def _kept(rounds: Iterable[Round]) -> list[tuple[float, float]]:
    """Return the rounds that were lost on neither side."""
    return [
        (float(ours), float(theirs)) for ours, theirs in rounds if ours is not None and theirs is not None
    ]


def centre_of(rounds: Rounds) -> Centre | None:
    """Return the log ratio of one pair of starts and its standard error; None if its rounds cannot be judged."""
    kept = _kept(rounds)
    lost = len(rounds) - len(kept)
    if _unusable(kept, lost, MAX_LOST_ROUNDS) or len(kept) < hodges_lehmann.least_n():
        return None
    start = _OneStart([kept])
    return start.centre, start.error


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


def tail_size(schedule: Sequence[int], q: float = 0.95) -> int:
    """Return the first number of rounds of ``schedule`` that is enough for the q-quantile, else the last."""
    enough = max(TAIL_ROUNDS, order_statistics.least_n(q))
    return next((size for size in schedule if size >= enough), schedule[-1])


def _is_usable(value: float) -> bool:
    return math.isfinite(value) and value > 0.0


class _RoundRatios(Sequence[float | None]):
    """The ratio of each round; None: it was lost. Computed when it is read, for a plan knows the number alone."""

    def __init__(self, starts: Sequence[Rounds]) -> None:
        self._starts = starts

    def __len__(self) -> int:
        return sum(map(len, self._starts))

    @cached_property
    def _ratios(self) -> list[float | None]:
        pairs = [pair for rounds in self._starts for pair in rounds]
        return [
            ours / theirs if ours and theirs and all(map(_is_usable, (ours, theirs))) else None
            for ours, theirs in pairs
        ]

    @overload
    def __getitem__(self, index: int) -> float | None: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[float | None]: ...

    def __getitem__(self, index: int | slice) -> float | Sequence[float | None] | None:
        return self._ratios[index]


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
    started: bool = False
    """The run started both servers."""
    remembered: Sequence[Sequence[Centre]] = field(default=(), repr=False)
    remark: str = ""
    """A line below the verdict."""
    schedule: Sequence[int] = ()
    more: Callable[[int], PairedSamples] | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        return f"{self.metric} ratio"

    @property
    def example(self) -> str:
        return f"{self.metric}.ratio <= 1.05"

    @property
    def size(self) -> int:
        return sum(map(len, self.starts))

    @property
    def p90(self) -> Quantile:
        return self.quantile(0.90)

    def quantile(self, q: float) -> Quantile:
        """Return the q-quantile of the ratios of single rounds, 0 < q < 1: the slow rounds, not the typical one.

        It takes :data:`TAIL_ROUNDS` rounds or more, and speaks of the servers as they were started. ``ValueError`` for
        another q.
        """
        data = self._tail(q)
        ratios = _RoundRatios(data.starts)
        share = data.client_share

        def client_error(q: float) -> float:
            there = [ratio for ratio in ratios if ratio is not None]
            if not there:
                return 0.0  # The quantile itself says that nothing was measured.
            seen = order_statistics.quantile(there, q)
            return seen - true_ratio(seen, share, rate=self.unit != "s")

        return Series(
            f"{self.label} by round",
            ratios,
            "ratio",
            noun="round",
            # A round in which a server stood still is lost: more of them may be the very tail that is asked for.
            max_error_share=MAX_LOST_SHARE,
            judge=self.judge,
            unusable=self.unusable or data.unusable,
            client_error=client_error if share else None,
        ).quantile(q)

    def _tail(self, q: float) -> PairedSamples:
        """Return the rounds for a quantile, whatever the gates of the ratio need."""
        if self.more is not None:
            return self.more(tail_size(self.schedule, q))
        return PairedSamples(self.starts, self.unusable, self.client_share)

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
                started=self.started,
                remembered=self.remembered,
                remark=self.remark,
                schedule=self.schedule,
                more=self.more,
                **asked,
            ),
        )
