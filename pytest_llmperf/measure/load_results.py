"""The results of timed loads as estimands: of one model, and of two in turn.

The data come through :class:`LoadData` and :class:`PairData`: measured ones are here, planned ones in
``measure.planned``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Protocol

from pytest_llmperf.gates.base import Judge
from pytest_llmperf.gates.quantile import Series
from pytest_llmperf.gates.ratio import MAX_LOST_ROUNDS, PairedSamples, Ratio
from pytest_llmperf.gates.totals import RoundTotals, TotalsLevel, TotalsRatio
from pytest_llmperf.load.interleave import Rounds
from pytest_llmperf.load.metrics import Metric, metric_named
from pytest_llmperf.load.results import Metrics
from pytest_llmperf.load.run import LoadRun, problems_of
from pytest_llmperf.load.seen_times import CLUMPED_ABOVE, held_back
from pytest_llmperf.measure.clock_error import ClockError
from pytest_llmperf.measure.on_device import OnDevice
from pytest_llmperf.measure.start_memory import StartsOf

_CHUNKED_APART = 1.5
"""Factor between the tokens a chunk of two sides above which their gaps are not comparable."""
ON_DEVICE = {
    "energy": ("energy per token", "J/tok", "joules of the device by output token"),
    "roofline": ("share of the device's limit", "share", "share of what its bandwidth and arithmetic allow"),
}
"""Title, unit and meaning of what the device tells of a load, one value a round; beside ``load.metrics``."""


@dataclass(frozen=True)
class Samples:
    """The samples of one metric of a load."""

    values: Sequence[float | None]
    groups: Sequence[int] | None = None
    """The round or slice of each value; None: one value for each of them."""
    errors: int = 0
    """Failed requests of the load."""
    unusable: str = ""
    """Why they must not be judged; empty if they may."""
    client_error: Callable[[float], float] | None = None
    """By quantile, what the client reports above the truth; None: nothing."""


_THESE_PROCESSES = "the rounds are the sample: the verdict is on these processes, another start may differ"


@dataclass(frozen=True)
class LoadTotals:
    """Numerator and denominator of one metric in each round or slice of a load."""

    rounds: RoundTotals
    unusable: str = ""
    """Why they must not be judged; empty if they may."""


@dataclass(frozen=True)
class PairTotals:
    """The same of two models in turn, round by round."""

    candidate: RoundTotals
    baseline: RoundTotals
    unusable: str = ""


class LoadData(Protocol):
    """The data of one load."""

    def totals(self, metric: str) -> LoadTotals:
        """``metric``: the name of one with ``from_totals``."""
        ...

    def samples(self, metric: str) -> Samples:
        """``metric``: its name in ``load.metrics`` or :data:`ON_DEVICE`."""
        ...


@dataclass(frozen=True)
class LoadResult:
    """The measurements of one model under one load, all rounds together (or all slices of one long run).

    Every metric of ``load.metrics`` is an attribute, and so are those of :data:`ON_DEVICE`: ``.ttft``, ``.energy``.
    Each is a :class:`Series`, or a :class:`TotalsLevel` where the metric is a ratio of totals: ``.acceptance_length``.
    """

    judge: Judge = field(repr=False)
    at: int | str
    """The load in reports: its concurrency, or ``4 requests/s``."""
    data: LoadData = field(repr=False)
    suffix: str = ""
    """Follows the load's name."""
    part: str = ""
    """Name of its parts; empty: as its load has them."""

    def __getattr__(self, metric: str) -> Any:
        part = self.part or part_of(self.at)
        if metric in ON_DEVICE:
            title, unit, _ = ON_DEVICE[metric]
            noun = "round"
        else:
            found = _metric(self, metric)
            if found.from_totals is not None:
                totals = self.data.totals(metric)
                return TotalsLevel(
                    metric=f"{found.title} at {self.at}{self.suffix}",
                    rounds=totals.rounds,
                    unit=found.unit,
                    noun=part,
                    why_nothing=found.why_nothing,
                    judge=self.judge,
                    unusable=totals.unusable,
                )
            title, unit, noun = found.title, found.unit, "sample" if found.from_round is None else part
        samples = self.data.samples(metric)
        return Series(
            f"{title} at {self.at}{self.suffix}",
            samples.values,
            unit,
            groups=samples.groups,
            errors=samples.errors,
            noun=noun,
            group_noun=part,
            judge=self.judge,
            unusable=samples.unusable,
            client_error=samples.client_error,
        )


def _metric(result: LoadResult | Pair, name: str) -> Metric:
    """The registered metric; ``AttributeError`` naming those there are."""
    try:
        return metric_named(name)
    except ValueError as error:
        raise AttributeError(f"{type(result).__name__}: {error}") from None


