"""From traces to numbers; pure. All durations in seconds.

* TTFT: request written → first visible token. TTFAT: → first visible text that is not thinking. In an open loop
  these and E2EL count from when the request was *to be* written: who waits for a late one waits from then.
* schedule delay: intended → written, of an open loop only.
* ITL: every gap between tokens of every request, one distribution; never a per-request mean.
* TPOT: one value a request, (last token − first token) / tokens after the first arrival.
* stall: the longest gap between two arrivals of one request.
* E2EL: request written → ``[DONE]``, or the last byte of a response that has none.

A failed request contributes to none of them; it is counted in ``errors``. What the server did not count is
not measured: chunks are not tokens. Nor is what was not seen when it came (``load.seen_times``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.run import Run, errors_by_kind
from pytest_llmperf.load.seen_times import PER_TOKEN, ROUND_CLUMPED_ABOVE, seen_times
from pytest_llmperf.stats.order_statistics import quantile

SERIES = ("ttft", "ttfat", "itl", "tpot", "stall", "e2el", "schedule_delay")
_NAME = re.compile(r"(ttft|ttfat|itl|tpot|stall|e2el|schedule_delay)(?:_p(\d{1,2}(?:\.\d+)?))?")
_THINK_END = "</think>"


@dataclass(frozen=True)
class Metrics:
    """Everything measured in one run. What ``judged`` leaves out must not be shown or compared; ``series`` and
    ``value`` say why."""

    requests: int
    succeeded: int
    errors: Mapping[str, int]
    """Failed requests by outcome."""
    window_s: float
    ttft_s: tuple[float, ...]
    ttfat_s: tuple[float, ...]
    itl_s: tuple[float, ...]
    tpot_s: tuple[float, ...]
    stall_s: tuple[float, ...]
    e2el_s: tuple[float, ...]
    output_tokens: int | None
    """Of all successful requests, by ``usage``; None if one of them lacks it."""
    prompt_tokens: int | None
    spread_share: float
    """Share of the ITL gaps that come from chunks of several tokens, whose time was spread over them
    evenly."""
    itl_between_chunks: bool
    """True: the server counted tokens only at the end, and there were fewer chunks than tokens, so that gaps would be
    between chunks, and were not measured. Ask for ``usage_per_chunk``."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Series (or ``throughput``) that was not measured, or whose tokens were not seen when they came → why."""
    schedule_delay_s: tuple[float, ...] = ()
    """One a request; empty in a closed loop, which has no schedule."""
    gaps: int = 0
    """Between arrivals of one request."""
    clumped: int = 0
    """Of them, those in which two arrivals came together."""
    taken_out: str = ""
    """Why nothing of this round is judged: client or server stood still meanwhile. Empty if it counts."""

    @property
    def clumped_share(self) -> float:
        """Share of the tokens that arrived together with the one before."""
        return self.clumped / self.gaps if self.gaps else 0.0

    @property
    def error_share(self) -> float:
        return 1.0 - self.succeeded / self.requests

    @property
    def output_throughput(self) -> float:
        """Tokens per second over the window. Raises ``NotMeasured`` without ``usage``, or for a round that is taken
        out."""
        if self.taken_out:
            raise NotMeasured(f"throughput was not measured: {self.taken_out}")
        if self.output_tokens is None:
            raise NotMeasured(f"throughput was not measured: {self.missing['throughput']}")
        return self.output_tokens / self.window_s

    @property
    def known_throughput(self) -> float | None:
        """Like ``output_throughput``; None where that raises. Zero is a throughput: in a short slice of a long run no
        token may have come."""
        return None if self.output_tokens is None or self.taken_out else self.output_throughput

    @property
    def request_throughput(self) -> float:
        """Successful requests per second over the window."""
        return self.succeeded / self.window_s

    def series(self, name: str) -> tuple[float, ...]:
        """The samples of ``ttft``, ``ttfat``, ``itl``, ``tpot``, ``stall`` or ``e2el``, in seconds.

        Raises ``NotMeasured`` when there are none, ``ValueError`` for another name.
        """
        if name not in SERIES:
            raise ValueError(f"no series {name!r}; there are {', '.join(SERIES)}")
        samples = self.judged(name)
        if not samples:
            why = self.taken_out or self.missing.get(name, "no request has a value")
            raise NotMeasured(f"{name} was not measured: {why}")
        return samples

    def judged(self, name: str) -> tuple[float, ...]:
        """The samples of a series that may be judged; none where they were not measured.

        Of a round that is taken out, the stall remains: a server that stands still is to be seen there.
        """
        if name in self.missing or (self.taken_out and name != "stall"):
            return ()
        samples: tuple[float, ...] = getattr(self, f"{name}_s")
        return samples

    def quantile(self, name: str, q: float) -> float:
        """An observed value: the smallest sample with at least a share ``q`` of the samples at or below
        it."""
        return quantile(self.series(name), q)

    def value(self, name: str) -> float:
        """One number by name: ``throughput`` (tok/s), ``requests_per_s``, ``ttft`` (median), ``itl_p95``, ….

        Raises ``NotMeasured`` or ``ValueError`` as :meth:`series` does.
        """
        if name == "throughput":
            return self.output_throughput
        if name == "requests_per_s":
            return self.request_throughput
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(
                f"no metric {name!r}; there are throughput, requests_per_s, and {', '.join(SERIES)} "
                "(the median) with or without a percentile, as in ttft_p95"
            )
        return self.quantile(match[1], float(match[2] or 50) / 100)


