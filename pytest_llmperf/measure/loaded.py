"""What a timed load has shown, as estimands: of one model, and of two in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pytest_llmperf.gates.estimand import Judge, Ratio, Series
from pytest_llmperf.gates.ratio import MAX_LOST_ROUNDS
from pytest_llmperf.load.interleave import Rounds
from pytest_llmperf.load.metrics import metric_named
from pytest_llmperf.load.results import Metrics
from pytest_llmperf.load.run import Run, problems_of
from pytest_llmperf.load.seen_times import CLUMPED_ABOVE, held_back
from pytest_llmperf.measure.clock_error import ClockError
from pytest_llmperf.measure.on_device import OnDevice

_CHUNKED_APART = 1.5
"""Factor between the tokens a chunk of two sides from which on their gaps are no longer the same thing."""


@dataclass(frozen=True)
class Loaded:
    """What was measured of one model under one load, all rounds together (or all slices of one long run)."""

    ttft: Series
    ttfat: Series
    itl: Series
    tpot: Series
    stall: Series
    e2el: Series
    throughput: Series
    """Output tokens a second, one value a round."""
    schedule_delay: Series
    """Intended sending → sending, of a load with a schedule; the latencies of such a load contain it."""
    energy: Series
    """Joules of the device by output token, one value a round."""
    roofline: Series
    """Share of the tokens a second that the device's bandwidth and arithmetic allow, one value a round."""

    @classmethod
    def of(
        cls,
        judge: Judge,
        at: int | str,
        runs: Sequence[Run],
        rounds: Sequence[Metrics],
        clock: ClockError,
        device: OnDevice,
        suffix: str = "",
    ) -> Loaded:
        """``at`` names the load in reports: its concurrency, or ``4 requests/s``; ``suffix`` stands behind it."""
        problems = "; ".join(filter(None, [clock.unusable, *problems_of(runs)]))
        part = part_of(at)
        errors = sum(one.requests - one.succeeded for one in rounds)

        def series(name: str, metric: str) -> Series:
            # Samples of one round share what happened on the machine in it: the rounds are the groups.
            by_round = [(value, i) for i, one in enumerate(rounds) for value in one.judged(metric)]
            return Series(
                f"{name} at {at}{suffix}",
                [value for value, _ in by_round],
                "s",
                groups=[i for _, i in by_round],
                group_noun=part,
                errors=errors,
                judge=judge,
                unusable=problems or not_seen(rounds, metric),
                client_error=lambda q: clock.of_quantile(metric, q),
            )

        # A round that is taken out is told; one whose tokens were not counted is lost.
        rates = [one.known("throughput") for one in rounds if not one.taken_out]
        # A load with a schedule sends when it is time: the client takes nothing of its throughput.
        lost = clock.share_of_cycle(at, rounds) if isinstance(at, int) else 0.0
        known = [rate for rate in rates if rate]
        missed = median(known) * lost / (1 - lost) if known else 0.0
        return cls(
            ttft=series("TTFT", "ttft"),
            ttfat=series("TTFAT", "ttfat"),
            itl=series("ITL", "itl"),
            tpot=series("TPOT", "tpot"),
            stall=series("stall", "stall"),
            e2el=series("E2EL", "e2el"),
            throughput=Series(
                f"throughput at {at}{suffix}",
                rates,
                "tok/s",
                noun=part,
                judge=judge,
                unusable=problems or not_seen(rounds, "throughput"),
                client_error=lambda _: -missed,
            ),
            schedule_delay=series("schedule delay", "schedule_delay"),
            energy=device.energy(judge, f"{at}{suffix}", problems),
            roofline=device.roofline(judge, f"{at}{suffix}", problems),
        )


def part_of(at: int | str) -> str:
    """What a load consists of: rounds of so many in flight, or slices of one that follows a schedule."""
    return "round" if isinstance(at, int) else "slice"


def not_seen(rounds: Sequence[Metrics], metric: str) -> str:
    """Why a metric must not be judged: too many rounds were disturbed, or their tokens not seen when they came. Empty
    if it may be."""
    reasons: list[str] = []
    for one in rounds:
        stood_still = "" if metric_named(metric).shows_standstill else one.taken_out
        if why := stood_still or one.missing.get(metric, ""):
            reasons.append(why)
    if len(reasons) <= MAX_LOST_ROUNDS * len(rounds):
        clumped, gaps = sum(one.clumped for one in rounds), sum(one.gaps for one in rounds)
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
    gaps = sum(one.gaps for one in rounds)
    return sum(len(one.samples["itl"]) for one in rounds) / gaps if gaps else 1.0


@dataclass(frozen=True)
class Paired:
    """One metric of both models."""

    ratio: Ratio
    """Candidate over baseline, one value a round of each pair of starts."""


@dataclass(frozen=True)
class Pair:
    """Candidate against baseline at one concurrency."""

    ttft: Paired
    itl: Paired
    tpot: Paired
    e2el: Paired
    throughput: Paired

    @classmethod
    def of(
        cls, judge: Judge, concurrency: int, starts: Sequence[Rounds], clock: ClockError, suffix: str = ""
    ) -> Pair:
        sides = (
            [run for rounds in starts for run in rounds.candidate_runs],
            [run for rounds in starts for run in rounds.baseline_runs],
        )
        candidate = [one for rounds in starts for one in rounds.candidate]
        baseline = [one for rounds in starts for one in rounds.baseline]
        found = [
            clock.unusable,
            *(f"{one[0].server.row}: {why}" for one in sides for why in problems_of(one)),
        ]

        def paired(name: str, metric: str) -> Paired:
            values = [
                [
                    (_value(a, metric), _value(b, metric))
                    for a, b in zip(rounds.candidate, rounds.baseline, strict=True)
                ]
                for rounds in starts
            ]
            if metric == "throughput":
                unit, share = "tok/s", clock.share_of_cycle(concurrency, baseline)
            else:
                unit, share = "s", clock.share_of(metric, [_value(one, metric) for one in baseline])
            # A side whose tokens were not seen is slow or quick by that alone.
            unseen = [
                f"{one[0].server.row}: {why}"
                for one, rounds in zip(sides, (candidate, baseline), strict=True)
                if (why := not_seen(rounds, metric))
            ]
            if metric == "itl" and not unseen:
                unseen = [chunked_apart(candidate, baseline)]
            return Paired(
                Ratio(
                    f"{name} at {concurrency}{suffix}",
                    values,
                    unit,
                    judge=judge,
                    unusable="; ".join(filter(None, [*found, *unseen])),
                    client_share=share,
                )
            )

        return cls(
            ttft=paired("TTFT", "ttft"),
            itl=paired("ITL", "itl"),
            tpot=paired("TPOT", "tpot"),
            e2el=paired("E2EL", "e2el"),
            throughput=paired("throughput", "throughput"),
        )


def _value(metrics: Metrics, name: str) -> float | None:
    """One round's value; None if the round is lost: nothing was measured, or the clock could not resolve it.

    A client or a server that is kept from the processor for the length of a whole answer sees all its tokens at
    one instant: that is a round without a time per token, and not one of infinite speed.
    """
    value = metrics.known(name)
    return value if value is not None and value > 0 else None
