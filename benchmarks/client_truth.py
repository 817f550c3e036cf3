"""Accuracy of the clocks of load tools: ours and others against one server whose schedule is known.

    python -m benchmarks.client_truth --concurrency 256 --repeats 3 --out lines.jsonl \\
        --tool "vllm bench serve=VENV/bin/python" --tool guidellm=VENV/bin/python --tool aiperf=VENV/bin/python
    python -m benchmarks.client_truth --table lines.jsonl

Each rival in an environment of its own (aiperf 0.13.0 takes 1.2 GB, guidellm 0.8.1 with PyTorch for the CPU 1.5 GB):

    python -m venv AIPERF && AIPERF/bin/pip install aiperf==0.13.0
    python -m venv GUIDELLM && GUIDELLM/bin/pip install torch==2.13.0 && GUIDELLM/bin/pip install guidellm==0.8.1

``--tool "plain reader=PYTHON"`` reads and parses nothing: the floor under any client on this machine.
vLLM's is that of the suites' environment, whose interpreter should also run this: it has uvloop, which makes ours
lighter.

64 tokens in, 128 out, first token after 50 ms, then one every 10 ms, closed loop. The tools take turns within one run
(ours, A, B, C; then C, B, A, ours; …). What each reports is compared with what the server did *for it*: when it had
read each request, and when it handed each token to the kernel. Each load adds a line to ``--out``; concurrencies can
be measured in calls of their own, and ``--table`` puts all lines together. A tool that fails is a line with its last
words.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import light_truth
from benchmarks.client_truth_table import IDEAL_GAP_MS, IDEAL_TTFT_MS, table
from benchmarks.process_watch import ProcessWatch
from benchmarks.rivals import INPUT, OURS, OUTPUT, TOOLS, Ask, Tool
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer, TrueRequest
from pytest_llmperf.stats.order_statistics import quantile

ROOT = Path(__file__).resolve().parents[1]
TOKENIZER = ROOT / "pytest_llmperf" / "embedded" / "weights" / "tiny-distill"
REQUESTS = {1: 12, 32: 320, 256: 1536}
TIMEOUT_S = 150.0


def truth_of(requests: Sequence[TrueRequest]) -> dict[str, float]:
    """True figures of these requests: TTFT and gaps in ms, tokens per second while the server had any."""
    ttft = [1e3 * one.ttft_s for one in requests]
    gaps = [
        1e3 * (one.tokens_s[i + 1] - one.tokens_s[i])
        for one in requests
        for i in range(len(one.tokens_s) - 1)
    ]
    begin = min(one.received_s for one in requests)
    end = max(one.tokens_s[-1] for one in requests)
    return {
        "ttft_mean_ms": fmean(ttft),
        "ttft_p99_ms": quantile(ttft, 0.99),
        "itl_mean_ms": fmean(gaps),
        "itl_p99_ms": quantile(gaps, 0.99),
        "throughput": sum(sum(one.counts) for one in requests) / (end - begin),
    }


def run_once(
    tool: Tool, python: Path, truth: ReferenceServer, concurrency: int, requests: int
) -> dict[str, Any]:
    """One load of one tool, as a line."""
    truth.reset()
    line: dict[str, Any] = {
        "tool": tool.name,
        "concurrency": concurrency,
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "machine": f"{os.cpu_count()} cores, {platform.platform(terse=True)}",
    }
    with tempfile.TemporaryDirectory() as directory:
        ask = Ask(
            truth.server.base_url, truth.options.model, TOKENIZER, concurrency, requests, Path(directory)
        )
        log = Path(directory) / "output.log"
        asked_s = time.perf_counter()
        server_before_s = truth.truth().cpu_s
        with (
            log.open("wb") as output,
            subprocess.Popen(
                tool.command(python, ask),
                cwd=ROOT,
                env=os.environ | tool.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
            ProcessWatch(process.pid) as watch,
        ):
            try:
                code = process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                watch.kill()
                code = process.wait()
        told = truth.truth()
        whole = sorted(
            (one for one in told.requests if sum(one.counts) == OUTPUT), key=lambda one: one.received_s
        )
        # Warm-up comes first; what is measured comes last.
        measured = whole[-requests:]
        try:
            said = tool.read(ask)
        except (OSError, ValueError, LookupError, TypeError) as error:
            words = log.read_text(errors="replace")[-1500:]
            return line | {"error": f"exit code {code}; {type(error).__name__}: {error}", "output": words}
        # guidellm breaks a few off when it has seen as many as it was asked for.
        if len(measured) < 0.95 * requests:
            return line | {"error": f"the server answered {len(measured)} of {requests} requests in full"}
    begin, end = measured[0].received_s, max(one.tokens_s[-1] for one in measured)
    tokens = sum(sum(one.counts) for one in measured)
    did = truth_of(measured)
    waves = -(-requests // concurrency)
    ideal = len(measured) * OUTPUT / (waves * (IDEAL_TTFT_MS + (OUTPUT - 1) * IDEAL_GAP_MS) / 1e3)
    return line | {
        "exit_code": code,
        "requests": len(measured),
        "said": vars(said),
        "truth": did,
        "delivered_share": did["throughput"] / ideal,
        "told_share": said.throughput / ideal,
        "cpu_s_per_1000_tokens": 1e3 * watch.cpu_between(begin, end) / tokens,
        "cpu_s_per_1000_tokens_whole_run": 1e3 * watch.cpu_s / tokens,
        "peak_rss_bytes": watch.peak_bytes,
        "first_request_s": min(one.received_s for one in told.requests) - asked_s,
        "whole_run_s": watch.wall_s,
        "server_cpu_s_per_1000_tokens": 1e3
        * (told.cpu_s - server_before_s)
        / sum(sum(one.counts) for one in told.requests),
        "most_in_flight": told.peak,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, metavar="LINES", help="measure nothing, print the table")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--concurrency", type=int, action="append", help="default: 1, 32 and 256")
    parser.add_argument("--requests", type=int, help="of each load (default: by concurrency)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--tool", action="append", default=[], metavar="NAME=PYTHON", help="another tool and its interpreter"
    )
    given = parser.parse_args(arguments)
    if given.table is not None:
        lines = [json.loads(line) for line in given.table.read_text(encoding="utf-8").splitlines()]
        print(table(lines))
        return 0
    if given.out is None:
        parser.error("--out or --table is needed")
    pythons = {"ours": OURS}
    for one in given.tool:
        name, _, python = one.partition("=")
        if name not in TOOLS or not Path(python).is_file():
            parser.error(f"--tool {one}: one of {', '.join(TOOLS)}, and an interpreter that is there")
        pythons[name] = Path(python)
    options = ReferenceOptions(ttft_ms=IDEAL_TTFT_MS, gap_ms=IDEAL_GAP_MS)
    with light_truth.compiled() as server:
        for concurrency in given.concurrency or sorted(REQUESTS):
            requests = given.requests or REQUESTS.get(concurrency, 6 * concurrency)
            for repeat in range(given.repeats):
                order = list(pythons) if repeat % 2 == 0 else list(pythons)[::-1]
                for name in order:
                    # A server of its own for each load: whatever one leaves behind is not the next one's.
                    with light_truth.running(server, options) as truth:
                        line = run_once(TOOLS[name], pythons[name], truth, concurrency, requests)
                    line |= {"repeat": repeat, "input_tokens": INPUT}
                    with given.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
                    print(json.dumps(line)[:600], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
