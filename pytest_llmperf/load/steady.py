"""The part of a load in which the server is in its steady state: after the run-in, before the last requests leave.

The run-in is found by MSER-5 on the latencies (E2EL) in the order of completion: of all beginnings of the series that
could be cut off, in batches of five, the one after which the mean of the rest is known best (White 1997, Simulation
69(6), 323; White, Cobb and Spratt 2000, Winter Simulation Conference, 755). It ends when the last request is sent: what
follows has fewer in flight than were asked for.

A long run is judged in slices, so that what neighbours have in common is not taken for so much evidence: requests that
follow each other wait in the same queue. As with batch means (Schmeiser 1982, Operations Research 30, 556), slices that
are long compared with a queue's memory are nearly independent: they are the groups by which quantiles get their
intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.json_values import Json
from pytest_llmperf.load.results import Metrics, of_part
from pytest_llmperf.load.run import LoadRun

METHOD = "MSER-5 on E2EL in the order of completion, to the last sending"
_BATCH = 5
_LEAST_BATCHES = 10
"""With fewer the minimum is where chance puts it."""
SLICES = 30
_LEAST = 5
"""Requests of a slice: with fewer its throughput is that of whoever was answered just then."""


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

    def facts(self, run: LoadRun) -> dict[str, Json]:
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


def steady_part(run: LoadRun) -> Steady:
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


def mser(values: Sequence[float]) -> int | None:
    """The number of values to cut off at the beginning; None if no place in the first half is the best.

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


def slices_of(run: LoadRun, part: Steady, count: int = SLICES) -> tuple[Metrics, ...]:
    """Metrics of up to ``count`` slices with as many requests each: of the steady part if there is one, else of the
    run up to its last sending.

    Latencies belong to the slice in which a request was to be sent, tokens of the throughput to that in which they
    came: a slice may have none. Raises ``NotMeasured`` if no request succeeded.
    """
    end_s = part.end_s if part.found else max(trace.sent_s for trace in run.traces)
    within = [trace for trace in run.traces if part.start_s <= trace.sent_s <= end_s]
    traces = sorted(within, key=lambda trace: trace.intended_s)
    each = slice_size(len(traces), count)
    if not traces:
        raise NotMeasured(f"none of {len(run.traces)} requests was sent within the part that is judged")
    found: list[Metrics] = []
    for start_s, until_s, mine in _windows(traces, each, end_s, run.end_s):
        one = of_part(run, mine, until_s - start_s)
        if one.output_tokens is not None:
            came = sum(tokens_between(trace, start_s, until_s) for trace in run.traces if trace.ok)
            one = replace(one, output_tokens=round(came))
        found.append(one)
    return tuple(found)


def slice_size(requests: int, count: int = SLICES, least: int = _LEAST) -> int:
    """Requests of one slice, of up to ``count``; ``least``: where fewer tell too little."""
    return max(least, -(-requests // count))


def _windows(
    traces: Sequence[Trace], each: int, end_s: float, run_end_s: float
) -> list[tuple[float, float, list[Trace]]]:
    """From, to and the requests of each slice. One in which all failed, or that took no time, is joined to a
    neighbour: left out, its time would count for nothing, and a server that was away for it would look quick."""
    windows: list[tuple[float, float, list[Trace]]] = []
    open_s: float | None = None
    mine: list[Trace] = []
    for at in range(0, len(traces), each):
        last = at + each >= len(traces)
        open_s = traces[at].intended_s if open_s is None else open_s
        mine = [*mine, *traces[at : at + each]]
        # The last one has no next to end it: its requests' last sending does, or their end if they came at once.
        until_s = end_s if last else traces[at + each].intended_s
        if last and not windows and until_s <= open_s:
            until_s = run_end_s
        if until_s > open_s and any(trace.ok for trace in mine):
            windows.append((open_s, until_s, mine))
            open_s, mine = None, []
        elif last and windows:
            before_s, _, earlier = windows.pop()
            windows.append((before_s, max(until_s, open_s), [*earlier, *mine]))
    if not windows:
        raise NotMeasured(f"none of {len(traces)} requests succeeded within the part that is judged")
    return windows
