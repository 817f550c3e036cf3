"""Loads that are not a fixed number of requests in flight: on a schedule, level by level, up to a limit; each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.config.sizes import LoadShape
from pytest_llmperf.errors import NotMeasured, UsageError
from pytest_llmperf.gates.estimand import Bracketed, Judge, Scalar, Share
from pytest_llmperf.load.arrivals import Schedule, constant, gamma, poisson
from pytest_llmperf.load.goodput import MaxRate, RateSearch, Slo, max_rate_of
from pytest_llmperf.load.prompt_set import PromptSet
from pytest_llmperf.load.replay import Replay, Unit, read_trace
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.run import Run
from pytest_llmperf.load.runner import OpenLoop, SendOptions, run_load
from pytest_llmperf.load.steady import slice_size, slices_of, steady_part
from pytest_llmperf.load.sweep import Level, Sweep, sweep_concurrency, sweep_rate
from pytest_llmperf.load.workload import Shape
from pytest_llmperf.measure.deaths import death_of
from pytest_llmperf.measure.once import Once
from pytest_llmperf.measure.served import Served

if TYPE_CHECKING:
    from pytest_llmperf.measure.measurements import Measurements
    from pytest_llmperf.measure.speed import Speed


@dataclass(frozen=True)
class Timed:
    """One load on a schedule."""

    run: Run
    slices: tuple[Metrics, ...]
    """Of its steady part, or of all of it up to the last sending where none was found."""


class Scheduled:
    """The loads of one run that have a schedule or levels."""

    def __init__(self, run: Measurements, speed: Speed) -> None:
        self._run, self._speed = run, speed
        self._once = Once()

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
        """One load on that schedule; ``given`` are the prompts, None: made-up ones, of the lengths in ``shapes``."""

        def measure() -> Timed:
            self._run.memory(served)
            self._speed.note_sampling(served, shape)
            workload = self._speed.workload(shape)
            with self._speed.devices.beside(served, what="open loop"):
                run = run_load(
                    served.server,
                    replace(workload, given=given, warm_cache=warm_cache, unique=not warm_cache),
                    OpenLoop(schedule, shapes),
                    SendOptions(
                        workers=self._run.settings.workers,
                        on_progress=partial(self._say, f"{served.name}, {schedule.name}"),
                    ),
                )
            timed = Timed(run, slices_of(run, steady_part(run)))
            self._speed.note(served.name, run, of_run(run), purpose="open loop")
            return timed

        return self._once(
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
        """Level by level to the knee. Raises :class:`UsageError` unless one of the two is given."""
        levels = one_of(concurrency, rate)

        def on_level(level: Level) -> None:
            self._run.progress(f"{served.name}: level {level.level:g} of {[*levels]}")
            self._speed.note(served.name, level.run, level.metrics, purpose="sweep")

        def measure() -> Sweep:
            self._run.memory(served)
            self._speed.note_sampling(served, shape)
            workload = self._speed.workload(shape)
            options = SendOptions(workers=self._run.settings.workers)
            with self._speed.devices.beside(served, what="sweep"):
                if concurrency:
                    return sweep_concurrency(
                        served.server, workload, concurrency, on_level=on_level, options=options
                    )
                return sweep_rate(
                    served.server, workload, rate, seconds=seconds, on_level=on_level, options=options
                )

        key = ("sweep", served.name, tuple(concurrency), tuple(rate), seconds, self._key(shape))
        return self._once(key, measure, served)

    def max_rate(
        self,
        served: Served,
        slo: Slo,
        lowest: float,
        highest: float,
        share: float,
        requests: int,
        shape: LoadShape | None = None,
    ) -> MaxRate:
        """The highest rate that keeps the SLO."""

        def on_run(run: Run) -> None:
            self._run.progress(f"{served.name}: {run.open_loop.schedule if run.open_loop else ''} is done")
            try:
                self._speed.note(served.name, run, of_run(run), purpose="max rate")
            except NotMeasured:
                # All of its requests failed: that rate is too high, which is an answer.
                if dead := death_of(served):
                    raise dead from None

        def measure() -> MaxRate:
            self._run.memory(served)
            self._speed.note_sampling(served, shape)
            with self._speed.devices.beside(served, what="max rate"):
                return max_rate_of(
                    served.server,
                    self._speed.workload(shape),
                    slo,
                    RateSearch(lowest, highest, share),
                    requests=requests,
                    on_run=on_run,
                    options=SendOptions(workers=self._run.settings.workers),
                )

        key = ("max rate", served.name, slo, lowest, highest, share, requests, self._key(shape))
        return self._once(key, measure, served)

    def _key(self, shape: LoadShape | None) -> tuple[int, int]:
        """What of a shape such a load depends on: it has no rounds."""
        shape = shape or self._run.sizes.load
        return shape.prompt_tokens, shape.answer_tokens

    def _say(self, what: str, done: int, total: int) -> None:
        self._run.progress(f"{what}: {done} of {total}")


@dataclass(frozen=True)
class Swept:
    """What a sweep has shown."""

    sweep: Sweep
    knee: Scalar
    """The level beyond which more load buys latency and no throughput (the highest Kleinrock power)."""
    throughput: Scalar
    """The most output tokens a second at any level."""

    @classmethod
    def of(cls, judge: Judge, sweep: Sweep, suffix: str = "") -> Swept:
        """``suffix`` stands behind the names of the metrics."""
        problems = "; ".join(sweep.problems)
        rates = [rate for one in sweep.levels if (rate := one.metrics.known("throughput")) is not None]
        unit = "in flight" if sweep.of == "concurrency" else "requests/s"
        return cls(
            sweep,
            Scalar(f"knee{suffix}", float(sweep.knee.level), unit, judge=judge, unusable=problems),
            Scalar(
                f"highest throughput{suffix}",
                max(rates, default=None),
                "tok/s",
                judge=judge,
                unusable=problems,
            ),
        )


def arrivals_at(rate: float, requests: int, burstiness: float | None, seed: int) -> Schedule:
    """A schedule by its burstiness: None is evenly, 1 is Poisson. Raises :class:`UsageError` for what is none."""
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
) -> Replay:
    """A recorded load as ``load.replay`` is asked for it. Raises as ``load.replay.read_trace`` does."""
    replay = read_trace(Path(path), skip=skip, requests=requests, unit=unit).faster(faster)
    if at_most is not None:
        replay = replay.at_most(input_tokens=at_most[0], output_tokens=at_most[1])
    return replay


def one_of(concurrency: Sequence[int], rate: Sequence[float]) -> Sequence[float]:
    """The levels of a sweep. Raises :class:`UsageError` unless one of the two is given."""
    if bool(concurrency) is bool(rate):
        raise UsageError("load.sweep needs concurrency=[…] or rate=[…], and one of them only")
    return concurrency or rate


def good_share(judge: Judge, run: Run, slo: Slo, at: str) -> Share:
    """The share of a run's requests that met the SLO; requests in a queue resemble each other, so slices of the run are
    its items."""
    each = slice_size(len(run.traces), least=1)
    slices: Mapping[str, list[bool | None]] = {
        f"slice {first // each}": [slo.met_by(trace) for trace in run.traces[first : first + each]]
        for first in range(0, len(run.traces), each)
    }
    unusable = "; ".join(filter(None, [*run.own_problems, slo.unseen(run)]))
    return Share(f"goodput at {at}", slices, noun="slice", judge=judge, unusable=unusable)


def bracketed(judge: Judge, found: MaxRate, suffix: str = "") -> Bracketed:
    return Bracketed(
        highest_rate(found.share) + suffix,
        found.kept_at,
        found.broken_at,
        "requests/s",
        len(found.trials),
        found.confidence,
        judge=judge,
    )


def highest_rate(share: float) -> str:
    """The name of what ``load.max_rate`` finds."""
    return f"highest rate with {100 * share:g} % within the SLO"


def rounded_up(concurrency: int) -> int:
    """To a power of two: the peak of an open loop differs from run to run, and the client's error hardly."""
    return 1 << max(0, concurrency - 1).bit_length()