@dataclass(frozen=True)
class MeasuredLoad:
    """The rounds of one model at a concurrency, or the slices of one run on a schedule."""

    at: int | str
    runs: Sequence[LoadRun]
    rounds: Sequence[Metrics]
    clock: ClockError
    device: OnDevice

    def samples(self, metric: str) -> Samples:
        problems = "; ".join(filter(None, [self.clock.unusable, *problems_of(self.runs)]))
        if metric == "energy":
            return Samples(self.device.joules_per_token, unusable=_joined(problems, self.device.no_energy))
        if metric == "roofline":
            return Samples(self.device.share, unusable=_joined(problems, self.device.no_share))
        unusable = problems or not_seen(self.rounds, metric)
        if metric_named(metric).from_round is not None:
            return self._rates(metric, unusable)
        # Samples of one round share what happened on the machine in it: the rounds are the groups.
        by_round = [(value, n) for n, metrics in enumerate(self.rounds) for value in metrics.judged(metric)]
        return Samples(
            [value for value, _ in by_round],
            groups=[n for _, n in by_round],
            errors=sum(metrics.requests - metrics.succeeded for metrics in self.rounds),
            unusable=unusable,
            client_error=lambda q: self.clock.of_quantile(metric, q),
        )

    def totals(self, metric: str) -> LoadTotals:
        # Counts need no clock: the client's own error is none of theirs.
        rounds = [metrics.totals(metric_named(metric)) for metrics in self.rounds]
        return LoadTotals(rounds, _joined(*problems_of(self.runs), not_seen(self.rounds, metric)))

    def _rates(self, metric: str, unusable: str) -> Samples:
        # A round that is taken out is reported; one whose tokens were not counted is lost.
        rates = [metrics.known(metric) for metrics in self.rounds if not metrics.taken_out]
        # A load with a schedule sends when it is time: the client takes nothing of its rate.
        lost = self.clock.share_of_cycle(self.at, self.rounds) if isinstance(self.at, int) else 0.0
        known = [rate for rate in rates if rate]
        missed = median(known) * lost / (1 - lost) if known else 0.0
        return Samples(rates, unusable=unusable, client_error=lambda _: -missed)


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))


def part_of(at: int | str) -> str:
    """The parts of a load: rounds at a concurrency, or slices of a run on a schedule."""
    return "round" if isinstance(at, int) else "slice"


def not_seen(rounds: Sequence[Metrics], metric: str) -> str:
    """Why a metric must not be judged: too many rounds were disturbed, or their tokens were not seen when they came.
    Empty if it may be."""
    reasons: list[str] = []
    for metrics in rounds:
        stood_still = "" if metric_named(metric).shows_standstill else metrics.taken_out
        if why := stood_still or metrics.missing.get(metric, ""):
            reasons.append(why)
    if len(reasons) <= MAX_LOST_ROUNDS * len(rounds):
        clumped, gaps = sum(metrics.clumped for metrics in rounds), sum(metrics.gaps for metrics in rounds)
        if metric_named(metric).needs in ("arrivals", "tokens") and clumped > CLUMPED_ABOVE * gaps:
            return held_back(clumped, gaps, CLUMPED_ABOVE)
        return ""
    if len(rounds) == 1:
        return reasons[0]
    return f"{len(reasons)} of {len(rounds)} rounds cannot be used; the first: {reasons[0]}"


def chunked_apart(candidate: Sequence[Metrics], baseline: Sequence[Metrics]) -> str:
    """Why the gaps of two sides are not comparable: one sends more tokens in a chunk than the other. Empty if they are.

    The time of a chunk is spread over its tokens, which hides how long a reader waited for it.
    """
    of_candidate, of_baseline = tokens_per_chunk(candidate), tokens_per_chunk(baseline)
    if max(of_candidate, of_baseline) <= _CHUNKED_APART * min(of_candidate, of_baseline):
        return ""
    return (
        f"the candidate sends {of_candidate:.3g} tokens a chunk, the baseline {of_baseline:.3g}: gaps between chunks "
        "are not gaps between tokens, and are compared with their like only; compare TPOT"
    )


def tokens_per_chunk(rounds: Sequence[Metrics]) -> float:
    """Tokens by chunk after the first of each answer; 1 where there are none."""
    gaps = sum(metrics.gaps for metrics in rounds)
    return sum(len(metrics.samples["itl"]) for metrics in rounds) / gaps if gaps else 1.0


class PairData(Protocol):
    """The data of a load on both models in turn."""

    @property
    def looks(self) -> Sequence[int]:
        """Rounds after which gates look, the last: all; empty where they get all at once."""
        ...

    @property
    def more(self) -> Callable[[str, int], PairedSamples] | None:
        """The first rounds of a metric, measured as far as they are asked for; None where nothing is measured."""
        ...

    def samples(self, metric: str) -> PairedSamples:
        """The rounds that are there before a gate asks for more. ``metric``: its name in ``load.metrics``."""
        ...

    def totals(self, metric: str) -> PairTotals:
        """All rounds. ``metric``: the name of one with ``from_totals``."""
        ...


@dataclass(frozen=True)
class Paired:
    """One metric of both models."""

    ratio: Ratio | TotalsRatio
    """Candidate over baseline: one value a round of each pair of starts, or totals of both sides by round."""


