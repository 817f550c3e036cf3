"""The part of a load in which the server is in its steady state: after the run-in, before the last requests leave.

The run-in is found by MSER-5 on the latencies (E2EL) in the order of completion: of all beginnings of the series that
could be cut off, in batches of five, the one after which the mean of the rest is known best (White 1997, Simulation
69(6), 323; White, Cobb and Spratt 2000, Winter Simulation Conference, 755). It ends when the last request is sent: what
follows has fewer in flight than were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.metrics import Metrics, of_part
from pytest_llmperf.load.run import Run

METHOD = "MSER-5 on E2EL in the order of completion, to the last sending"
_BATCH = 5
_LEAST_BATCHES = 10
"""With fewer the minimum is where chance puts it."""


@dataclass(frozen=True)
class Steady:
    """The steady part of a run, in seconds of the client's clock; ``why`` there is none, if there is none."""

    start_s: float
    end_s: float
    before: int
    """Requests that were sent before it."""
    requests: int
    """Requests that were sent within it."""
    why: str = ""

    @property
    def found(self) -> bool:
        return not self.why

    def facts(self, run: Run) -> dict[str, Any]:
        """For the record; times in seconds after the run's begin."""
        return {
            "method": METHOD,
            "found": self.found,
            "why": self.why,
            "from_s": self.start_s - run.start_s,
            "to_s": self.end_s - run.start_s,
            "before": self.before,
            "requests": self.requests,
        }


def steady_part(run: Run) -> Steady:
    """The steady part of a run, or why none can be named."""
    done = sorted((trace for trace in run.traces if trace.ok), key=lambda trace: trace.end_s)
    end_s = max(trace.sent_s for trace in run.traces)
    batches = len(done) // _BATCH

    def none(why: str) -> Steady:
        return Steady(run.start_s, run.end_s, 0, len(run.traces), why)

    if batches < _LEAST_BATCHES:
        return none(
            f"{len(done)} completed requests are too few to find it: need at least {_BATCH * _LEAST_BATCHES}"
        )
    cut = mser(batch_means([trace.end_s - trace.intended_s for trace in done], _BATCH))
    if cut is None:
        return none("latencies had not settled in the first half of the run: let it last longer")
    start_s = done[cut * _BATCH - 1].end_s if cut else run.start_s
    within = [trace for trace in run.traces if start_s <= trace.sent_s <= end_s]
    if not within or end_s <= start_s:
        return none("all requests were sent before the first ones had ended: let the run last longer")
    before = sum(trace.sent_s < start_s for trace in run.traces)
    return Steady(start_s, end_s, before, len(within))


def steady_metrics(run: Run, part: Steady) -> Metrics:
    """The metrics of the steady part: latencies of the requests sent within it, and of throughput the tokens that came
    within it, whoever asked for them. Raises ``NotMeasured`` if there is no such part."""
    if not part.found:
        raise NotMeasured(f"no steady state: {part.why}")
    within = [trace for trace in run.traces if part.start_s <= trace.sent_s <= part.end_s]
    metrics = of_part(run, within, part.end_s - part.start_s)
    if metrics.output_tokens is None:
        return metrics
    tokens = sum(tokens_between(trace, part.start_s, part.end_s) for trace in run.traces if trace.ok)
    return replace(metrics, output_tokens=round(tokens))


def mser(values: Sequence[float]) -> int | None:
    """How many values at the beginning to cut off; None if no place in the first half is the best.

    Minimises the squared standard error of the mean of the rest, Σ(x − x̄)² / (n − d)². Cutting off more than half
    would leave too little to tell a settled series from a lucky end: where it still falls at the half, nothing had
    settled.
    """
    half = len(values) // 2

    def error(cut: int) -> float:
        rest = values[cut:]
        mean = fmean(rest)
        return sum((value - mean) ** 2 for value in rest) / len(rest) ** 2

    best = min(range(half + 1), key=error)
    return best if best < half else None


def batch_means(values: Sequence[float], size: int) -> list[float]:
    """Means of consecutive batches; what fills no batch at the end is left out."""
    return [fmean(values[at : at + size]) for at in range(0, len(values) - size + 1, size)]


def tokens_between(trace: Trace, start_s: float, end_s: float) -> float:
    """Tokens that arrived in that time, spread over the arrivals where the server did not count them."""
    arrivals, total = trace.arrivals, trace.completion_tokens or 0
    if not arrivals:
        return 0.0
    inside = [one for one in arrivals if start_s < one.time_s <= end_s]
    if all(one.tokens is not None for one in arrivals):
        return float(sum(one.tokens or 0 for one in inside))
    return total * len(inside) / len(arrivals)
