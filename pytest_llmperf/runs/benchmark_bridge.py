"""Series that were measured here, handed to pytest-benchmark: its JSON, its tables, its comparers; never a gate.

Through its public API alone: the marker's ``timer`` and ``pedantic``. A clock is wound forward by each value, so that
pytest-benchmark, which measures nothing itself here, takes exactly the values that the load has measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.errors import NotMeasured, UsageError
from pytest_llmperf.runs.keys import RUN

if TYPE_CHECKING:
    from pytest_llmperf.gates.quantile import Series

GROUP = "llmperf"
_UNITS = {"s": "seconds", "tok/s": "seconds per token"}


class ReplayClock:
    """A timer for pytest-benchmark that shows durations measured elsewhere."""

    __name__ = "llmperf.replay"
    """Name of the timer in pytest-benchmark's JSON."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def __call__(self) -> float:
        return self._now_s

    def rewind(self) -> None:
        """To 0, so that the difference of two readings is the value itself, to the last bit."""
        self._now_s = 0.0

    def elapse(self, seconds: float) -> None:
        self._now_s += seconds


def replay_clock(request: pytest.FixtureRequest) -> ReplayClock:
    """The timer of a test, said to pytest-benchmark by its marker."""
    clock = ReplayClock()
    if not _codspeed(request.config):
        request.applymarker(pytest.mark.benchmark(timer=clock, group=GROUP))
    return clock


def handing_over(clock: ReplayClock, benchmark: Any, pytestconfig: pytest.Config) -> Callable[[Series], None]:
    """The function that hands one series to pytest-benchmark, once in a test.

    A throughput goes as seconds per token, so that bigger is worse, as pytest-benchmark has it; its column OPS shows
    the tokens a second. Does nothing where pytest-benchmark is switched off (``--benchmark-disable``, xdist).
    """

    def hand_over(series: Series) -> None:
        values = durations(series)
        if (run := pytestconfig.stash.get(RUN, None)) is not None:
            run.ledger.handed_over()
        if _codspeed(pytestconfig) or not benchmark.enabled:
            return
        from pytest_llmperf.stats.order_statistics import quantile

        benchmark.extra_info.update(
            metric=series.metric,
            unit=_UNITS[series.unit],
            failed=series.errors,
            **{f"p{100 * q:g}": quantile(values, q) for q in (0.5, 0.95, 0.99)},
        )
        queue = iter(values)

        def wind() -> tuple[tuple[float], dict[str, Any]]:
            clock.rewind()
            return (next(queue),), {}

        benchmark.pedantic(clock.elapse, setup=wind, rounds=len(values), iterations=1)

    return hand_over


def durations(series: Series) -> list[float]:
    """The values of a series in seconds, failed requests left out.

    Raises :class:`UsageError` for what is no time and no rate of tokens, :class:`NotMeasured` if there is no value or
    the load must not be judged: a number that is not to be trusted must not become somebody's baseline.
    """
    if series.unit not in _UNITS:
        raise UsageError(
            f"{series.metric} is in {series.unit}: pytest-benchmark knows times only; hand over one in s or tok/s"
        )
    if series.unusable:
        raise NotMeasured(f"{series.metric}: {series.unusable}")
    values = [value for value in series.samples if value is not None]
    if not values:
        raise NotMeasured(f"{series.metric}: nothing was measured")
    return [1.0 / value for value in values] if series.unit == "tok/s" else values


def _codspeed(config: pytest.Config) -> bool:
    """pytest-codspeed takes pytest-benchmark's place, and refuses a timer."""
    return bool(config.getoption("--codspeed", default=False))