@dataclass(frozen=True)
class Pair:
    """Candidate against baseline at one concurrency: ``.ttft.ratio``, for every metric of ``load.metrics``."""

    judge: Judge = field(repr=False)
    concurrency: int
    data: PairData = field(repr=False)
    suffix: str = ""

    def __getattr__(self, metric: str) -> Any:
        found = _metric(self, metric)
        if found.client_only:
            raise AttributeError(f"{found.title} is the client's own, and not compared between servers")
        if found.from_totals is not None:
            return Paired(self._totals(found))
        samples, of_metric = self.data.samples(metric), self.data.more
        grows = bool(self.data.looks) and of_metric is not None
        more = functools.partial(of_metric, metric) if of_metric is not None and grows else None
        return Paired(
            Ratio(
                f"{found.title} at {self.concurrency}{self.suffix}",
                samples.starts,
                found.unit,
                judge=self.judge,
                # What makes the first rounds unusable may be rare among all.
                unusable="" if grows else samples.unusable,
                client_share=samples.client_share,
                started=samples.started,
                remembered=samples.remembered,
                remark=samples.remark,
                schedule=self.data.looks,
                more=more,
            )
        )

    def _totals(self, metric: Metric) -> TotalsRatio:
        found = self.data.totals(metric.name)
        return TotalsRatio(
            metric=f"{metric.title} at {self.concurrency}{self.suffix}",
            unit=metric.unit,
            why_nothing=metric.why_nothing,
            candidate=found.candidate,
            baseline=found.baseline,
            judge=self.judge,
            unusable=found.unusable,
            remark=_THESE_PROCESSES,
        )


class GrowingRounds(Protocol):
    """Interleaved rounds that are measured as far as they are asked for (``measure.speed``)."""

    @property
    def looks(self) -> Sequence[int]: ...

    @property
    def first_look(self) -> int: ...

    def first(self, n: int) -> Sequence[Rounds]:
        """The first ``n`` rounds, by pair of starts."""
        ...


@dataclass(frozen=True)
class MeasuredPair:
    """Interleaved rounds of both models at one concurrency, of each pair of their starts."""

    concurrency: int
    rounds: GrowingRounds
    clock_of: Callable[[Sequence[Rounds]], ClockError]
    spread: StartsOf | str = ""
    """Differences between earlier starts; or why starts are no part of the claim."""

    @property
    def looks(self) -> Sequence[int]:
        return self.rounds.looks

    def samples(self, metric: str) -> PairedSamples:
        return self.more(metric, self.rounds.first_look)

    def totals(self, metric: str) -> PairTotals:
        # As many as were planned: a number that does not depend on what the first ones show.
        starts = self.rounds.first(self.looks[-1] if self.looks else self.rounds.first_look)
        kind = metric_named(metric)
        rounds, problems = [], []
        for runs, side in (
            (
                [run for start in starts for run in start.candidate_runs],
                [one for start in starts for one in start.candidate],
            ),
            (
                [run for start in starts for run in start.baseline_runs],
                [one for start in starts for one in start.baseline],
            ),
        ):
            rounds.append([metrics.totals(kind) for metrics in side])
            found = [*problems_of(runs), *filter(None, [not_seen(side, metric)])]
            problems += [f"{runs[0].server.row}: {why}" for why in found]
        return PairTotals(rounds[0], rounds[1], _joined(*problems))

    def more(self, metric: str, n: int) -> PairedSamples:
        starts = self.rounds.first(n)
        clock = self.clock_of(starts)
        sides = (
            [run for rounds in starts for run in rounds.candidate_runs],
            [run for rounds in starts for run in rounds.baseline_runs],
        )
        candidate = [metrics for rounds in starts for metrics in rounds.candidate]
        baseline = [metrics for rounds in starts for metrics in rounds.baseline]
        problems = [
            clock.unusable,
            *(f"{runs[0].server.row}: {why}" for runs in sides for why in problems_of(runs)),
        ]
        values = [
            [
                (_value(a, metric), _value(b, metric))
                for a, b in zip(rounds.candidate, rounds.baseline, strict=True)
            ]
            for rounds in starts
        ]
        if metric_named(metric).from_round is not None:
            share = clock.share_of_cycle(self.concurrency, baseline)
        else:
            share = clock.share_of(metric, [_value(metrics, metric) for metrics in baseline])
        # A side whose tokens were not seen is slow or quick by that alone.
        unseen = [
            f"{runs[0].server.row}: {why}"
            for runs, rounds in zip(sides, (candidate, baseline), strict=True)
            if (why := not_seen(rounds, metric))
        ]
        if metric == "itl" and not unseen:
            unseen = [chunked_apart(candidate, baseline)]
        samples = PairedSamples(values, _joined(*problems, *unseen), share)
        if isinstance(self.spread, str):
            return replace(samples, remark=self.spread)
        if not samples.unusable:
            self.spread.note(metric, values)
        return replace(
            samples, started=True, remembered=self.spread.known(metric), remark=self.spread.remark()
        )


def _value(metrics: Metrics, name: str) -> float | None:
    """One round's value; None if the round is lost: nothing was measured, or the clock could not resolve it.

    A client or a server that is kept from the processor for the length of a whole answer sees all its tokens at
    one instant: that is a round without a time per token, and not one of infinite speed.
    """
    value = metrics.known(name)
    return value if value is not None and value > 0 else None