def of_run(run: Run) -> Metrics:
    """The metrics of one run over its own window. Raises ``NotMeasured`` if no request succeeded."""
    metrics = of_part(run, run.traces, run.window_s)
    # A run on a schedule has no rounds, of which one could be left out: there it is a problem of the whole.
    return replace(metrics, taken_out=run.disturbance) if run.open_loop is None else metrics


def of_part(run: Run, traces: Sequence[Trace], window_s: float) -> Metrics:
    """:func:`measure` of some of a run's requests, with what is known of all of them."""
    metrics = measure(traces, window_s)
    if not run.length_problem:
        return metrics
    return replace(metrics, missing={**metrics.missing, "e2el": run.length_problem})


def measure(traces: Sequence[Trace], window_s: float) -> Metrics:
    """The metrics of these requests; ``window_s`` is the wall-clock time in which they ran.

    Raises ``NotMeasured`` if none succeeded or the window is empty: no numbers are better than zeros.
    """
    good = [trace for trace in traces if trace.ok]
    if not traces:
        raise NotMeasured("no request was sent; need at least 1")
    if not good:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in errors_by_kind(traces).items())
        raise NotMeasured(f"none of {len(traces)} requests succeeded ({kinds}); the first: {traces[0].error}")
    if not window_s > 0:
        raise NotMeasured(f"the window of the run is {window_s} s; need more than 0")
    gaps = _Gaps()
    seen = seen_times(good, ROUND_CLUMPED_ABOVE)
    missing = dict(seen.missing)
    uncounted = sum(trace.completion_tokens is None for trace in good)
    if uncounted:
        why = (
            f"{uncounted} of {len(good)} answers carry no usage.completion_tokens, and chunks are not tokens"
        )
        missing |= dict.fromkeys(("throughput", *PER_TOKEN), why)
    if not (uncounted or seen.uncountable):
        for trace in good:
            gaps.add(trace)
    delays = tuple(trace.schedule_delay_s for trace in good)
    if not any(delays):
        missing["schedule_delay"] = "every request was sent when it was to be"
        delays = ()

    def each(value: Callable[[Trace], float | None]) -> tuple[float, ...]:
        return tuple(known for trace in good if trace.arrivals and (known := value(trace)) is not None)

    return Metrics(
        requests=len(traces),
        succeeded=len(good),
        errors=errors_by_kind(traces),
        window_s=window_s,
        ttft_s=each(lambda trace: trace.ttft_s),
        ttfat_s=each(ttfat_s),
        itl_s=tuple(gaps.all),
        tpot_s=() if uncounted or seen.uncountable else each(tpot_s),
        stall_s=each(stall_s),
        e2el_s=tuple(trace.end_s - trace.intended_s for trace in good),
        output_tokens=_sum(trace.completion_tokens for trace in good),
        prompt_tokens=_sum(trace.prompt_tokens for trace in good),
        spread_share=gaps.spread / len(gaps.all) if gaps.all else 0.0,
        itl_between_chunks=seen.between_chunks,
        missing=missing,
        schedule_delay_s=delays,
        gaps=seen.gaps,
        clumped=seen.clumped,
    )


