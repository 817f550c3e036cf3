"""The results of a load: the samples of every metric, or why they must not be judged; pure.

A failed request contributes to no metric; it is counted in ``errors``. What the server did not count is not
measured: chunks are not tokens. Nor is what was not seen when it was sent (``load.seen_times``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_llmperf.client.drafted import Drafted
from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.load.metrics import (
    Metric,
    Needs,
    Totals,
    all_metrics,
    metric_and_quantile,
    metric_named,
    request_metrics,
)
from pytest_llmperf.load.run import LoadRun, errors_by_kind
from pytest_llmperf.load.seen_times import ROUND_CLUMPED_ABOVE, seen_times
from pytest_llmperf.stats import clustered_quantile, order_statistics

LEVELS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
CONFIDENCE = 0.95
"""Confidence of each bound by itself."""


@dataclass(frozen=True)
class Metrics(Totals):
    """Everything measured in one run, or in a part of it.

    Samples of a metric in ``missing`` are kept for the record and must not be shown or compared: use ``judged``,
    ``series`` or ``value``.
    """

    errors: Mapping[str, int]
    """Failed requests by outcome."""
    samples: Mapping[str, tuple[float, ...]]
    """By name of the metric; durations in seconds."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Metric that was not measured, or whose tokens were not seen when they were sent → why."""
    gaps: int = 0
    """Between arrivals of one request."""
    clumped: int = 0
    """Gaps in which two arrivals came together."""
    taken_out: str = ""
    """Why nothing of this round is judged: client or server stood still meanwhile. Empty if it counts."""

    @property
    def clumped_share(self) -> float:
        """Share of the tokens that arrived together with the one before."""
        return self.clumped / self.gaps if self.gaps else 0.0

    def series(self, name: str) -> tuple[float, ...]:
        """The samples of a metric. ``NotMeasured`` if there are none, ``ValueError`` for another name."""
        metric_named(name)
        samples = self.judged(name)
        if not samples:
            why = self.taken_out or self.missing.get(name, "no request has a value")
            raise NotMeasured(f"{name} was not measured: {why}")
        return samples

    def judged(self, name: str) -> tuple[float, ...]:
        """The samples of a metric that may be judged; none where they were not measured.

        Of a round that is taken out, only metrics that show the standstill remain.
        """
        if name in self.missing or (self.taken_out and not metric_named(name).shows_standstill):
            return ()
        return self.samples.get(name, ())

    def quantile(self, name: str, q: float) -> float:
        """An observed value: the smallest sample with at least a share ``q`` of the samples at or below it."""
        return order_statistics.quantile(self.series(name), q)

    def value(self, name: str) -> float:
        """One number by name: ``throughput`` (tok/s), ``requests_per_s``, ``ttft`` (median), ``itl_p95``, ….

        Raises ``NotMeasured`` or ``ValueError`` as :meth:`series` does.
        """
        metric, q = metric_and_quantile(name)
        return self.quantile(metric.name, q) if metric.from_trace is not None else self._of_round(metric)

    def known(self, name: str) -> float | None:
        """:meth:`value`, or None where it was not measured. Zero is a throughput: in a short slice of a long run no
        token may have come."""
        try:
            return self.value(name)
        except NotMeasured:
            return None

    def totals(self, metric: Metric) -> tuple[float, float] | None:
        """Numerator and denominator of a metric that has them; None where they were not measured."""
        stood_still = self.taken_out and not metric.shows_standstill
        if metric.from_totals is None or metric.name in self.missing or stood_still:
            return None
        return metric.from_totals(self)

    def _of_round(self, metric: Metric) -> float:
        why = self.missing.get(metric.name, "") or ("" if metric.shows_standstill else self.taken_out)
        value = None
        if metric.from_round is not None:
            value = None if why else metric.from_round(self)
        elif (totals := self.totals(metric)) is not None:
            over, under = totals
            value, why = (over / under, "") if under else (None, metric.why_nothing)
        if value is None:
            raise NotMeasured(f"{metric.name} was not measured: {why or 'the round has no value'}")
        return value


def of_run(run: LoadRun) -> Metrics:
    """The metrics of one run over its own window. Raises ``NotMeasured`` if no request succeeded."""
    metrics = _with_counters(of_part(run, run.traces, run.window_s), run)
    # One long open loop has no rounds that could be left out: there a standstill is a problem of the whole run.
    is_one_of_many = run.open_loop is None or run.is_round
    return replace(metrics, taken_out=run.disturbance) if is_one_of_many else metrics


def _with_counters(metrics: Metrics, run: LoadRun) -> Metrics:
    """The metrics with what the server's counters tell, where its answers do not tell it."""
    if run.counters is None:
        return metrics
    if metrics.drafted is None:
        drafted = run.counters.drafted(run.traces)
        metrics = _explained(metrics, "drafts", drafted)
        metrics = metrics if isinstance(drafted, str) else replace(metrics, drafted=drafted)
    if metrics.cached_tokens is None:
        cached = run.counters.cached_tokens(run.traces)
        metrics = _explained(metrics, "cached tokens", cached)
        metrics = metrics if isinstance(cached, str) else replace(metrics, cached_tokens=cached)
    return metrics


def _explained(metrics: Metrics, need: Needs, found: object) -> Metrics:
    """The metrics with the counters' reason beside that of the answers, or without a reason where they tell it."""
    missing = dict(metrics.missing)
    for metric in all_metrics():
        if metric.needs == need:
            why = missing.pop(metric.name)
            missing |= {metric.name: f"{why}, and {found}"} if isinstance(found, str) else {}
    return replace(metrics, missing=missing)


