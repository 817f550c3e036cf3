"""The metrics of timed loads, as a registry: plan, record, tables, client error, budgets and docs iterate over it.

All durations are in seconds.

* TTFT: request written → first visible token. TTFAT: → first visible text that is not thinking. In an open loop
  these and E2EL count from when the request was *to be* written: the user of a late request waits from then.
* schedule delay: intended → written, in an open loop only.
* ITL: every gap between tokens of every request, as one distribution; never a mean per request.
* TPOT: one value per request, (last token − first token) / tokens after the first arrival.
* stall: the longest gap between two arrivals of one request.
* E2EL: request written → ``[DONE]``, or the last byte of a response that has none.

A metric of your own is one call in a ``conftest.py`` or a plugin::

    from pytest_llmperf import Metric, register_metric

    register_metric(
        Metric(
            name="second_token",
            title="second token",
            description="time to the second token",
            from_trace=lambda trace: [a.time_s - trace.intended_s for a in trace.arrivals[1:2]],
            from_truth=lambda request: [t - request.received_s for t in request.tokens_s[1:2]],
            needs="arrivals",
            from_intended=True,
        )
    )


    def test_second_token(load, candidate, budget):
        assert load(candidate, concurrency=8).second_token.p95 <= 0.3
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pytest_llmperf.client.drafted import Drafted
from pytest_llmperf.client.trace import Trace
from pytest_llmperf.units import Unit

if TYPE_CHECKING:
    from pytest_llmperf.load.reference_server.process import TrueRequest

Needs = Literal["end", "first token", "arrivals", "tokens", "usage", "drafts", "cached tokens"]
"""The observations that a metric needs to be judged, each up to ``tokens`` including those before it:

* ``end``: the end of the response
* ``first token``: no visible text in a field that the client does not read
* ``arrivals``: the chunks were seen when they were sent (``load.seen_times``)
* ``tokens``: besides, the server counted the tokens of every chunk
* ``usage``: the server's count of all tokens
* ``drafts``: its counts of speculative decoding
* ``cached tokens``: its count of prompt tokens that its prefix cache had
"""
_THINK_END = "</think>"


@dataclass(frozen=True)
class Totals:
    """Counts of one round or part of a run."""

    requests: int
    succeeded: int
    window_s: float
    """Wall-clock time in which the requests ran."""
    output_tokens: int | None
    """Tokens of all successful requests, by ``usage``; None if one of them lacks it."""
    prompt_tokens: int | None
    drafted: Drafted | None
    """Draft tokens of speculative decoding; None if the server does not tell them."""
    cached_tokens: int | None
    """Prompt tokens that were found in the prefix cache; None if the server does not tell them."""


@dataclass(frozen=True)
class Metric:
    """One metric of timed loads: samples per request (``from_trace``), one rate per round (``from_round``), or the
    ratio of two totals (``from_totals``)."""

    name: str
    """Attribute of load results (``load(…).ttft``), and first part of its budget keys (``ttft_p95``)."""
    title: str
    """Name in tables and reports."""
    description: str
    unit: Unit = "s"
    better: Literal["lower", "higher"] = "lower"
    from_trace: Callable[[Trace], Iterable[float]] | None = None
    """Samples of one request, none where it has no value."""
    from_truth: Callable[[TrueRequest], Iterable[float]] | None = None
    """The same samples by the reference server's own account; the difference is the client's error."""
    from_round: Callable[[Totals], float | None] | None = None
    """A rate per second over a round; the client's own time per request is its error."""
    from_totals: Callable[[Totals], tuple[float, float] | None] | None = None
    """Numerator and denominator in one round, both 0 or more; None where they are not known. The value is the sum of
    the numerators by that of the denominators, so that long rounds weigh more."""
    why_nothing: str = ""
    """What it means if all denominators of :attr:`from_totals` are zero: a reason why nothing is judged."""
    error_of: str = ""
    """Metric whose client error applies, for one that the reference server never shows."""
    client_only: bool = False
    """The value is the client's own doing, and none of it an error."""
    needs: Needs = "end"
    fixed_length: bool = False
    """Only comparable between answers of the same length."""
    from_intended: bool = False
    """Counts from the intended time, and so contains the client's lateness in an open loop."""
    many_per_request: bool = False
    """One request has many samples, which resemble each other."""
    shows_standstill: bool = False
    """Judged even in rounds that are taken out because client or server stood still."""
    why_all_zero: str = ""
    """Why the metric was not measured if every sample is zero; empty: zeros are values."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or re.search(r"_p\d+$", self.name):
            raise ValueError(
                f"metric {self.name!r}: need a lower-case identifier that does not end like a quantile"
            )
        sources = (self.from_trace, self.from_round, self.from_totals)
        if sum(source is not None for source in sources) != 1:
            raise ValueError(f"metric {self.name}: need one of from_trace, from_round and from_totals")
        if self.from_totals is not None and not self.why_nothing:
            raise ValueError(f"metric {self.name}: from_totals needs why_nothing, for denominators of zero")
        checked = self.from_truth is not None or bool(self.error_of) or self.client_only
        if self.from_trace is not None and not checked:
            raise ValueError(
                f"metric {self.name}: its client error would be unknown; need from_truth, error_of or client_only"
            )

    @property
    def column(self) -> str:
        """Column of the table of traces."""
        return f"{self.name}_s" if self.unit == "s" else self.name


def tpot_s(trace: Trace) -> float | None:
    """(last − first) / (tokens − 1); None with fewer than two tokens, or uncounted ones.

    Three corrections: tokens that came with the first one took none of the time; where the server counts in every
    chunk, the last token may have no text (a stop token); tokens that were not sent do not count.
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


