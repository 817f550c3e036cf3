"""Two clients on one GPU are compared within their ABBA groups."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import gpu_tables

ROOT = Path(__file__).parents[2]


def load(client: str, at: int, throughput: float, concurrency: int = 64, **more: Any) -> dict[str, Any]:
    return {
        "kind": "load",
        "server": "clients",
        "client": client,
        "concurrency": concurrency,
        "at": f"2026-11-25 10:00:{at:02}",
        "throughput": throughput,
        "ttft_mean_ms": 100.0,
        "server_busiest_processes": [1.0, 0.9],
        **more,
    }


def test_a_ratio_is_that_of_the_means_within_a_group_and_the_median_over_groups() -> None:
    theirs = gpu_tables.THEIRS
    lines = [
        *(load("ours", 1, 110), load(theirs, 2, 100), load(theirs, 3, 100), load("ours", 4, 110)),
        # A load beside the groups, as the starts are compared, belongs to none.
        *(load("ours", 5, 999), load("ours", 6, 90), load(theirs, 7, 100), load(theirs, 8, 100)),
        *(load("ours", 9, 90), load("ours", 10, 200, concurrency=1)),
        *(load("ours", 11, 120), load(theirs, 12, 100), load(theirs, 13, 100), load("ours", 14, 120)),
    ]
    assert gpu_tables.ratio(lines, 64, "throughput") == "1.100 (3)"
    assert gpu_tables.ratio(lines, 1, "throughput") == "—"
    table = gpu_tables.table(lines)
    assert "| 64 | clients | vllm bench serve | 6 | 100 | 100.0 | — |" in table


def test_what_was_measured_on_an_h100_before_can_still_be_read() -> None:
    lines = ROOT / "docs" / "evidence" / "h100-clients-2026-11-24.jsonl"
    command = [sys.executable, "-m", "benchmarks.gpu_tables", str(lines)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(lines.read_text().splitlines()[0])
    assert (
        f"ready in {found['ready_s']:.0f} s; weights 3.70 GB, KV cache 29.45 GB, graphs 0.54 GB"
        in done.stdout
    )
