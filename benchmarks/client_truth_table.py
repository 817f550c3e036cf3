"""The table of ``benchmarks.client_truth``: medians over the repeats, beside what our client is to reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

IDEAL_TTFT_MS, IDEAL_GAP_MS = 50.0, 10.0
Line = dict[str, Any]
TO_REACH = {
    1: (1.0, 2.0, 0.05, 0.005, 0.08),
    32: (1.0, 5.0, 0.05, 0.01, 0.018),
    256: (2.0, 10.0, 0.1, 0.01, 0.010),
}
"""By concurrency, at most: error of the mean TTFT, of its p99, of the mean ITL (ms); throughput lost; CPU seconds."""


def ttft_error_ms(line: Line) -> float:
    return abs(float(line["said"]["ttft_mean_ms"] - line["truth"]["ttft_mean_ms"]))


def ttft_p99_error_ms(line: Line) -> float:
    return abs(float(line["said"]["ttft_p99_ms"] - line["truth"]["ttft_p99_ms"]))


def itl_error_ms(line: Line) -> float:
    return abs(float(line["said"]["itl_mean_ms"] - line["truth"]["itl_mean_ms"]))


def lost(line: Line) -> float:
    """Share of the tokens a second that the server would have given to a client that takes no time."""
    return float(1.0 - line["delivered_share"])


def cpu(line: Line) -> float:
    return float(line["cpu_s_per_1000_tokens"])


COLUMNS: tuple[tuple[str, Callable[[Line], float | None], str], ...] = (
    ("TTFT mean, ms", lambda one: one["said"]["ttft_mean_ms"], ".1f"),
    ("its error", ttft_error_ms, ".2f"),
    ("TTFT p99, ms", lambda one: one["said"]["ttft_p99_ms"], ".1f"),
    ("its error", ttft_p99_error_ms, ".2f"),
    ("ITL mean, ms", lambda one: one["said"]["itl_mean_ms"], ".3f"),
    ("its error", itl_error_ms, ".3f"),
    ("ITL p99, ms", lambda one: one["said"]["itl_p99_ms"], ".1f"),
    ("tok/s reported", lambda one: one["said"]["throughput"], ",.0f"),
    ("tok/s delivered", lambda one: one["truth"]["throughput"], ",.0f"),
    ("lost, %", lambda one: 100 * lost(one), ".2f"),
    ("CPU s per 1,000 tokens", cpu, ".4f"),
    ("with its start", lambda one: one["cpu_s_per_1000_tokens_whole_run"], ".3f"),
    ("peak memory, MB", lambda one: one["peak_rss_bytes"] / 1e6, ",.0f"),
    ("first request, s", lambda one: one["first_request_s"], ".2f"),
)
TRUTH_COLUMNS: tuple[tuple[str, Callable[[Line], float | None], str], ...] = (
    ("TTFT mean, ms", lambda one: one["truth"]["ttft_mean_ms"], ".2f"),
    ("p99", lambda one: one["truth"]["ttft_p99_ms"], ".1f"),
    ("gap mean, ms", lambda one: one["truth"]["itl_mean_ms"], ".3f"),
    ("p99", lambda one: one["truth"]["itl_p99_ms"], ".1f"),
    ("server's CPU s per 1,000 tokens", lambda one: one["server_cpu_s_per_1000_tokens"], ".4f"),
)


def table(lines: Sequence[Line]) -> str:
    """Markdown: what each tool said, what it was told to reach, and what the server did for it."""
    good = [one for one in lines if "error" not in one]
    out = [*_rows("What each tool reports", good, COLUMNS), "", *_reached(good), ""]
    out += _rows("What the server did for it", good, TRUTH_COLUMNS)
    failed = [one for one in lines if "error" in one]
    out += ["", *(f"* {one['tool']} at {one['concurrency']}: failed, {one['error']}" for one in failed)]
    machines = sorted({f"{one['at'][:10]}, {one['machine']}" for one in lines})
    return "\n".join([*out, "", f"Measured: {'; '.join(machines)}."]) + "\n"


def _rows(
    title: str, lines: Sequence[Line], columns: Sequence[tuple[str, Callable[[Line], float | None], str]]
) -> list[str]:
    out = [
        f"**{title}** (medians, in brackets the extremes)",
        "",
        f"| concurrency | tool | runs | {' | '.join(name for name, _, _ in columns)} |",
        f"|---|---|---|{'---:|' * len(columns)}",
    ]
    for concurrency in sorted({one["concurrency"] for one in lines}):
        for tool in dict.fromkeys(one["tool"] for one in lines):
            some = [one for one in lines if (one["tool"], one["concurrency"]) == (tool, concurrency)]
            if some:
                cells = " | ".join(_cell([value(one) for one in some], spec) for _, value, spec in columns)
                out.append(f"| {concurrency} | {tool} | {len(some)} | {cells} |")
    return out


def _cell(values: Sequence[float | None], spec: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "—"
    middle = format(median(known), spec)
    if len(known) == 1:
        return middle
    return f"{middle} ({format(min(known), spec)}–{format(max(known), spec)})"


def _reached(lines: Sequence[Line]) -> list[str]:
    """Lines on the targets of our client, and on what it reached."""
    out = [
        "**What ours is to reach** (errors, share of throughput lost, CPU: the median, of at most)",
        "",
        "| concurrency | TTFT mean, ms | TTFT p99, ms | ITL mean, ms | throughput | CPU s per 1,000 tokens |",
        "|---|---|---|---|---|---|",
    ]
    measures = (ttft_error_ms, ttft_p99_error_ms, itl_error_ms, lost, cpu)
    for concurrency, most in TO_REACH.items():
        some = [one for one in lines if (one["tool"], one["concurrency"]) == ("ours", concurrency)]
        if some:
            found = [median(measure(one) for one in some) for measure in measures]
            cells = [
                f"{value:.3g} of {limit:g}{'' if value <= limit else ' **missed**'}"
                for value, limit in zip(found, most, strict=True)
            ]
            out.append(f"| {concurrency} | {' | '.join(cells)} |")
    return out