def ttfat_s(trace: Trace) -> float | None:
    """Request written → first visible answer text after the thinking; None if there was no thinking or no end of it.

    Thinking is what comes in ``reasoning_content``, or in the content before ``</think>``. White space after it is
    not an answer yet.
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
    """Every gap between tokens; the time of a chunk of several tokens is spread evenly over them."""
    gaps: list[float] = []
    gap_from = trace.arrivals[0].time_s if trace.arrivals else 0.0
    for arrival in trace.arrivals[1:]:
        tokens = 1 if arrival.tokens is None else arrival.tokens
        if tokens == 0:
            # Text of a token that was counted before: its time belongs to the next one's gap.
            continue
        gaps += [(arrival.time_s - gap_from) / tokens] * tokens
        gap_from = arrival.time_s
    return gaps


def _longest(times: Sequence[float]) -> list[float]:
    """The longest gap; none with fewer than two times."""
    gaps = [after - before for before, after in pairwise(times)]
    return [max(gaps)] if gaps else []


def _known(value: float | None) -> list[float]:
    return [] if value is None else [value]


def _true_gaps_s(request: TrueRequest) -> list[float]:
    times, gaps = request.tokens_s, []
    for before, after, count in zip(times, times[1:], request.counts[1:], strict=False):
        gaps += [(after - before) / count] * count
    return gaps


def _true_tpot_s(request: TrueRequest) -> list[float]:
    gaps = _true_gaps_s(request)
    return [sum(gaps) / len(gaps)] if gaps else []


def _yielded(drafted: Drafted | None) -> tuple[float, float] | None:
    """Tokens that came of verification steps, and the steps: each adds one token of the model's own."""
    return None if drafted is None else (drafted.accepted + drafted.drafts, drafted.drafts)


def _cached(totals: Totals) -> tuple[float, float] | None:
    if totals.cached_tokens is None or totals.prompt_tokens is None:
        return None
    return totals.cached_tokens, totals.prompt_tokens


_NOTHING_DRAFTED = (
    "nothing was drafted: speculation is off (vLLM: --speculative-config), or its method found no draft for these "
    "prompts"
)

