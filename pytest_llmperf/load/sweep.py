"""One server under rising load, level by level, to the knee: where more load buys latency and no throughput.

A level is a concurrency (closed loop) or a rate in requests per second (open loop).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.arrivals import poisson
from pytest_llmperf.load.patterns import ClosedLoop, OpenLoop
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.serving.server import Server

_PAST_KNEE = 2
"""Levels in a row below the best power after which a sweep may end: one may be noise."""


@dataclass(frozen=True)
class Level:
    """One level of a sweep."""

    level: float
    run: LoadRun
    metrics: Metrics

    @property
    def power(self) -> float:
        """Successful requests per second, per second of mean E2EL: Kleinrock's power (1979, Power and
        deterministic rules of thumb for probabilistic problems in computer communications). In requests/s²."""
        return self.metrics.value("requests_per_s") / fmean(self.metrics.samples["e2el"])


@dataclass(frozen=True)
class Sweep:
    """The levels that were measured, rising."""

    of: str
    """``concurrency`` or ``rate``."""
    levels: tuple[Level, ...]

    @property
    def knee(self) -> Level:
        """The level with the highest power; with equal ones the lower.

        For a server that serves S requests at a time without slowing down it is a concurrency of S: below it
        throughput is given away, above it only the queue grows.
        """
        return max(self.levels, key=lambda level: (level.power, -level.level))

    @property
    def reached(self) -> bool:
        """True if the knee was passed; otherwise it is only the highest level that was measured."""
        return self.knee is not self.levels[-1]

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the sweep must not be judged, with the level; empty if there is nothing."""
        return tuple(
            f"{self.of} {level.level:g}: {problem}"
            for level in self.levels
            for problem in dict.fromkeys([*level.run.problems, *filter(None, [level.run.disturbance])])
        )

    def series(self, name: str) -> list[tuple[float, float]]:
        """(level, :meth:`Metrics.value` of ``name``) of every level. Raises as that does."""
        return [(level.level, level.metrics.value(name)) for level in self.levels]


def ramp(lowest: float, highest: float, *, factor: float = 2.0) -> list[float]:
    """Levels from ``lowest`` to ``highest``, each ``factor`` times the one before; the last is ``highest``.

    Raises ``ValueError`` unless 0 < lowest <= highest and factor > 1, all finite.
    """
    if not (0 < lowest <= highest < math.inf and 1 < factor < math.inf):
        raise ValueError(
            f"levels {lowest} to {highest} by {factor}; need 0 < lowest <= highest and factor > 1"
        )
    levels = [lowest]
    # A level just below the last one would be the same measurement twice.
    while levels[-1] * factor * math.sqrt(factor) <= highest:
        levels.append(levels[-1] * factor)
    return levels if lowest == highest else [*levels, highest]


def sweep(
    of: str,
    levels: Sequence[float],
    run_at: Callable[[float], LoadRun],
    *,
    to_the_knee: bool = True,
    on_level: Callable[[Level], None] | None = None,
) -> Sweep:
    """Measure ``run_at(level)`` at rising levels.

    ``to_the_knee`` ends it after two levels in a row whose power is below the best. Raises ``ValueError`` if there
    is no level or they do not rise, ``NotMeasured`` if all requests failed at the lowest level; where that happens
    at a higher one the sweep ends before it, for the server's limit was passed.
    """
    if not levels or any(not after > before for before, after in pairwise(levels)):
        raise ValueError(f"levels are {list(levels)}; need at least one, and each above the one before")
    done: list[Level] = []
    for level in levels:
        try:
            run = run_at(level)
            measured = Level(level, run, of_run(run))
        except NotMeasured as error:
            if not done:
                raise NotMeasured(f"{of} {level:g}: {error}") from error
            break
        done.append(measured)
        if on_level:
            on_level(measured)
        best = max(earlier.power for earlier in done)
        if (
            to_the_knee
            and len(done) > _PAST_KNEE
            and all(earlier.power < best for earlier in done[-_PAST_KNEE:])
        ):
            break
    return Sweep(of, tuple(done))


def sweep_concurrency(
    server: Server,
    workload: Workload,
    levels: Sequence[float],
    *,
    waves: int = 4,
    to_the_knee: bool = True,
    on_level: Callable[[Level], None] | None = None,
    options: SendOptions | None = None,
) -> Sweep:
    """Closed loops, each of ``waves`` requests per worker. Raises as :func:`sweep` and :func:`run_load`, and
    ``ValueError`` for a level that is no whole number."""
    if broken := [level for level in levels if level != int(level)]:
        raise ValueError(f"concurrency {broken[0]:g} is not a whole number of requests in flight")
    options = options or SendOptions()

    def run_at(level: float) -> LoadRun:
        return run_load(server, workload, ClosedLoop(int(level), waves * int(level)), options)

    return sweep("concurrency", levels, run_at, to_the_knee=to_the_knee, on_level=on_level)


def sweep_rate(
    server: Server,
    workload: Workload,
    levels: Sequence[float],
    *,
    seconds: float,
    to_the_knee: bool = True,
    on_level: Callable[[Level], None] | None = None,
    options: SendOptions | None = None,
) -> Sweep:
    """Open loops with Poisson arrivals, each of about ``seconds`` at its rate. Raises as :func:`sweep` and
    :func:`run_load`."""
    options = options or SendOptions()

    def run_at(level: float) -> LoadRun:
        schedule = poisson(level, max(1, round(level * seconds)) + 1)
        return run_load(server, workload, OpenLoop(schedule), options)

    return sweep("rate", levels, run_at, to_the_knee=to_the_knee, on_level=on_level)
