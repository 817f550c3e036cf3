"""Detects that the client or the server stood still during a load; pure.

Such measurements say nothing about the model: a machine that was suspended, a container that was throttled, a
process that was stopped. The clock shows it: the client's loop comes late to its own timers, and all streams
are silent at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.load.client_health import ClientHealth

STANDSTILL_S = 3.0
"""Longer than another process keeps the processor, or a server needs to prefill a suite's prompts."""
_TIMES_TYPICAL = 20.0
"""And this many times the load's own typical wait: a model that needs ten seconds for every first token is slow."""
LATE_ABOVE = 0.4
"""Share of the time for which the client's loop may be late to its timers. A loop that is stopped for 60 of every 100
ms comes to a half; on two cores with a load average of 8 it was more than this in 2 to 10 % of the rounds."""


def disturbance(traces: Sequence[Trace], client: ClientHealth) -> str:
    """A sentence that says what stood still, and for how long; empty if nothing did."""
    if client.lag_max_s >= STANDSTILL_S:
        return f"the client stood still for {client.lag_max_s:.1f} s: its loop came so late to a timer"
    if client.late_share > LATE_ABOVE:
        return (
            f"the client was kept from the processor: its loop was late for {client.late_share:.0%} of the time "
            f"(at most {LATE_ABOVE:.0%} may be)"
        )
    silent_s, streams = longest_silence(traces)
    if silent_s < STANDSTILL_S:
        return ""
    typical_s = _typical_wait(traces)
    if silent_s < _TIMES_TYPICAL * typical_s:
        return ""
    many = f"none of {streams} streams" if streams > 1 else "the only stream"
    return (
        f"the server stood still for {silent_s:.1f} s: {many} got {'a' if streams > 1 else 'no'} token "
        f"(typically one comes within {1e3 * typical_s:.3g} ms)"
    )


def longest_silence(traces: Sequence[Trace]) -> tuple[float, int]:
    """(seconds, streams): the longest time in which requests were in flight, and none of them got anything."""
    if all(trace.end_s - trace.sent_s < STANDSTILL_S for trace in traces):
        return 0.0, 0
    # Sorted by sending, so that those in flight at some time are found by walking along.
    news = sorted(
        {arrival.time_s for trace in traces for arrival in trace.arrivals} | {t.end_s for t in traces}
    )
    waiting = sorted(traces, key=lambda trace: trace.sent_s)
    longest, streams = 0.0, 0
    for before_s, after_s in zip([float("-inf"), *news], news, strict=False):
        if after_s - max(before_s, waiting[0].sent_s) <= max(longest, STANDSTILL_S):
            continue
        pending = [trace for trace in waiting if trace.sent_s < after_s <= trace.end_s]
        if not pending:
            continue
        silent_s = after_s - max(before_s, min(trace.sent_s for trace in pending))
        if silent_s > longest:
            longest, streams = silent_s, len(pending)
    return longest, streams


def _typical_wait(traces: Sequence[Trace]) -> float:
    """Median time to a first token, or mean gap of a typical stream, whichever is longer; seconds."""
    first = [trace.arrivals[0].time_s - trace.sent_s for trace in traces if trace.arrivals]
    gaps = [
        (trace.arrivals[-1].time_s - trace.arrivals[0].time_s) / (len(trace.arrivals) - 1)
        for trace in traces
        if len(trace.arrivals) > 1
    ]
    return max(median(first) if first else 0.0, median(gaps) if gaps else 0.0)
