"""Tables of what ``benchmarks.gpu_client`` wrote.

    python -m benchmarks.gpu_tables OUT/clients.jsonl

Medians over the loads of one client on one server; ``ours / theirs`` is the median of the ratios within each ABBA
group (ours, theirs, theirs, ours: mean of ours over mean of theirs), so that a drift of the machine cancels.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

THEIRS = "vllm bench serve"
HEADER = (
    "| concurrency | server | client | loads | tok/s | TTFT mean, ms | p99 | TPOT median, ms | client's core "
    "| busiest processes | J/token | W | of the limit | sampling |"
)
Line = dict[str, Any]


def of(lines: Sequence[Line], server: str, client: str, concurrency: int) -> list[Line]:
    wanted = ("load", server, client, concurrency)
    return [
        one
        for one in lines
        if (one["kind"], one["server"], one.get("client"), one.get("concurrency")) == wanted
    ]


def groups(lines: Sequence[Line], concurrency: int) -> Iterator[tuple[list[Line], list[Line]]]:
    """(ours, theirs) of each ABBA group on the first server, in the order of time."""
    ours, theirs = (of(lines, "clients", client, concurrency) for client in ("ours", THEIRS))
    mixed = sorted((*ours, *theirs), key=lambda one: one["at"])
    order = [one["client"] for one in mixed]
    place = 0
    while place + 4 <= len(order):
        if order[place : place + 4] == ["ours", THEIRS, THEIRS, "ours"]:
            yield [mixed[place], mixed[place + 3]], mixed[place + 1 : place + 3]
            place += 4
        else:
            place += 1


def ratio(lines: Sequence[Line], concurrency: int, key: str) -> str:
    found = [
        fmean(a[key] for a in ours) / fmean(b[key] for b in theirs)
        for ours, theirs in groups(lines, concurrency)
    ]
    return "—" if not found else f"{median(found):.3f} ({len(found)})"


def cell(lines: Sequence[Line], key: str, digits: int = 1, scale: float = 1.0) -> str:
    values = [scale * one[key] for one in lines if one.get(key) is not None]
    return "—" if not values else f"{median(values):,.{digits}f}"


def table(lines: Sequence[Line]) -> str:
    """Markdown."""
    out = []
    for one in (one for one in lines if one["kind"] == "start"):
        sizes = ", ".join(
            f"{name} {one[key] / 1e9:.2f} GB"
            for name, key in (
                ("weights", "model_bytes"),
                ("KV cache", "kv_cache_bytes"),
                ("graphs", "graphs_bytes"),
                ("activation", "activation_bytes"),
                ("non-torch", "non_torch_bytes"),
                ("device in use", "device_used_bytes"),
            )
            if one.get(key) is not None
        )
        out.append(
            f"* {one['server']}: {one['device']}, {one['engine']}, ready in {one['ready_s']:.0f} s; {sizes}"
        )
    out += [
        "",
        HEADER,
        "|---|---|---|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    loads = [one for one in lines if one["kind"] == "load"]
    for concurrency, server, client in sorted(
        {(one["concurrency"], one["server"], one["client"]) for one in loads}
    ):
        some = of(lines, server, client, concurrency)
        busiest = ", ".join(f"{share:.2f}" for share in some[-1]["server_busiest_processes"][:6])
        out.append(
            f"| {concurrency} | {server} | {client} | {len(some)} | {cell(some, 'throughput', 0)} "
            f"| {cell(some, 'ttft_mean_ms')} | {cell(some, 'ttft_p99_ms')} | {cell(some, 'tpot_median_ms', 3)} "
            f"| {cell(some, 'client_cpu_share', 2)} | {busiest} | {cell(some, 'j_per_token', 4)} "
            f"| {cell(some, 'mean_power_w', 0)} | {cell(some, 'roofline_share', 3)} "
            f"| {cell(some, 'sampler_cpu_share', 4)} |"
        )
    out += [
        "",
        "| concurrency | throughput, ours / theirs (groups) | TTFT mean, ours / theirs |",
        "|---|---|---|",
    ]
    out += [
        f"| {c} | {ratio(lines, c, 'throughput')} | {ratio(lines, c, 'ttft_mean_ms')} |"
        for c in sorted({one["concurrency"] for one in loads if one["client"] == THEIRS})
    ]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    read = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    print(table(read))
