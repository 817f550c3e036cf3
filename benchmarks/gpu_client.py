"""Our client against ``vllm bench serve`` on one GPU, on the same server, interleaved; what the server can do at most;
and one row started twice.

    python benchmarks/dummy_models.py --out DIR
    python -m benchmarks.gpu_client --models DIR/models.toml --out OUT --seconds 520

*clients*: in each round, at each concurrency ours, theirs, theirs, ours (64 tokens in, 128 out, ``/v1/completions``,
``ignore_eos``, greedy, no ``min_tokens``: the same fields in the same body). Their process stays, so that its imports
are in no load's time. *capacity*: the same row with four API processes, and our client: what is the limit where more
streams no longer bring more tokens? *starts*: the same row once more, the two servers in turn: what two starts differ
by, beside what two loads on one start do. Power and energy of the device and processor time of every process of the
server are sampled beside every load. Writes a line of JSON for each start and load, the most important first: when
``seconds`` are over, the rest is left out. ``python -m benchmarks.gpu_tables OUT/clients.jsonl`` makes tables of them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.beside import Beside, limit_of
from pytest_llmperf.config.catalog import load_catalog
from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.base import Milestones
from pytest_llmperf.load import results
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Fits, Workload
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import close_together
from pytest_llmperf.serving import gpu

REQUESTS = {1: 12, 64: 512, 256: 768, 512: 1024}
WORKLOAD = Workload(
    input_tokens=64,
    output_tokens=128,
    chat=False,
    usage_per_chunk=False,
    # The body that theirs sends: min_tokens would have vLLM mask the end of text at every step.
    sampling={"temperature": 0, "repetition_penalty": 1.0, "min_tokens": 0},
)
PARTS = ("clients", "capacity", "starts")


class OutOfTime(Exception):
    """The time is up: the remaining measurements are left out."""


class Theirs:
    """``vllm bench serve``, as a process that stays."""

    def __init__(self, log: Path) -> None:
        self._tokenizer = ""
        self._log = log.open("w", encoding="utf-8")
        self._process: subprocess.Popen[str] | None = None

    def start(self, served: Served) -> None:
        """Begin to import; ``wait`` waits until that is done."""
        self._tokenizer = str(served.weights.source)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.vllm_bench", "--stay"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {"OPENAI_API_KEY": served.server.api_key or "", "HF_HUB_OFFLINE": "1"},
        )

    def wait(self) -> None:
        """Until it has imported."""
        self._answer()

    def load(self, base_url: str, model: str, concurrency: int, requests: int) -> dict[str, Any]:
        """Its own result file. Raises ``RuntimeError`` with its last words."""
        with tempfile.TemporaryDirectory() as directory:
            arguments = [
                *("--backend", "openai", "--base-url", base_url, "--endpoint", "/v1/completions"),
                *("--model", model, "--tokenizer", self._tokenizer, "--dataset-name", "random"),
                *("--random-input-len", str(WORKLOAD.input_tokens)),
                *("--random-output-len", str(WORKLOAD.output_tokens), "--ignore-eos", "--temperature", "0"),
                *("--num-prompts", str(requests), "--max-concurrency", str(concurrency)),
                *("--num-warmups", str(concurrency), "--seed", str(time.time_ns() % 2**31)),
                *("--save-result", "--result-dir", directory, "--result-filename", "result.json"),
            ]
            assert self._process is not None
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(arguments) + "\n")
            self._process.stdin.flush()
            if error := self._answer():
                raise RuntimeError(error)
            found: dict[str, Any] = json.loads((Path(directory) / "result.json").read_text())
            return found

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _answer(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return str(json.loads(line)["error"]) if line else "vllm bench serve: its process has ended"


class Bench:
    """One server, and the loads on it."""

    def __init__(self, model: Model, label: str, state: Path, lines: Path, ends_at: float) -> None:
        self.model, self.label, self._lines, self._ends_at = model, label, lines, ends_at
        self.served = Served(model, state / label, print)
        self._fits: Fits = {}
        self._nvml = gpu.open_nvml()
        self._longest: dict[tuple[str, int], float] = {}

    def start(self) -> None:
        server = self.served.server
        assert server.log is not None
        found = dataclasses.asdict(self.served.milestones() or Milestones())
        devices = self._nvml.devices()
        self._write(
            kind="start",
            ready_s=server.ready_s,
            device=devices[0].name if devices else "CPU",
            device_used_bytes=devices[0].used_bytes if devices else None,
            engine=server.engine,
            command=server.command,
            **found,
        )

    def ours(self, concurrency: int, requests: int, *, min_tokens: bool = False) -> None:
        sampling = {"temperature": 0} if min_tokens else WORKLOAD.sampling
        name = "ours, with min_tokens" if min_tokens else "ours"
        with self._within(name, concurrency), self._beside() as beside:
            run = run_load(
                self.served.server,
                dataclasses.replace(WORKLOAD, sampling=sampling),
                ClosedLoop(concurrency, requests),
                SendOptions(fits=self._fits),
            )
        found = results.of_run(run)
        self._write(
            kind="load",
            client=name,
            concurrency=concurrency,
            requests=found.requests,
            failed=found.requests - found.succeeded,
            window_s=run.window_s,
            throughput=found.value("throughput"),
            ttft_mean_ms=mean_ms(found.samples["ttft"]),
            ttft_p99_ms=found.quantile("ttft", 0.99) * 1e3,
            tpot_mean_ms=mean_ms(found.samples["tpot"]),
            tpot_median_ms=found.quantile("tpot", 0.5) * 1e3,
            client_cpu_share=run.client.cpu_share,
            client_lag_p99_ms=run.client.lag_p99_s * 1e3,
            problems=list(run.problems),
            roofline_share=self._share_of_limit(found.value("throughput"), concurrency),
            **beside.told((run.start_s, run.end_s), found.output_tokens or 0),
        )

    def theirs(self, client: Theirs, concurrency: int, requests: int) -> None:
        server = self.served.server
        with self._within("theirs", concurrency), self._beside() as beside:
            try:
                result = client.load(server.base_url, server.model, concurrency, requests)
            except RuntimeError as error:
                self._write(
                    kind="failed", client="vllm bench serve", concurrency=concurrency, output=str(error)
                )
                return
        self._write(
            kind="load",
            client="vllm bench serve",
            concurrency=concurrency,
            requests=requests,
            failed=requests - result["completed"],
            window_s=result["duration"],
            throughput=result["output_throughput"],
            ttft_mean_ms=result["mean_ttft_ms"],
            ttft_p99_ms=result["p99_ttft_ms"],
            tpot_mean_ms=result["mean_tpot_ms"],
            tpot_median_ms=result["median_tpot_ms"],
            input_tokens=result["total_input_tokens"] / max(1, result["completed"]),
            # Preparation and warm-up are in its energy, so that it is not told.
            **beside.told(None, 0),
        )

    @contextlib.contextmanager
    def _within(self, client: str, concurrency: int) -> Iterator[None]:
        """Raises :class:`OutOfTime` instead of a load that would not end in time, as far as that is known."""
        began = time.monotonic()
        if began + self._longest.get((client, concurrency), 5.0) > self._ends_at:
            raise OutOfTime(f"{self.label}: no time for {client} at {concurrency}")
        yield
        took = time.monotonic() - began
        self._longest[client, concurrency] = max(took, self._longest.get((client, concurrency), 0.0))

    def _beside(self) -> Beside:
        root = self.served.server.root_pid
        assert root is not None
        return Beside(self._nvml, root)

    def _share_of_limit(self, throughput: float | None, concurrency: int) -> float | None:
        context = WORKLOAD.input_tokens + WORKLOAD.output_tokens // 2
        limit = limit_of(Path(self.served.weights.source), self._nvml, concurrency, context)
        return None if limit is None or throughput is None else throughput / limit

    def _write(self, **fields: Any) -> None:
        line = {"server": self.label, "at": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()), **fields}
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line)[:400], flush=True)


def mean_ms(seconds: Sequence[float]) -> float:
    return sum(seconds) / len(seconds) * 1e3


def clients(bench: Bench, theirs: Theirs, sizes: dict[int, int], rounds: int) -> None:
    """Ours and theirs in ABBA order at each concurrency, and once what ``min_tokens`` costs."""
    for number in range(rounds):
        for concurrency, requests in sizes.items():
            bench.ours(concurrency, requests)
            bench.theirs(theirs, concurrency, requests)
            bench.theirs(theirs, concurrency, requests)
            bench.ours(concurrency, requests)
            if number == 0 and concurrency <= 64:
                bench.ours(concurrency, requests, min_tokens=True)


def variants(model: Model, side_by_side: bool) -> dict[str, Model]:
    """The row as it is, with four API processes, and once more.

    Side by side the second and third start at the same time, and must not measure how much memory is free meanwhile.
    """
    again = dataclasses.replace(model, name=f"{model.name}-again")
    if side_by_side:
        own = (*model.arguments, "--kv-cache-memory-bytes", str(8 * gpu.GIB))
        again = dataclasses.replace(again, arguments=own, gpu_memory_fraction=0.2)
    several = (*again.arguments, "--api-server-count", "4")
    many = dataclasses.replace(again, name=f"{model.name}-api4", arguments=several)
    return {"clients": model, "capacity": many, "starts": again}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--profile", default="gpu")
    parser.add_argument("--row", default="distill")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all of them")
    parser.add_argument("--concurrency", type=int, action="append", help="default: 1, 64, 256 and 512")
    parser.add_argument("--requests", type=int, help="of each load (default: by concurrency)")
    parser.add_argument(
        "--rounds", type=int, default=2, help="of ABBA on the first server, and of the others"
    )
    parser.add_argument("--seconds", type=float, default=520.0, help="begin no load that would end later")
    given = parser.parse_args(arguments)
    parts = given.part or list(PARTS)
    sizes = {c: given.requests or REQUESTS.get(c, 2 * c) for c in (given.concurrency or sorted(REQUESTS))}
    ends_at = time.monotonic() + given.seconds
    given.out.mkdir(parents=True, exist_ok=True)
    model = load_catalog(given.models).profile(given.profile).models[given.row]
    lines = given.out / "clients.jsonl"
    with tempfile.TemporaryDirectory() as directory:
        rows = variants(model, side_by_side=bool(model.gpus))
        benches = {part: Bench(rows[part], part, Path(directory), lines, ends_at) for part in parts}
        theirs = Theirs(given.out / "vllm-bench.log")
        try:
            measure(benches, theirs, sizes, given.rounds)
        except OutOfTime as over:
            print(f"out of time: {over}", flush=True)
        finally:
            theirs.end()
            for label, bench in benches.items():
                if (log := bench.served._log()) is not None and log.exists():
                    (given.out / f"server-{label}.log").write_bytes(log.read_bytes())
            for error in close_together([bench.served for bench in benches.values()]):
                print(error, flush=True)
    return 0


def measure(benches: dict[str, Bench], theirs: Theirs, sizes: dict[int, int], rounds: int) -> None:
    """The first server alone, so that it can profile its memory; the others at the same time after it."""
    order = [benches[part] for part in PARTS if part in benches]
    order[0].start()
    if "clients" in benches:
        theirs.start(benches["clients"].served)
    with ThreadPoolExecutor(max(1, len(order) - 1)) as pool:
        list(pool.map(Bench.start, order[1:]))
    if "clients" in benches:
        theirs.wait()
        clients(benches["clients"], theirs, sizes, 1)
    if "capacity" in benches:
        for concurrency, requests in sizes.items():
            if concurrency > 1 or len(sizes) == 1:
                benches["capacity"].ours(concurrency, requests)
                benches["capacity"].ours(concurrency, requests)
    if "starts" in benches and "clients" in benches:
        for concurrency, requests in list(sizes.items())[:2]:
            for part in ("clients", "starts", "starts", "clients"):
                benches[part].ours(concurrency, requests)
    if "clients" in benches:
        clients(benches["clients"], theirs, sizes, rounds - 1)


if __name__ == "__main__":
    sys.exit(main())