def of_part(run: LoadRun, traces: Sequence[Trace], window_s: float) -> Metrics:
    """:func:`measure` for some of a run's requests, with what is known of all of them."""
    metrics = measure(traces, window_s)
    incomparable: dict[str, str] = {}
    for metric in all_metrics():
        if run.length_problem and metric.fixed_length:
            incomparable[metric.name] = run.length_problem
        elif run.rate_problem and metric.from_round is not None:
            incomparable[metric.name] = run.rate_problem
    return replace(metrics, missing={**metrics.missing, **incomparable}) if incomparable else metrics


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
    seen = seen_times(good, ROUND_CLUMPED_ABOVE)
    problems: dict[Needs, str] = dict(seen.problems)
    uncounted = sum(trace.completion_tokens is None for trace in good)
    if uncounted:
        problems["tokens"] = problems["usage"] = (
            f"{uncounted} of {len(good)} answers carry no usage.completion_tokens, and chunks are not tokens"
        )
    drafted = [trace.drafted for trace in good if trace.drafted is not None]
    if len(drafted) < len(good):
        problems["drafts"] = (
            f"{len(good) - len(drafted)} of {len(good)} answers do not tell their draft tokens (need a server that "
            "speculates; vLLM 0.32 or later: --per-request-spec-decode-metrics summary)"
        )
    uncached = sum(
        trace.cached_tokens is None or trace.cached_tokens > (trace.prompt_tokens or 0) for trace in good
    )
    if uncached:
        problems["cached tokens"] = (
            f"{uncached} of {len(good)} answers do not tell their cached tokens, or more than their prompt has "
            "(need usage.prompt_tokens_details; vLLM: --enable-prompt-tokens-details)"
        )
    missing = {metric.name: problems[metric.needs] for metric in all_metrics() if metric.needs in problems}
    samples: dict[str, tuple[float, ...]] = {}
    for metric in request_metrics():
        assert metric.from_trace is not None
        countable = metric.needs != "tokens" or not (uncounted or seen.uncountable)
        values = tuple(v for trace in good for v in metric.from_trace(trace)) if countable else ()
        if metric.why_all_zero and not any(values):
            values, missing[metric.name] = (), metric.why_all_zero
        samples[metric.name] = values
    return Metrics(
        requests=len(traces),
        succeeded=len(good),
        errors=errors_by_kind(traces),
        window_s=window_s,
        samples=samples,
        output_tokens=_sum(trace.completion_tokens for trace in good),
        prompt_tokens=_sum(trace.prompt_tokens for trace in good),
        drafted=None if "drafts" in problems else Drafted.total(drafted),
        cached_tokens=None if uncached else _sum(trace.cached_tokens for trace in good),
        missing=missing,
        gaps=seen.gaps,
        clumped=seen.clumped,
    )


def trace_columns(trace: Trace) -> dict[str, float | list[float] | None]:
    """The metrics of one request, by column of the table of traces; failed requests have those that are known."""
    uncountable = trace.completion_tokens is None or seen_times([trace]).uncountable
    columns: dict[str, float | list[float] | None] = {}
    for metric in request_metrics():
        assert metric.from_trace is not None
        values = [] if metric.needs == "tokens" and uncountable else list(metric.from_trace(trace))
        columns[metric.column] = values if metric.many_per_request else next(iter(values), None)
    return columns


def tails(rounds: Sequence[Metrics]) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Quantiles with intervals from order statistics, for the record.

    By metric and level: ``value``, ``low`` and ``high`` in the metric's unit, and ``n``. A bound for which there are
    too few samples is None; a p99.9 has an upper one from 2,995 independent samples on.

    Samples of one round resemble each other, and so do those of one request: with several rounds the rounds are the
    groups; with one round, metrics with many samples per request have no bounds, which would be too narrow.
    """
    found: dict[str, dict[str, dict[str, float | int | None]]] = {}
    for metric in request_metrics():
        groups = [list(one.judged(metric.name)) for one in rounds]
        samples = [value for group in groups for value in group]
        if not samples:
            continue
        found[metric.name] = {}
        for label, q in LEVELS.items():
            low, high = _bounds(metric, groups, samples, q)
            value = order_statistics.quantile(samples, q)
            found[metric.name][label] = {"value": value, "low": low, "high": high, "n": len(samples)}
    return found


def _bounds(
    metric: Metric, groups: Sequence[Sequence[float]], samples: Sequence[float], q: float
) -> tuple[float | None, float | None]:
    if len(groups) > 1:
        low, high, _ = clustered_quantile.bounds(groups, q, CONFIDENCE)
        return low, high
    return (None, None) if metric.many_per_request else order_statistics.bounds(samples, q, CONFIDENCE)


def error_kinds(traces: Sequence[Trace]) -> list[JsonObject]:
    """Failed requests by kind, most frequent first, each with the message of its first."""
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for trace in traces:
        if trace.ok:
            continue
        status = f"HTTP {trace.status}" if trace.status not in (0, 200) else ""
        kind = f"{trace.outcome.value} {status}".strip()
        counts[kind] += 1
        first.setdefault(kind, trace.error)
    return [{"kind": kind, "count": count, "first": first[kind]} for kind, count in counts.most_common()]


def _sum(counts: Iterable[int | None]) -> int | None:
    """None if one of them is."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total
