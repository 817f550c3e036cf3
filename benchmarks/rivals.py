"""Commands that ask each load tool for the same load, and readers of what it reports.

Every tool gets the local tokenizer directory, no network, 64 tokens in and 128 out, ``ignore_eos``, completions by
streaming, and its defaults for everything else; a warm-up of one wave where it has one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INPUT, OUTPUT = 64, 128


@dataclass(frozen=True)
class Ask:
    """One load, as all tools are asked for it."""

    base_url: str
    model: str
    tokenizer: Path
    concurrency: int
    requests: int
    out: Path
    """An empty directory of this run's own."""


@dataclass(frozen=True)
class Said:
    """Figures that a tool reports, in milliseconds and tokens per second; None: not reported."""

    requests: int
    ttft_mean_ms: float
    ttft_p99_ms: float
    itl_mean_ms: float
    itl_p99_ms: float | None
    throughput: float


@dataclass(frozen=True)
class Tool:
    """A load tool: its command for a load, and how to read its result."""

    name: str
    command: Callable[[Path, Ask], list[str]]
    """(its interpreter or virtual environment's python, the load) → command line."""
    read: Callable[[Ask], Said]
    environment: Mapping[str, str] = field(default_factory=dict)


def _ours(python: Path, ask: Ask) -> list[str]:
    return [
        *(str(python), "-m", "benchmarks.our_load", ask.base_url, ask.model),
        *(str(ask.concurrency), str(ask.requests), str(ask.out / "ours.json")),
    ]


def _read_ours(ask: Ask) -> Said:
    return Said(**json.loads((ask.out / "ours.json").read_text()))


def _plain(python: Path, ask: Ask) -> list[str]:
    return [
        *(str(python), "-m", "benchmarks.plain_reader", ask.base_url, ask.model),
        *(str(ask.concurrency), str(ask.requests), str(ask.out / "plain.json")),
    ]


def _read_plain(ask: Ask) -> Said:
    return Said(**json.loads((ask.out / "plain.json").read_text()))


def _vllm(python: Path, ask: Ask) -> list[str]:
    return [
        *(str(python), "-m", "benchmarks.vllm_bench", "--backend", "openai", "--base-url", ask.base_url),
        *("--endpoint", "/v1/completions", "--model", ask.model, "--tokenizer", str(ask.tokenizer)),
        *("--dataset-name", "random", "--random-input-len", str(INPUT), "--random-output-len", str(OUTPUT)),
        *("--ignore-eos", "--num-prompts", str(ask.requests), "--max-concurrency", str(ask.concurrency)),
        *("--num-warmups", str(ask.concurrency)),
        *("--save-result", "--result-dir", str(ask.out), "--result-filename", "vllm.json"),
    ]


def _read_vllm(ask: Ask) -> Said:
    found = json.loads((ask.out / "vllm.json").read_text())
    return Said(
        requests=found["completed"],
        ttft_mean_ms=found["mean_ttft_ms"],
        ttft_p99_ms=found["p99_ttft_ms"],
        itl_mean_ms=found["mean_itl_ms"],
        itl_p99_ms=found["p99_itl_ms"],
        throughput=found["output_throughput"],
    )


def _guidellm(python: Path, ask: Ask) -> list[str]:
    return [
        *(str(python.with_name("guidellm")), "run"),
        *("--backend", f"kind=openai_http,target={ask.base_url},model={ask.model}"),
        *("--profile", f"kind=concurrent,streams={ask.concurrency}"),
        *("--constraint", f"kind=max_requests,count={ask.requests}"),
        *("--tokenizer", f"kind=huggingface_auto,model={ask.tokenizer}"),
        *("--data", f"kind=synthetic_text,prompt_tokens={INPUT},output_tokens={OUTPUT}"),
        *("--output", f"kind=json,path={ask.out / 'guidellm.json'}", "--disable-console"),
    ]


def _read_guidellm(ask: Ask) -> Said:
    found = json.loads((ask.out / "guidellm.json").read_text())["benchmarks"][0]["metrics"]

    def of(name: str) -> Mapping[str, Any]:
        successful: Mapping[str, Any] = found[name]["successful"]
        return successful

    return Said(
        requests=of("time_to_first_token_ms")["count"],
        ttft_mean_ms=of("time_to_first_token_ms")["mean"],
        ttft_p99_ms=of("time_to_first_token_ms")["percentiles"]["p99"],
        itl_mean_ms=of("inter_token_latency_ms")["mean"],
        itl_p99_ms=of("inter_token_latency_ms")["percentiles"]["p99"],
        throughput=of("output_tokens_per_second")["mean"],
    )


def _aiperf(python: Path, ask: Ask) -> list[str]:
    return [
        *(str(python.with_name("aiperf")), "profile", "-m", ask.model, "--url", ask.base_url),
        *("--endpoint-type", "completions", "--streaming", "--tokenizer", str(ask.tokenizer)),
        *("--concurrency", str(ask.concurrency), "--request-count", str(ask.requests)),
        *("--warmup-request-count", str(ask.concurrency)),
        *("--prompt-input-tokens-mean", str(INPUT), "--prompt-output-tokens-mean", str(OUTPUT)),
        *("--extra-inputs", "ignore_eos:true", "--use-server-token-count"),
        *("--no-gpu-telemetry", "--no-server-metrics", "--output-artifact-dir", str(ask.out)),
    ]


def _read_aiperf(ask: Ask) -> Said:
    found = json.loads((ask.out / "profile_export_aiperf.json").read_text())
    return Said(
        requests=int(found["request_count"]["avg"]),
        ttft_mean_ms=found["time_to_first_token"]["avg"],
        ttft_p99_ms=found["time_to_first_token"]["p99"],
        itl_mean_ms=found["inter_token_latency"]["avg"],
        itl_p99_ms=found["inter_token_latency"]["p99"],
        throughput=found["output_token_throughput"]["avg"],
    )


OFFLINE = {"HF_HUB_OFFLINE": "1"}
TOOLS = {
    tool.name: tool
    for tool in (
        Tool("ours", _ours, _read_ours),
        Tool("plain reader", _plain, _read_plain),
        Tool("vllm bench serve", _vllm, _read_vllm, OFFLINE),
        Tool("guidellm", _guidellm, _read_guidellm, OFFLINE | {"GUIDELLM__LOGGING__DISABLED": "1"}),
        # Offline it takes a directory for the name of a repository (ai-dynamo/aiperf, pull request 1339).
        Tool("aiperf", _aiperf, _read_aiperf),
    )
}
OURS = Path(sys.executable)
