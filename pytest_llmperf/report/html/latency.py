"""Sections about times: their distributions, and throughput and TTFT against concurrency."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pytest_llmperf.gates.quantile import QuantileGate
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.record.tables import metric_values
from pytest_llmperf.report.html.facts import Facts, Load, known
from pytest_llmperf.report.html.parts import Plot, Section
from pytest_llmperf.report.plots import by_row, fill_plot, label
from pytest_llmperf.report.table import Table
from pytest_llmperf.stats import clustered_quantile, order_statistics
from pytest_llmperf.units import format_interval, format_value

_OPEN = 2
"""Distributions that the page shows unfolded."""
_LONGEST_OPEN = 8
"""Rows of a table that the page shows unfolded."""

DRAWN = 150
"""Maximum of points drawn of a distribution; quantiles and counts use all samples."""

MOST_PLOTS = 24
"""Maximum of distributions drawn; each takes some ten kilobytes of the page. The table has all."""
_SPEED = "Speed"

_SHOWN_FROM = {0.5: 1, 0.95: order_statistics.least_n_upper(0.95), 0.99: order_statistics.least_n_upper(0.99)}
"""Fewest samples for which a quantile is shown: with fewer, no sample bounds it from above."""


@dataclass(frozen=True)
class _Times:
    """The samples of a metric on one side, in seconds; ``row`` is the model, or the gate if the model is not known."""

    metric: str
    row: str
    seconds: Sequence[float] = field(repr=False)

    @cached_property
    def ordered(self) -> list[float]:
        return sorted(self.seconds)

    def quantile(self, q: float) -> str:
        if len(self.seconds) < _SHOWN_FROM[q]:
            return "too few"
        return format_value(order_statistics.quantile_of_ordered(self.ordered, q), "s")


def distributions_section(facts: Facts) -> Section | None:
    """Return TTFT, TPOT and end-to-end latency of both sides, and other times that a gate was judged by."""
    times = [*_of_load(facts), *_gaps(facts), *_of_gates(facts)]
    if not times:
        return None
    notes = []
    if facts.traces:
        notes.append("Gaps between tokens (ITL) are those of every timed request.")
    elif any(sample.metric.startswith("ITL") for sample in times):
        notes.append("Gaps between tokens (ITL) are known of the side that a gate was asked about only.")
    elif facts.no_gates:
        notes.append(f"Gaps between tokens (ITL) are not known: {facts.no_gates}")
    elif facts.load:
        notes.append("Gaps between tokens (ITL) are not known: no gate of this run was asked about them.")
    ordered = list(dict.fromkeys([*facts.rows, *(sample.row for sample in times)]))
    by_metric: dict[str, list[_Times]] = {}
    for sample in times:
        by_metric.setdefault(sample.metric, []).append(sample)
    drawn = set(sorted(by_metric, key=lambda name: -_apart(by_metric[name]))[:MOST_PLOTS])
    plots = [
        _distribution(name, by_metric[name], ordered, at)
        for at, name in enumerate(name for name in by_metric if name in drawn)
    ]
    if left_out := len(by_metric) - len(plots):
        notes.append(
            f"Drawn are the {len(plots)} of {len(by_metric):,} distributions whose medians differ the most between the "
            f"models; the other {left_out:,} are in the table only."
        )
    columns = ("metric", "model", "samples", "p50", "p95", "p99", "longest")
    cells = [
        (
            sample.metric,
            sample.row,
            f"{len(sample.seconds):,}",
            *(sample.quantile(q) for q in _SHOWN_FROM),
            format_value(sample.ordered[-1], "s"),
        )
        for sample in times
    ]
    table = Table(columns, cells, range(2, len(columns)), "Quantiles", folded=len(cells) > _LONGEST_OPEN)
    return Section("distributions", "Distributions of times", notes, plots, [table])


def concurrency_section(facts: Facts) -> Section | None:
    """Return output throughput and TTFT of both sides at each concurrency."""
    loads = sorted(facts.load, key=lambda load: (load.concurrency, facts.rows.index(load.row)))
    errors = _client_errors(facts)
    if not loads:
        return Section("concurrency", _SPEED, tables=[errors]) if errors.rows else None
    output = [
        (load, order_statistics.quantile(load.output, 0.5), _of_rounds(load)) for load in loads if load.output
    ]
    # A line over concurrencies is of one kind of load: others stand in the table.
    usual = [load for load in loads if not load.shape] or loads
    first = [
        (load, q, order_statistics.quantile(pooled, q), _ends(clustered_quantile.bounds(filled, q)))
        for load in loads
        if (filled := [times for times in load.ttft_s if times])
        for q in (0.5, 0.95)
        if len(pooled := [value for times in filled for value in times]) >= _SHOWN_FROM[q]
    ]
    plots = [
        Plot(
            "Output throughput, median of the rounds",
            "Tokens per second of each model at each concurrency, with intervals. The numbers are in the table.",
            fill_plot(
                "against_concurrency",
                [_point(load, at, ends, "tok/s") for load, at, ends in output if load in usual],
                x="concurrent requests",
                axis="tokens per second",
                scale={"type": "linear", "zero": True},
                format=",~f",
                **by_row(facts.rows),
            ),
        )
    ]
    for q in dict.fromkeys(q for _, q, _, _ in first):
        name = f"Time to first token, p{100 * q:.0f}"
        points = [
            _point(load, at, ends, "s", 1000.0) for load, of, at, ends in first if of == q and load in usual
        ]
        alt = f"{name} of each model at each concurrency, with intervals. The numbers are in the table."
        spec = fill_plot(
            "against_concurrency",
            points,
            x="concurrent requests",
            axis="milliseconds, logarithmic",
            scale={"type": "log"},
            format="~g",
            **by_row(facts.rows),
        )
        plots.append(Plot(name, alt, spec))
    shown = {
        id(load): (format_value(at, "tok/s"), format_interval(ends, "tok/s")) for load, at, ends in output
    }
    of_first = {
        (id(load), q): (format_value(at, "s"), format_interval(ends, "s")) for load, q, at, ends in first
    }
    none = ("—", "—")
    lost = {
        field: name
        for field, name in (("taken_out", "rounds taken out"), ("one_sided", "rounds alone"))
        if any(getattr(load, field) for load in loads)
    }
    rows = [
        (
            f"{load.concurrency:,}{load.shape}",
            load.row,
            f"{load.requests:,}",
            f"{load.errors:,}",
            *shown.get(id(load), none),
            *of_first.get((id(load), 0.5), none),
            *of_first.get((id(load), 0.95), none),
            format_value(load.clumped, "share"),
            *(f"{getattr(load, field):,}" for field in lost),
        )
        for load in loads
    ]
    columns = ("concurrency", "model", "requests", "errors", "throughput", "interval", "TTFT p50", "interval")
    named = (*columns, "TTFT p95", "interval", "clumped", *lost.values())
    table = Table(named, rows, {0, *range(2, len(named))}, "Load: throughput and time to first token")
    notes = [
        "Closed loop: as many requests as the concurrency are under way at any time.",
        "Each end of an interval holds with 95 %; the samples of a round count as a cluster.",
        "Clumped: tokens that arrived together with the one before; above 25 % times per token are not judged.",
    ]
    if "taken_out" in lost:
        notes.append("Rounds are taken out in which client or server stood still.")
    if "one_sided" in lost:
        notes.append(
            "Rounds alone had none of the other model beside them: only limits of this model needed them, and no ratio "
            "counts them."
        )
    return Section("concurrency", _SPEED, notes, plots, [table, *([errors] if errors.rows else [])])


def _client_errors(facts: Facts) -> Table:
    """Return by how much the client reports other times than the server of a calibration had."""
    rows = []
    for entry in facts.record.calibration:
        error = entry.error
        if error is None:
            rows.append((f"{entry.concurrency:,}", *["—"] * 6, entry.failed or "not measured"))
            continue
        signed = (error.ttft_mean_s, error.ttft_p99_s, error.itl_mean_s, error.itl_p99_s)
        rows.append(
            (
                f"{entry.concurrency:,}",
                *(format_value(value, "s") for value in signed),
                format_value(error.throughput_lost, "share"),
                "—" if entry.workers is None else f"{entry.workers:,}",
                (entry.made or "—")[:16].replace("T", " ")
                + (", machine was busy" if entry.calm is False else ""),
            )
        )
    columns = ("concurrency", "TTFT mean", "TTFT p99", "ITL mean", "ITL p99", "throughput lost", "processes")
    return Table((*columns, "measured"), rows, range(7), "The client's own error: reported minus true")


def _of_load(facts: Facts) -> Iterator[_Times]:
    for name in ("TTFT", "TPOT", "E2EL"):
        for load in sorted(facts.load, key=lambda load: load.concurrency):
            rounds = {"TTFT": load.ttft_s, "TPOT": load.tpot_s, "E2EL": load.e2el_s}[name]
            if pooled := [value for times in rounds for value in times]:
                yield _Times(f"{name} at {load.at}", load.row, pooled)


def _gaps(facts: Facts) -> Iterator[_Times]:
    """Between tokens, of every request of a closed loop; not where loads of several lengths had one concurrency, since
    a request does not say to which it belongs."""
    several = {(load.concurrency, load.row) for load in facts.load if load.shape}
    found: dict[tuple[int, str], list[float]] = {}
    for trace in facts.traces:
        if trace["kind"] == "closed":
            key = (trace["concurrency"] or 0, trace["row"])
            found.setdefault(key, []).extend(metric_values(trace, "itl_s"))
    for (concurrency, row), gaps in sorted(found.items()):
        if (concurrency, row) in several:
            continue
        if seconds := known(gaps):
            yield _Times(f"ITL at {concurrency}", row, seconds)


def _of_gates(facts: Facts) -> Iterator[_Times]:
    """Yield times that gates were judged by and the loads do not have; two quantiles of a metric share them."""
    told = {sample.metric for sample in (*_of_load(facts), *_gaps(facts))}
    seen: list[tuple[str, str, Sequence[float]]] = []
    for kept in facts.gates:
        case = kept.gate
        if not isinstance(case, QuantileGate) or case.unit != "s" or case.metric in told:
            continue
        seconds = known(list(case.samples))
        side = facts.side(kept.test)
        if seconds and (case.metric, side, seconds) not in seen:
            seen.append((case.metric, side, seconds))
            yield _Times(case.metric, side, seconds)


def _apart(times: Sequence[_Times]) -> float:
    """Return the greatest ratio of two medians; 1.0 of a single model."""
    medians = [order_statistics.quantile_of_ordered(sample.ordered, 0.5) for sample in times]
    least = min(medians)
    return max(medians) / least if least > 0 else math.inf


def _distribution(metric: str, times: Sequence[_Times], rows: Sequence[str], place: int) -> Plot:
    values = [point for sample in times for point in _steps(sample)]
    said = "; ".join(f"{sample.row} median {sample.quantile(0.5)}" for sample in times)
    alt = f"Share of samples at or below each time, {metric}: {said}. More quantiles are in the table."
    spec = fill_plot("shares_below", values, axis="milliseconds, logarithmic", **by_row(rows))
    return Plot(metric, alt, spec, folded=place >= _OPEN)


def _steps(times: _Times) -> list[JsonObject]:
    """Return the empirical distribution function at no more than ``DRAWN`` ranks, both ends included."""
    ordered = times.ordered[bisect_right(times.ordered, 0.0) :]
    n, name = len(ordered), label(times.row)
    ranks = range(n) if n <= DRAWN else sorted({round(i * (n - 1) / (DRAWN - 1)) for i in range(DRAWN)})
    drawn = [float(f"{1000.0 * ordered[rank]:.4g}") for rank in ranks]
    if n:
        drawn[-1] = 1000.0 * ordered[-1]
    return [
        {"value": value, "share": round((rank + 1) / n, 5), "row": name}
        for value, rank in zip(drawn, ranks, strict=True)
    ]


def _of_rounds(load: Load) -> tuple[float, float] | None:
    return _ends(order_statistics.bounds(load.output, 0.5))


def _ends(bounds: Sequence[float | None]) -> tuple[float, float] | None:
    low, high = bounds[:2]
    return None if low is None or high is None else (low, high)


def _point(
    load: Load, value: float, ends: tuple[float, float] | None, unit: str, times: float = 1.0
) -> JsonObject:
    low, high = ends or (None, None)
    return {
        "row": label(load.row),
        "concurrency": load.concurrency,
        "value": value * times,
        "low": None if low is None else low * times,
        "high": None if high is None else high * times,
        "shown": f"{format_value(value, unit)} ({format_interval(ends, unit)})",
    }
