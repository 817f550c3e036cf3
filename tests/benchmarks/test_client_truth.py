"""What a load tool reports is held against what the server did for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import client_truth, client_truth_table


def line(tool: str, said_ms: float, did_ms: float, delivered: float = 1.0, **more: Any) -> dict[str, Any]:
    did = {
        "ttft_mean_ms": did_ms,
        "ttft_p99_ms": did_ms,
        "itl_mean_ms": 10.0,
        "itl_p99_ms": 11.0,
        "throughput": 90.0,
    }
    return {
        "tool": tool,
        "concurrency": 256,
        "at": "2026-11-25 10:00",
        "machine": "2 cores",
        "said": did | {"ttft_mean_ms": said_ms, "ttft_p99_ms": said_ms, "itl_p99_ms": None},
        "truth": did,
        "delivered_share": delivered,
        "cpu_s_per_1000_tokens": 0.02,
        "cpu_s_per_1000_tokens_whole_run": 0.03,
        "peak_rss_bytes": 50e6,
        "first_request_s": 0.4,
        "server_cpu_s_per_1000_tokens": 0.01,
        **more,
    }


def test_an_error_is_the_distance_from_what_the_server_did_and_not_from_what_it_was_to_do() -> None:
    lines = [line("ours", said, 53.0, delivered=0.997) for said in (54.0, 53.5, 60.0)]
    lines.append({**line("other", 1, 1), "error": "exit code 2; no result"})
    table = client_truth_table.table(lines)
    assert "| 256 | ours | 3 | 54.0 (53.5–60.0) | 1.00 (0.50–7.00) |" in table
    assert "| 256 | 1 of 2 | 1 of 10 | 0 of 0.1 | 0.003 of 0.01 | 0.02 of 0.01 **missed** |" in table
    assert "* other at 256: failed, exit code 2; no result" in table


def test_our_client_is_measured_as_a_process_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    options = ["--concurrency", "2", "--requests", "4", "--repeats", "1", "--out", str(out)]
    assert client_truth.main(options) == 0
    (found,) = (json.loads(text) for text in out.read_text().splitlines())
    assert found["exit_code"] == 0
    assert found["said"]["requests"] == found["requests"] == 4
    assert found["truth"]["itl_mean_ms"] == pytest.approx(10, abs=1)
    assert client_truth_table.ttft_error_ms(found) < 20
    assert 0.5 < found["delivered_share"] <= 1.0
    assert 0 < found["cpu_s_per_1000_tokens"] < found["cpu_s_per_1000_tokens_whole_run"]
    assert 0 < found["first_request_s"] < found["whole_run_s"]
    assert found["peak_rss_bytes"] > 10e6
    assert found["most_in_flight"] == 2