BUILT_IN = (
    Metric(
        name="ttft",
        title="TTFT",
        description="time to first token",
        from_trace=lambda trace: _known(trace.ttft_s),
        from_truth=lambda request: [request.ttft_s],
        needs="first token",
        from_intended=True,
    ),
    Metric(
        name="ttfat",
        title="TTFAT",
        description="time to the first token of the answer, after the thinking",
        from_trace=lambda trace: _known(ttfat_s(trace)),
        # What comes after the thinking is stamped as the first token is.
        error_of="ttft",
        needs="first token",
        from_intended=True,
    ),
    Metric(
        name="itl",
        title="ITL",
        description="gap between tokens",
        from_trace=gaps_s,
        from_truth=_true_gaps_s,
        needs="tokens",
        many_per_request=True,
    ),
    Metric(
        name="tpot",
        title="TPOT",
        description="time per output token",
        from_trace=lambda trace: _known(tpot_s(trace)),
        from_truth=_true_tpot_s,
        needs="tokens",
    ),
    Metric(
        name="stall",
        title="stall",
        description="longest gap in a request",
        from_trace=lambda trace: _longest([arrival.time_s for arrival in trace.arrivals]),
        from_truth=lambda request: _longest(request.tokens_s),
        needs="arrivals",
        shows_standstill=True,
    ),
    Metric(
        name="e2el",
        title="E2EL",
        description="time to the last token",
        from_trace=lambda trace: [trace.end_s - trace.intended_s] if trace.ok else [],
        from_truth=lambda request: [request.tokens_s[-1] - request.received_s],
        fixed_length=True,
        from_intended=True,
    ),
    Metric(
        name="schedule_delay",
        title="schedule delay",
        description="intended sending → sending, of a load with a schedule",
        from_trace=lambda trace: [trace.schedule_delay_s],
        client_only=True,
        why_all_zero="every request was sent when it was to be",
    ),
    Metric(
        name="throughput",
        title="throughput",
        description="output tokens a second",
        unit="tok/s",
        better="higher",
        from_round=lambda totals: (
            None if totals.output_tokens is None else totals.output_tokens / totals.window_s
        ),
        needs="usage",
    ),
    Metric(
        name="requests_per_s",
        title="requests per second",
        description="successful requests a second",
        unit="req/s",
        better="higher",
        from_round=lambda totals: totals.succeeded / totals.window_s,
    ),
    Metric(
        name="acceptance_length",
        title="acceptance length",
        description="tokens that one verification step of speculative decoding yields",
        unit="tok/step",
        better="higher",
        from_totals=lambda totals: _yielded(totals.drafted),
        needs="drafts",
        why_nothing=_NOTHING_DRAFTED,
        shows_standstill=True,
    ),
    Metric(
        name="acceptance_rate",
        title="acceptance rate",
        description="share of the draft tokens that the model accepts",
        unit="share",
        better="higher",
        from_totals=lambda totals: totals.drafted and (totals.drafted.accepted, totals.drafted.tokens),
        needs="drafts",
        why_nothing=_NOTHING_DRAFTED,
        shows_standstill=True,
    ),
    Metric(
        name="cached_share",
        title="cached share",
        description="share of the prompt tokens that the prefix cache had",
        unit="share",
        better="higher",
        from_totals=lambda totals: _cached(totals),
        needs="cached tokens",
        why_nothing="the prompts have no tokens",
        shows_standstill=True,
    ),
)
_REGISTERED: dict[str, Metric] = {metric.name: metric for metric in BUILT_IN}


def register_metric(metric: Metric) -> Metric:
    """Add a metric of your own; a later one of the same name replaces it. ``ValueError`` for a built-in one's name."""
    if any(metric.name == built_in.name for built_in in BUILT_IN):
        raise ValueError(f"metric {metric.name} is built in; choose another name")
    _REGISTERED[metric.name] = metric
    return metric


def unregister(name: str) -> None:
    """Remove a metric of your own; nothing happens if there is none of that name."""
    if all(name != built_in.name for built_in in BUILT_IN):
        _REGISTERED.pop(name, None)


def all_metrics() -> tuple[Metric, ...]:
    """Every metric, built-in ones first."""
    return tuple(_REGISTERED.values())


def request_metrics() -> tuple[Metric, ...]:
    """Metrics with samples per request."""
    return tuple(metric for metric in _REGISTERED.values() if metric.from_trace is not None)


def metric_named(name: str) -> Metric:
    """The metric of that name. ``ValueError`` naming those there are."""
    if (metric := _REGISTERED.get(name)) is None:
        raise ValueError(f"no metric {name!r}; there are {', '.join(_REGISTERED)}")
    return metric


def metric_and_quantile(name: str) -> tuple[Metric, float]:
    """``ttft_p95`` → (TTFT, 0.95); without a percentile the median. ``ValueError`` for another name."""
    plain, _, percent = name.rpartition("_p")
    if name not in _REGISTERED and re.fullmatch(r"\d{1,2}(\.\d+)?", percent):
        metric = _REGISTERED.get(plain)
        if metric is not None and metric.from_trace is not None:
            return metric, float(percent) / 100
    if name in _REGISTERED:
        return _REGISTERED[name], 0.5
    rates = [metric.name for metric in all_metrics() if metric.from_trace is None]
    series = [metric.name for metric in request_metrics()]
    raise ValueError(
        f"no metric {name!r}; there are {', '.join(rates)}, and {', '.join(series)} "
        "(the median) with or without a percentile, as in ttft_p95"
    )
