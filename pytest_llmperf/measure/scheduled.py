"""Timed loads on a schedule, level by level, or up to a service-level objective; each once a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_llmperf.config.sizes import LoadShape
from pytest_llmperf.errors import NotMeasured, UsageError
from pytest_llmperf.gates.base import Judge
from pytest_llmperf.gates.bracket import Bracketed
from pytest_llmperf.gates.outcomes import Outcome
from pytest_llmperf.gates.scalar import Scalar
from pytest_llmperf.load.arrivals import Schedule, constant, gamma, poisson
from pytest_llmperf.load.goodput import MaxRate, RateSearch, Slo, max_rate_of
from pytest_llmperf.load.patterns import OpenLoop
from pytest_llmperf.load.prompt_set import PromptSet
from pytest_llmperf.load.replay import Replay, Unit, read_trace
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.steady import slice_size, slices_of, steady_part
from pytest_llmperf.load.sweep import Level, Sweep, sweep_concurrency, sweep_rate
from pytest_llmperf.load.workload import Shape
from pytest_llmperf.measure.memo import Memo
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import find_dead_server
from pytest_llmperf.measure.speed import Speed


@dataclass(frozen=True)
class Timed:
    """One load on a schedule."""

    run: LoadRun
    slices: tuple[Metrics, ...]
    """Slices of its steady part, or of all of it up to the last request where no steady part was found."""


class Scheduled:
    """The loads of one run that have a schedule or levels."""

    def __init__(self, speed: Speed, memo: Memo) -> None:
        self._speed = speed
        self._servers = speed.servers
        self._memo = memo

    def run(
        self,
        served: Served,
        schedule: Schedule,
        shapes: Sequence[Shape] | None = None,
        given: PromptSet | None = None,
        *,
        warm_cache: bool = False,
        shape: LoadShape | None = None,
    ) -> Timed:
        """One load on that schedule with the prompts ``given``; None: generated ones, of the lengths in ``shapes``."""

        def progress(done: int, total: int) -> None:
            self._servers.progress(f"{served.name}, {schedule.name}: {done} of {total}")

        def measure() -> Timed:
            self._speed.prepare(served, shape)
            workload = self._speed.workload(shape)
            with self._speed.devices.beside(served, what="open loop"):
                run = run_load(
                    served.server,
                    replace(workload, given=given, warm_cache=warm_cache, unique=not warm_cache),
                    OpenLoop(schedule, shapes),
                    SendOptions(workers=self._servers.sizes.workers, on_progress=progress),
                )
            timed = Timed(run, slices_of(run, steady_part(run)))
            self._speed.note(served.name, run, of_run(run), purpose="open loop")
            return timed

        return self._memo(
            ("open loop", served.name, schedule, tuple(shapes or ()), given, warm_cache, self._key(shape)),
            measure,
            served,
        )

    def sweep(
        self,
        served: Served,
        concurrency: Sequence[int],
        rate: Sequence[float],
        seconds: float,
        shape: LoadShape | None = None,
    ) -> Sweep:
        """Level by level to the knee. Raises :class:`UsageError` unless exactly one of the two is given."""
        levels = levels_of(concurrency, rate)

        def on_level(level: Level) -> None:
            self._servers.progress(f"{served.name}: level {level.level:g} of {[*levels]}")
            self._speed.note(served.name, level.run, level.metrics, purpose="sweep")

        def measure() -> Sweep:
            self._speed.prepare(served, shape)
            workload = self._speed.workload(shape)
            options = SendOptions(workers=self._servers.sizes.workers)
            with self._speed.devices.beside(served, what="sweep"):
                if concurrency:
                    return sweep_concurrency(
                        served.server, workload, concurrency, on_level=on_level, options=options
                    )
                return sweep_rate(
                    served.server, workload, rate, seconds=seconds, on_level=on_level, options=options
                )

        key = ("sweep", served.name, tuple(concurrency), tuple(rate), seconds, self._key(shape))
        return self._memo(key, measure, served)

    def max_rate(
        self,
        served: Served,
        slo: Slo,
        search: RateSearch,
        requests: int,
        shape: LoadShape | None = None,
    ) -> MaxRate:
        """The highest rate that keeps the SLO, with ``requests`` at each rate."""

        def on_run(run: LoadRun) -> None:
            self._servers.progress(
                f"{served.name}: {run.open_loop.schedule if run.open_loop else ''} is done"
            )
            try:
                self._speed.note(served.name, run, of_run(run), purpose="max rate")
            except NotMeasured:
                # All of its requests failed: that rate is too high, which is an answer.
                if dead := find_dead_server(served):
                    raise dead from None

        def measure() -> MaxRate:
            self._speed.prepare(served, shape)
            with self._speed.devices.beside(served, what="max rate"):
                return max_rate_of(
                    served.server,
                    self._speed.workload(shape),
                    slo,
                    search,
                    requests=requests,
                    on_run=on_run,
                    options=SendOptions(workers=self._servers.sizes.workers),
                )

        key = ("max rate", served.name, slo, search, requests, self._key(shape))
        return self._memo(key, measure, served)

    def _key(self, shape: LoadShape | None) -> tuple[int, int]:
        """The part of a shape that such a load depends on: it has no rounds."""
        shape = shape or self._servers.sizes.load
        return shape.prompt_tokens, shape.answer_tokens


@dataclass(frozen=True)
class SweepData:
    """A sweep with the level of its knee and the highest throughput in tokens a second."""

    sweep: Sweep
    knee: float
    throughput: float | None
    unusable: str = ""
    """Why they must not be judged; empty if they may."""

    @classmethod
    def of(cls, sweep: Sweep) -> SweepData:
        rates = [rate for level in sweep.levels if (rate := level.metrics.known("throughput")) is not None]
        return cls(sweep, float(sweep.knee.level), max(rates, default=None), "; ".join(sweep.problems))


@dataclass(frozen=True)
class SweepResult:
    """The results of a sweep."""

    sweep: Sweep
    knee: Scalar
    """The level beyond which more load buys latency and no throughput (the highest Kleinrock power)."""
    throughput: Scalar
    """The most output tokens a second at any level."""

    @classmethod
    def of(cls, judge: Judge, found: SweepData, unit: str, suffix: str = "") -> SweepResult:
        """``unit`` of the levels; ``suffix`` follows the names of the metrics."""

        def scalar(title: str, value: float | None, unit: str) -> Scalar:
            return Scalar(f"{title}{suffix}", value, unit, judge=judge, unusable=found.unusable)

        return cls(
            found.sweep,
            scalar("knee", found.knee, unit),
            scalar("highest throughput", found.throughput, "tok/s"),
        )


def arrivals_at(rate: float, requests: int, burstiness: float | None, seed: int) -> Schedule:
    """A schedule by its burstiness: None is evenly spaced, 1 is Poisson. Raises :class:`UsageError` for a wrong one."""
    try:
        if burstiness is None:
            return constant(rate, requests)
        if burstiness == 1:
            return poisson(rate, requests, seed=seed)
        return gamma(rate, requests, burstiness=burstiness, seed=seed)
    except ValueError as error:
        raise UsageError(f"load.open_loop: {error}") from error


def replayed(
    path: str | Path,
    faster: float,
    skip: int,
    requests: int | None,
    at_most: tuple[int, int] | None,
    unit: Unit | None,
    block_tokens: int | None = None,
) -> Replay:
    """The recorded load that ``load.replay`` asks for. Raises as ``load.replay.read_trace`` does."""
    replay = read_trace(
        Path(path), skip=skip, requests=requests, unit=unit, block_tokens=block_tokens
    ).faster(faster)
    if at_most is not None:
        replay = replay.at_most(input_tokens=at_most[0], output_tokens=at_most[1])
    return replay


def levels_of(concurrency: Sequence[int], rate: Sequence[float]) -> Sequence[float]:
    """The levels of a sweep. Raises :class:`UsageError` unless exactly one of the two is given."""
    if bool(concurrency) is bool(rate):
        raise UsageError("load.sweep needs concurrency=[…] or rate=[…], and one of them only")
    return concurrency or rate


def met_by_slice(run: LoadRun, slo: Slo) -> tuple[Mapping[str, list[Outcome]], str]:
    """By slice of a run, whether each request met the SLO; and why that must not be judged (empty: it may).

    Requests in a queue resemble each other, so slices of the run are the items.
    """
    each = slice_size(len(run.traces), least=1)
    slices: Mapping[str, list[Outcome]] = {
        f"slice {first // each}": [slo.met_by(trace) for trace in run.traces[first : first + each]]
        for first in range(0, len(run.traces), each)
    }
    return slices, "; ".join(filter(None, [*run.own_problems, slo.unseen(run)]))


def bracketed(judge: Judge, found: MaxRate, unusable: str = "", suffix: str = "") -> Bracketed:
    """The result of ``load.max_rate`` as an estimand; ``suffix`` follows the name of the metric."""
    return Bracketed(
        f"highest rate with {100 * found.share:g} % within the SLO{suffix}",
        found.kept_at,
        found.broken_at,
        "requests/s",
        len(found.trials),
        found.confidence,
        judge=judge,
        unusable=unusable,
    )
