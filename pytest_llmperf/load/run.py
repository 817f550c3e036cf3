"""One measured load: its traces, its window, and what forbids to judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.load import cache_check
from pytest_llmperf.load.cache_check import CacheUse
from pytest_llmperf.load.client_health import ClientHealth
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.serving.server import Server

ERRORS_ABOVE = 0.01
"""Share of failed requests above which the rest are survivors, and no longer a sample."""
BUSY_ABOVE = 0.9
"""Share of one core above which the client's loop has a queue of its own, which would be reported as the
server's."""


@dataclass(frozen=True)
class Run:
    """One measured load. Times in seconds of the client's clock."""

    server: Server
    workload: Workload
    concurrency: int
    traces: tuple[Trace, ...]
    start_s: float
    """First request sent."""
    end_s: float
    """Last response ended."""
    client: ClientHealth
    prompts_note: str
    cache: CacheUse | None
    """Prefix-cache use within the run; None if the server does not tell."""
    connections: int
    """Opened for warm-up and run together; the concurrency, if all were kept alive."""

    @property
    def window_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def error_share(self) -> float:
        return sum(not trace.ok for trace in self.traces) / len(self.traces)

    @property
    def delivered_concurrency(self) -> float:
        return delivered_concurrency(self.traces, self.concurrency)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the numbers of this run must not be judged: each makes it INVALID. Empty if there is
        nothing."""
        found = []
        failed = [trace for trace in self.traces if not trace.ok]
        if self.error_share > ERRORS_ABOVE:
            kinds = ", ".join(f"{n} × {kind}" for kind, n in errors_by_kind(self.traces).items())
            found.append(
                f"{len(failed)} of {len(self.traces)} requests failed ({kinds}; first: {failed[0].error}); "
                f"at most {ERRORS_ABOVE:.0%} may"
            )
        if self.cache is not None and self.cache.warm and not self.workload.warm_cache:
            found.append(
                f"warm prefix cache: {self.cache.hit_share:.1%} of the prompt tokens were hits; at most "
                f"{cache_check.WARM_ABOVE:.0%} may be, unless the workload sets warm_cache"
            )
        if self.client.cpu_share > BUSY_ABOVE:
            found.append(
                f"client-bound: the client used {self.client.cpu_share:.0%} of its core; need at most "
                f"{BUSY_ABOVE:.0%} (a faster core, uvloop, or less concurrency)"
            )
        return tuple(found)


def errors_by_kind(traces: Sequence[Trace]) -> dict[str, int]:
    """Failed requests by outcome, most frequent first."""
    counts: dict[str, int] = {}
    for trace in traces:
        if not trace.ok:
            counts[trace.outcome.value] = counts.get(trace.outcome.value, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def delivered_concurrency(traces: Sequence[Trace], concurrency: int) -> float:
    """Mean number of requests in flight, from the first wave's last sending to the last request's sending.

    What comes after is the ramp-down that every closed loop has. With no more requests than workers there is
    one wave, and the end of its first request closes the span. Requests; 0 if the span is empty.
    """
    sent = sorted(trace.sent_s for trace in traces)
    begin = sent[min(concurrency, len(sent)) - 1]
    end = sent[-1] if len(sent) > concurrency else min(trace.end_s for trace in traces)
    if end <= begin:
        return 0.0
    busy = sum(max(0.0, min(t.end_s, end) - max(t.sent_s, begin)) for t in traces)
    return busy / (end - begin)
