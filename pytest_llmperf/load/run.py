"""One measured load: its traces, its window, and the problems that make it INVALID."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pytest_llmperf.client.trace import RequestOutcome, Trace
from pytest_llmperf.load import cache_check
from pytest_llmperf.load.cache_check import CacheUse
from pytest_llmperf.load.client_health import ClientHealth
from pytest_llmperf.load.counter_rise import CounterRise
from pytest_llmperf.load.server_metrics import ServerSamples
from pytest_llmperf.load.standstill import disturbance
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.serving.server import Server
from pytest_llmperf.stats.order_statistics import quantile

ERRORS_ABOVE = 0.01
"""Share of failed requests above which the rest are survivors, and no longer a sample."""
BUSY_ABOVE = 0.9
"""Share of one core above which the client's loop has a queue of its own, which would be reported as the
server's."""
LATE_ABOVE_S = 0.01
LATE_ABOVE_SHARE = 0.1
"""p99 of the client's own lateness above which an open loop was not the one that was asked for: ten milliseconds, the
error that the clock may have in a p99 TTFT, or a tenth of what a typical request takes, which moves nothing but its
place in the queue. The latencies count from the intended time and contain it in any case."""


@dataclass(frozen=True)
class ScheduleKept:
    """The schedule of an open loop, and how well the client kept to it."""

    schedule: str
    rate_per_s: float
    """Intended, between the first request and the last."""
    own_delay_s: tuple[float, ...]
    """The client's lateness to each request, before it opened a connection if it had to."""

    @property
    def own_delay_p99_s(self) -> float:
        return quantile(self.own_delay_s, 0.99)


@dataclass(frozen=True)
class LoadRun:
    """One measured load. Times in seconds of the client's clock."""

    server: Server
    workload: Workload
    concurrency: int
    """Requests in flight: as asked in a closed loop, the most there were in an open one."""
    traces: tuple[Trace, ...]
    start_s: float
    """First request sent."""
    end_s: float
    """Last response ended."""
    client: ClientHealth
    prompts_note: str
    cache: CacheUse | None
    """Prefix-cache use within the run; None if the server does not report it."""
    connections: int
    """Opened for warm-up and run together; the concurrency, if all were kept alive."""
    workers: tuple[ClientHealth, ...] = ()
    """Health of each worker process; empty with a single process. ``client`` is all of them."""
    open_loop: ScheduleKept | None = None
    """None: a closed loop."""
    server_samples: ServerSamples | None = None
    """The server's ``/metrics`` within the run; None if it has none, or the run was too short."""
    template_tokens: int | None = None
    """Tokens that the chat template adds to a made-up prompt; None where the server does not tell."""
    prompt_problem: str = ""
    """The prompts were not as long as was asked for, by the server's own count; empty if they were."""
    counters: CounterRise | None = None
    """The server's counters before and after the run; None if they were not asked for."""
    length_problem: str = ""
    """Why times to the last token are not comparable: answers have lengths of their own. Empty if they are."""

    is_round: bool = False
    """One of several rounds of a schedule: a disturbed one is taken out, and lateness is counted over all of them."""
    rate_problem: str = ""
    """Why these requests have no tokens or requests a second of their own; empty if they have."""

    gave_up: int = 0
    """Users of a conversation who ask no more in this turn, since an earlier answer failed or has no text."""

    @cached_property
    def disturbance(self) -> str:
        """A sentence if client or server stood still; empty if not."""
        return disturbance(self.traces, self.client)

    @property
    def window_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def _warm_share(self) -> float:
        """Share of the prompt tokens that were hits: by ``/metrics``, or by ``usage`` where that says more."""
        by_usage = cache_check.share_by_usage(
            ((trace.cached_tokens, trace.prompt_tokens) for trace in self.traces),
            chat=self.workload.chat or self.workload.given is not None,
            template_tokens=self.template_tokens,
        )
        return max(by_usage, self.cache.hit_share if self.cache is not None else 0.0)

    @property
    def delivered_concurrency(self) -> float:
        return delivered_concurrency(self.traces, 1 if self.open_loop else self.concurrency)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the numbers of this run must not be judged: each makes it INVALID. Empty if there is
        nothing."""
        return problems_of([self])

    @property
    def own_problems(self) -> tuple[str, ...]:
        """Those that say nothing of the server: the load was not the one that was asked for. Who counts failed
        requests as misses, as goodput does, is bound by these alone."""
        found = []
        if not self.workload.warm_cache and (share := self._warm_share) > cache_check.WARM_ABOVE:
            found.append(
                f"warm prefix cache: {share:.1%} of the prompt tokens were hits; at most "
                f"{cache_check.WARM_ABOVE:.0%} may be, unless the workload sets warm_cache"
            )
        if self.prompt_problem:
            found.append(self.prompt_problem)
        others = [trace for trace in self.traces if trace.outcome is RequestOutcome.OTHER_LENGTH]
        if len(others) > ERRORS_ABOVE * len(self.traces):
            found.append(
                f"{len(others)} of {len(self.traces)} answers do not have the length that was asked for, and are not "
                f"comparable; the first: {others[0].error}"
            )
        if self.client.cpu_share > BUSY_ABOVE:
            found.append(
                f"client-bound: the client used {self.client.cpu_share:.0%} of its core; need at most "
                f"{BUSY_ABOVE:.0%} (a faster core, uvloop, or less concurrency)"
            )
        if self.open_loop is not None and not self.is_round:
            # One long run has no round to take out.
            found += filter(None, [_lateness([self]) or self.disturbance])
        return tuple(found)


def problems_of(runs: Sequence[LoadRun]) -> tuple[str, ...]:
    """Why a load of these runs must not be judged; empty if there is nothing.

    Failures are counted over all of it: one in a short round is no more than one in a long load.
    """
    traces = [trace for run in runs for trace in run.traces]
    failed = [trace for trace in traces if not trace.ok]
    found = []
    if len(failed) > ERRORS_ABOVE * len(traces):
        kinds = ", ".join(f"{n} × {kind}" for kind, n in errors_by_kind(traces).items())
        found.append(
            f"{len(failed)} of {len(traces)} requests failed ({kinds}; first: {failed[0].error}); "
            f"at most {ERRORS_ABOVE:.0%} may"
        )
    gave_up = sum(run.gave_up for run in runs)
    if gave_up > ERRORS_ABOVE * (gave_up + len(traces)):
        found.append(
            f"{gave_up} of {gave_up + len(traces)} users asked no more, since an earlier answer failed or has no text; "
            f"at most {ERRORS_ABOVE:.0%} may"
        )
    rounds = [run for run in runs if run.open_loop is not None and run.is_round]
    found += filter(None, [_lateness(rounds)])
    return (*found, *dict.fromkeys(problem for run in runs for problem in run.own_problems))


def _lateness(runs: Sequence[LoadRun]) -> str:
    """Why these loads with a schedule did not keep to it, over all of their requests; empty if they did."""
    late = [late_s for run in runs if run.open_loop is not None for late_s in run.open_loop.own_delay_s]
    taken = [trace.end_s - trace.sent_s for run in runs for trace in run.traces if trace.ok]
    allowed_s = max(LATE_ABOVE_S, LATE_ABOVE_SHARE * quantile(taken, 0.5)) if taken else LATE_ABOVE_S
    if not late or (late_s := quantile(late, 0.99)) <= allowed_s:
        return ""
    return (
        f"client-bound: the client came to its requests {late_s * 1e3:.1f} ms late (p99); need at most "
        f"{allowed_s * 1e3:.3g} ms (an idle core, uvloop, or a lower rate)"
    )


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
