"""The client's own timing error at the load of a measurement: the part of a number that is not the server's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pytest_llmperf.errors import LlmperfError, first_line
from pytest_llmperf.json_values import Json
from pytest_llmperf.load.calibration import ClientError
from pytest_llmperf.load.calibration_cache import Calibration, CalibrationLoad, cached_calibration
from pytest_llmperf.load.metrics import metric_named
from pytest_llmperf.load.results import Metrics
from pytest_llmperf.stats.order_statistics import quantile

_MOST = 0.99


def measured_at(load: CalibrationLoad) -> Calibration | str:
    """The calibration at that load, from the cache of this machine or measured now; or why it failed."""
    try:
        return cached_calibration(load)
    except LlmperfError as error:
        return first_line(error)


def clock_error_at(made: Calibration | str) -> ClockError:
    """The client's error by what :func:`measured_at` returned."""
    return ClockError(why=made) if isinstance(made, str) else ClockError(made.error)


def facts_of(load: CalibrationLoad, made: Calibration | str) -> dict[str, Json]:
    """A calibration for the record."""
    return {"concurrency": load.concurrency, "failed": made} if isinstance(made, str) else made.facts()


@dataclass(frozen=True)
class ClockError:
    """The client's error at the load of one measurement; ``why`` it is not known, if it is not."""

    error: ClientError | None = None
    why: str = ""
    late_s: tuple[float, ...] = ()
    """Lateness of the client at each request of a scheduled load. Latencies count from the intended time and contain
    it."""

    @property
    def unusable(self) -> str:
        """Why nothing may be judged: the clock could not be checked. Empty if it was."""
        return f"the client's own error could not be measured: {self.why}" if self.why else ""

    def of_quantile(self, metric: str, q: float) -> float:
        """Reported minus true, seconds."""
        kind = metric_named(metric)
        if self.error is None or kind.client_only:
            return 0.0
        late = quantile(self.late_s, q) if self.late_s and kind.from_intended else 0.0
        return late + self.error.error_s(kind.error_of or metric, q)

    def share_of(self, metric: str, values: Sequence[float | None]) -> float:
        """The client's part of the typical one of ``values``, medians of ``metric`` in seconds."""
        known = [value for value in values if value]
        return self.of_quantile(metric, 0.5) / median(known) if known else 0.0

    def share_of_cycle(self, concurrency: int, rounds: Sequence[Metrics]) -> float:
        """The client's part of a request's time, which it takes of the throughput; 0 to 0.99."""
        cycles = [
            concurrency * metrics.window_s / metrics.succeeded for metrics in rounds if metrics.succeeded
        ]
        if self.error is None or not cycles:
            return 0.0
        return min(_MOST, max(0.0, self.error.cycle_s / median(cycles)))


def load_like(
    concurrency: int, output_tokens: int, rounds: Sequence[Metrics], workers: int = 1
) -> CalibrationLoad:
    """The load to calibrate at for these rounds: their pace or a quicker one; the quickest where none was measured."""
    gaps = [quantile(metrics.judged("itl"), 0.5) for metrics in rounds if metrics.judged("itl")]
    return CalibrationLoad.like(concurrency, output_tokens, median(gaps) if gaps else 0.0, workers)
