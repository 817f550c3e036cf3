"""One long run cut into slices, so that what neighbours have in common is not taken for so much evidence.

Requests that follow each other wait in the same queue. As with batch means (Schmeiser 1982, Operations Research 30,
556), slices that are long beside a queue's memory are nearly independent of each other: they are the groups by which
quantiles get their intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.metrics import Metrics, of_part
from pytest_llmperf.load.run import Run
from pytest_llmperf.load.steady import Steady, tokens_between

SLICES = 30
_LEAST = 5
"""Requests of a slice: with fewer its throughput is that of whoever was answered just then."""


def slices_of(run: Run, part: Steady, count: int = SLICES) -> tuple[Metrics, ...]:
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
