"""Quantiles of every metric with intervals from order statistics: what a record says of a load at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.load.metrics import SERIES, Metrics
from pytest_llmperf.stats import clustered_quantile, order_statistics

LEVELS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
CONFIDENCE = 0.95
"""Of each bound by itself."""


def tails(rounds: Sequence[Metrics]) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """By metric and level: ``value``, ``low`` and ``high`` in seconds, and ``n``. A bound for which there are too few
    samples is None; a p99.9 has an upper one from 2,995 independent samples on.

    Samples of one round resemble each other, and of one request those of ITL do: with several rounds the rounds are
    the groups, with one the bounds of ITL would be too narrow, and are left out.
    """
    found: dict[str, dict[str, dict[str, float | int | None]]] = {}
    for name in SERIES:
        groups: list[list[float]] = [list(one.judged(name)) for one in rounds]
        samples = [value for group in groups for value in group]
        if not samples:
            continue
        found[name] = {}
        for label, q in LEVELS.items():
            low, high = _bounds(name, groups, samples, q)
            value = order_statistics.quantile(samples, q)
            found[name][label] = {"value": value, "low": low, "high": high, "n": len(samples)}
    return found


def _bounds(
    name: str, groups: Sequence[Sequence[float]], samples: Sequence[float], q: float
) -> tuple[float | None, float | None]:
    if len(groups) > 1:
        low, high, _ = clustered_quantile.bounds(groups, q, CONFIDENCE)
        return low, high
    return (None, None) if name == "itl" else order_statistics.bounds(samples, q, CONFIDENCE)


def error_kinds(traces: Sequence[Trace]) -> list[dict[str, Any]]:
    """Failed requests by what happened, most frequent first, each kind with the words of its first."""
    kinds: dict[str, dict[str, Any]] = {}
    for trace in traces:
        if trace.ok:
            continue
        # "HTTP 503: …" is another kind than "HTTP 400: …".
        status = trace.error[:8] if trace.error.startswith("HTTP ") else ""
        kind = f"{trace.outcome.value} {status}".strip()
        kinds.setdefault(kind, {"kind": kind, "count": 0, "first": trace.error})["count"] += 1
    return sorted(kinds.values(), key=lambda one: -one["count"])