def tpot_s(trace: Trace) -> float | None:
    """(last − first) / (tokens − 1); None with fewer than two tokens, or uncounted ones.

    Three things are put right: tokens that came with the first one took none of the time; where the server counts in
    every chunk, the last token may have no text (a stop token); tokens that were not sent are no part of it.
    """
    counted_as_it_came = bool(trace.arrivals) and trace.arrivals[0].tokens is not None
    visible = trace.completion_tokens if counted_as_it_came else trace.visible_tokens
    if not trace.arrivals or visible is None:
        return None
    first, last = trace.arrivals[0], trace.arrivals[-1]
    end_s = max(last.time_s, trace.last_token_s or 0.0)
    at_once = 0
    for arrival in trace.arrivals:
        if arrival.time_s > first.time_s:
            break
        at_once += 1 if arrival.tokens is None else arrival.tokens
    tokens_after_first = visible - max(1, at_once)
    return (end_s - first.time_s) / tokens_after_first if tokens_after_first > 0 else None


def stall_s(trace: Trace) -> float | None:
    """The longest gap between two arrivals; None with fewer than two."""
    times = [arrival[0] for arrival in trace.arrivals]
    return max([after - before for before, after in pairwise(times)], default=None)


def ttfat_s(trace: Trace) -> float | None:
    """Request written → first visible answer text after the thinking; None if there was no thinking or no end
    of it.

    Thinking is what comes in ``reasoning_content``, or in the content before ``</think>``. White space after
    it is not an answer yet.
    """
    apart = any(arrival.reasoning for arrival in trace.arrivals)
    answering, text = apart, ""
    for arrival in trace.arrivals:
        if arrival.reasoning:
            continue
        if answering:
            visible = arrival.text
        else:
            text += arrival.text
            _, tag, visible = text.partition(_THINK_END)
            answering = bool(tag)
        if answering and visible.strip():
            return arrival.time_s - trace.intended_s
    return None


def gaps_s(trace: Trace) -> list[float]:
    """Every gap between tokens of one request; empty where the server did not count them: chunks are not tokens."""
    gaps = _Gaps()
    if trace.completion_tokens is not None and not seen_times([trace]).uncountable:
        gaps.add(trace)
    return gaps.all


class _Gaps:
    """Collects every gap between tokens."""

    def __init__(self) -> None:
        self.all: list[float] = []
        self.spread = 0

    def add(self, trace: Trace) -> None:
        arrivals = trace.arrivals
        gap_from = arrivals[0].time_s if arrivals else 0.0
        for arrival in arrivals[1:]:
            tokens = 1 if arrival.tokens is None else arrival.tokens
            if tokens == 0:
                # Text of a token that was counted before: its time belongs to the next one's gap.
                continue
            gap = (arrival.time_s - gap_from) / tokens
            self.all += [gap] * tokens
            self.spread += tokens if tokens > 1 else 0
            gap_from = arrival.time_s


def _sum(counts: Iterable[int | None]) -> int | None:
    """None if one of them is."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total
