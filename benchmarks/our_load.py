"""One load by our own client, as a process of its own: what ``benchmarks.client_truth`` compares with other tools.

python -m benchmarks.our_load URL MODEL CONCURRENCY REQUESTS RESULT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.rivals import INPUT, OUTPUT
from pytest_llmperf.load import results
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.runner import run_load
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.serving.server import Server


def main(url: str, model: str, concurrency: str, requests: str, result: str) -> None:
    server = Server(
        row=model,
        model=model,
        base_url=url,
        api_key=None,
        log=None,
        root_pid=None,
        ready_s=None,
        command="",
        engine="",
    )
    # Without a count in every chunk, as the others ask for it.
    workload = Workload(input_tokens=INPUT, output_tokens=OUTPUT, chat=False, usage_per_chunk=False)
    run = run_load(server, workload, ClosedLoop(int(concurrency), int(requests)))
    found = results.of_run(run)
    itl = found.samples["itl"] or found.samples["tpot"]
    said = {
        "requests": found.succeeded,
        "ttft_mean_ms": 1e3 * sum(found.samples["ttft"]) / len(found.samples["ttft"]),
        "ttft_p99_ms": 1e3 * found.quantile("ttft", 0.99),
        "itl_mean_ms": 1e3 * sum(itl) / len(itl),
        "itl_p99_ms": 1e3 * found.quantile("itl", 0.99) if found.samples["itl"] else None,
        "throughput": found.value("throughput"),
    }
    Path(result).write_text(json.dumps(said), encoding="utf-8")
    for problem in run.problems:
        print(problem, file=sys.stderr)
    heavy = {"torch", "transformers", "datasets"} & set(sys.modules)
    if heavy:
        raise SystemExit(f"the client imported {', '.join(heavy)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
