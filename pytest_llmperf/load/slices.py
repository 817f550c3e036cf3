"""One long run cut into slices, so that what neighbours have in common is not taken for so much evidence.

Requests that follow each other wait in the same queue. As with batch means (Schmeiser 1982, Operations Research 30,
556), slices that are long beside a queue's memory are nearly independent of each other: they are the groups by which
quantiles get their intervals.
"""

from __future__ import annotations

from dataclasses import replace

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.metrics import Metrics, measure
from pytest_llmperf.load.run import Run
from pytest_llmperf.load.steady import Steady, tokens_between

SLICES = 30
_LEAST = 5
"""Requests of a slice: with fewer its throughput is that of whoever was answered just then."""


def slices_of(run: Run, part: Steady, count: int = SLICES) -> tuple[Metrics, ...]:
    """Metrics of up to ``count`` slices with as many requests each: of the steady part if there is one, else of the
    run up to its last sending.

    Latencies belong to the slice in which a request was to be sent, tokens of the throughput to that in which they
    came. Raises ``NotMeasured`` if no request succeeded.
    """
    end_s = part.end_s if part.found else max(trace.sent_s for trace in run.traces)
    within = [trace for trace in run.traces if part.start_s <= trace.sent_s <= end_s]
    traces = sorted(within, key=lambda trace: trace.intended_s)
    each = max(_LEAST, -(-len(traces) // count))
    starts = [traces[at].intended_s for at in range(0, len(traces), each)]
    found: list[Metrics] = []
    for number, start_s in enumerate(starts):
        last = number + 1 == len(starts)
        # The last one has no next to end it: its requests' last sending does, or their end if they came at once.
        until_s = end_s if last else starts[number + 1]
        if last and until_s <= start_s:
            until_s = run.end_s
        mine = traces[number * each : (number + 1) * each]
        if until_s <= start_s or not any(trace.ok for trace in mine):
            continue
        one = measure(mine, until_s - start_s)
        if one.output_tokens is not None:
            came = sum(tokens_between(trace, start_s, until_s) for trace in run.traces if trace.ok)
            one = replace(one, output_tokens=round(came))
        found.append(one)
    if not found:
        raise NotMeasured(f"none of {len(run.traces)} requests succeeded within the part that is judged")
    return tuple(found)
