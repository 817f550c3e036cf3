"""Our client against ``vllm bench serve`` on one GPU, on the same server, interleaved; and one server against itself.

    python benchmarks/dummy_models.py --out DIR
    python -m benchmarks.gpu_client --models DIR/models.toml --out OUT --part clients --part starts

*clients*: at each concurrency ours, theirs, theirs, ours on one server (64 tokens in, 128 out, ``/v1/completions``,
``ignore_eos``, greedy), with the processor time of client and of every process of the server, so that one sees whose
limit it is; ours once more with a token count in every chunk, as the suites ask for. *starts*: the same row started
twice: what two starts differ by, beside what two loads on one start do. Power and energy of the device are sampled
beside every load. Writes a line of JSON for each start and load.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.catalog import Model, load_catalog
from pytest_llmperf.load import metrics
from pytest_llmperf.load.closed_loop import run_closed_loop
from pytest_llmperf.load.workload import Fits, Workload
from pytest_llmperf.measure.closing import close_together
from pytest_llmperf.measure.served import Served
from pytest_llmperf.serving import gpu, processes
from pytest_llmperf.serving.milestones import milestones
from pytest_llmperf.serving.telemetry import Sampler, Telemetry

REQUESTS = {1: 12, 64: 512, 256: 1024, 512: 1536}
WORKLOAD = Workload(
    input_tokens=64, output_tokens=128, chat=False, usage_per_chunk=False, sampling={"temperature": 0}
)


class Bench:
    """One server, and the loads on it."""

    def __init__(self, model: Model, label: str, state: Path, lines: Path) -> None:
        self.model, self.label, self._lines = model, label, lines
        self.served = Served(model, state, print)
        self._fits: Fits = {}
        self._nvml = gpu.open_nvml()

    def start(self) -> None:
        server = self.served.server
        assert server.log is not None
        found = dataclasses.asdict(milestones(server.log.read_text(errors="replace")))
        device = self._nvml.devices()[0]
        self._write(
            kind="start",
            ready_s=server.ready_s,
            device=device.name,
            device_used_bytes=device.used_bytes,
            engine=server.engine,
            command=server.command,
            **found,
        )

    def end(self) -> None:
        for error in close_together([self.served]):
            raise error

    def ours(self, concurrency: int, *, per_chunk: bool = False) -> None:
        workload = dataclasses.replace(WORKLOAD, usage_per_chunk=per_chunk)
        with self._beside() as beside:
            run = run_closed_loop(
                self.served.server,
                workload,
                concurrency=concurrency,
                requests=REQUESTS[concurrency],
                fits=self._fits,
            )
        found = metrics.of_run(run)
        self._write(
            kind="load",
            client="ours, usage in every chunk" if per_chunk else "ours",
            concurrency=concurrency,
            requests=found.requests,
            failed=found.requests - found.succeeded,
            window_s=run.window_s,
            throughput=found.output_throughput,
            ttft_mean_ms=mean_ms(found.ttft_s),
            ttft_p99_ms=found.quantile("ttft", 0.99) * 1e3,
            tpot_mean_ms=mean_ms(found.tpot_s),
            tpot_median_ms=found.quantile("tpot", 0.5) * 1e3,
            client_cpu_share=run.client.cpu_share,
            client_lag_p99_ms=run.client.lag_p99_s * 1e3,
            problems=list(run.problems),
            **beside.told(run.window_s, found.output_tokens or 0),
        )

    def theirs(self, concurrency: int) -> None:
        server = self.served.server
        with tempfile.TemporaryDirectory() as directory:
            command = [
                *(sys.executable, "-m", "vllm.entrypoints.cli.main", "bench", "serve"),
                *("--backend", "openai", "--base-url", server.base_url, "--endpoint", "/v1/completions"),
                *("--model", server.model, "--tokenizer", self.model.weights),
                *("--dataset-name", "random", "--random-input-len", str(WORKLOAD.input_tokens)),
                *("--random-output-len", str(WORKLOAD.output_tokens), "--ignore-eos", "--temperature", "0"),
                *("--num-prompts", str(REQUESTS[concurrency]), "--max-concurrency", str(concurrency)),
                *("--num-warmups", str(min(concurrency, 64)), "--seed", str(time.time_ns() % 2**31)),
                *("--save-result", "--result-dir", directory, "--result-filename", "result.json"),
            ]
            environment = os.environ | {"OPENAI_API_KEY": server.api_key or ""}
            with self._beside() as beside:
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                self._write(
                    kind="failed",
                    client="vllm bench serve",
                    concurrency=concurrency,
                    output=done.stderr[-2000:],
                )
                return
            result = json.loads((Path(directory) / "result.json").read_text())
        window = result["duration"]
        self._write(
            kind="load",
            client="vllm bench serve",
            concurrency=concurrency,
            requests=REQUESTS[concurrency],
            failed=REQUESTS[concurrency] - result["completed"],
            window_s=window,
            throughput=result["output_throughput"],
            ttft_mean_ms=result["mean_ttft_ms"],
            ttft_p99_ms=result["p99_ttft_ms"],
            tpot_mean_ms=result["mean_tpot_ms"],
            tpot_median_ms=result["median_tpot_ms"],
            input_tokens=result["total_input_tokens"] / max(1, result["completed"]),
            # Imports and preparation are in the processor times and in the energy: only power's peak compares.
            **beside.told(None, 0),
        )

    def _beside(self) -> Beside:
        root = self.served.server.root_pid
        assert root is not None
        return Beside(self._nvml, root)

    def _write(self, **fields: Any) -> None:
        line = {"server": self.label, "at": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()), **fields}
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        sys.stdout.write(json.dumps(line)[:400] + "\n")
        sys.stdout.flush()


class Beside:
    """Power of the device and processor time of the server's processes while a load runs.

    The processor share is that of the busiest second: a load's warm-up and preparation are not in it.
    """

    def __init__(self, nvml: gpu.Nvml, root: int) -> None:
        assert isinstance(nvml, gpu.RealNvml), "no NVIDIA device"
        self._sampler = Sampler(nvml, nvml.devices()[0].index)
        self._root = root
        self._busiest: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Beside:
        self._sampler.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._sampler.__exit__()

    def told(self, window_s: float | None, tokens: int) -> dict[str, Any]:
        """The last ``window_s`` seconds of the telemetry (all of it: None), and the busiest processes."""
        telemetry = self._sampler.telemetry
        if window_s is not None:
            begin = telemetry.readings[-1].time_s - window_s
            telemetry = Telemetry(
                tuple(one for one in telemetry.readings if one.time_s >= begin), telemetry.cpu_s
            )
        energy = telemetry.energy_j if len(telemetry.readings) > 1 else None
        return {
            "server_busiest_processes": sorted(
                (round(share, 2) for share in self._busiest.values()), reverse=True
            )[:6],
            "energy_j": energy,
            "mean_power_w": telemetry.mean_power_w if energy else None,
            "j_per_token": energy / tokens if energy and tokens else None,
            "sm_clock_mhz": telemetry.sm_clock_mhz,
            "lowered": telemetry.lowered_share,
            "sampler_cpu_share": self._sampler.telemetry.cpu_share,
        }

    def _watch(self) -> None:
        before: dict[int, float] = {}
        began = time.perf_counter()
        while not self._ended.wait(1.0):
            now = {pid: processes.cpu_s([pid]) for pid in processes.tree(self._root)}
            ended = time.perf_counter()
            for pid, used in now.items():
                if pid in before:
                    share = (used - before[pid]) / (ended - began)
                    self._busiest[pid] = max(share, self._busiest.get(pid, 0.0))
            before, began = now, ended


def mean_ms(seconds: Sequence[float]) -> float:
    return sum(seconds) / len(seconds) * 1e3


def clients(bench: Bench, concurrencies: Sequence[int]) -> None:
    """Ours and theirs in ABBA order at each concurrency; the whole is one server's life."""
    bench.start()
    for concurrency in concurrencies:
        bench.ours(concurrency)
        bench.theirs(concurrency)
        bench.theirs(concurrency)
        bench.ours(concurrency)
        bench.ours(concurrency, per_chunk=True)


def starts(bench: Bench, concurrencies: Sequence[int], times: int) -> None:
    """The same row started ``times`` times: loads of each start."""
    for _ in range(times):
        bench.start()
        for concurrency in concurrencies:
            for _ in range(2):
                bench.ours(concurrency)
        bench.end()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--row", default="distill")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", action="append", choices=["clients", "starts"], required=True)
    parser.add_argument(
        "--concurrency", type=int, action="append", choices=list(REQUESTS), help="default: all"
    )
    given = parser.parse_args(arguments)
    concurrencies = given.concurrency or list(REQUESTS)
    given.out.mkdir(parents=True, exist_ok=True)
    model = load_catalog(given.models).profile("gpu").models[given.row]
    lines = given.out / "clients.jsonl"
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory)
        for part in given.part:
            bench = Bench(model, part, state / part, lines)
            try:
                if part == "clients":
                    clients(bench, concurrencies)
                else:
                    starts(bench, concurrencies, 2)
            finally:
                bench.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
