"""Refuse a start that can't succeed before it costs minutes: one line, the number seen and the one needed.

Each check raises `StartError`; `check` runs them, the cheapest first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.vllm_arguments import value_of
from pytest_llmperf.errors import StartError
from pytest_llmperf.serving import gpu, ports, processes
from pytest_llmperf.serving.command import ServerSpec
from pytest_llmperf.serving.engine_probe import EngineProbeError, EngineVersion, engine_version
from pytest_llmperf.serving.weights import Weights

MIB = 1024**2
LOG_BYTES = 64 * MIB
# vLLM's own default of --gpu-memory-utilization.
DEFAULT_FRACTION = 0.9
# Only weights that were quantised beforehand can be served so; fp8, bitsandbytes … quantise plain ones.
_NEEDS_QUANTISED = {
    "awq",
    "awq_marlin",
    "gptq",
    "gptq_marlin",
    "auto_round",
    "compressed-tensors",
    "modelopt",
}
_FAMILIES = {"awq_marlin": "awq", "gptq_marlin": "gptq", "gptq_bitblas": "gptq", "marlin": "gptq"}


def check(
    spec: ServerSpec,
    model: Model,
    weights: Weights,
    *,
    state_root: Path,
    nvml: gpu.Nvml | None = None,
    environment: Mapping[str, str] | None = None,
) -> EngineVersion:
    """Every check; returns the engine that will be started. Raises `StartError` for the first that fails."""
    environment = {**(os.environ if environment is None else environment), **spec.environment}
    check_length(model, weights, environment)
    check_quantization(model, weights)
    check_disk(model, state_root)
    check_port(model, spec.port)
    engine = check_engine(model, spec.argv[0])
    if model.gpus > 0:
        check_gpu_memory(model, spec.argv, nvml or gpu.open_nvml())
    return engine


def check_length(model: Model, weights: Weights, environment: Mapping[str, str]) -> None:
    """The row's maximum length against the model's own."""
    asked, own = model.max_model_len, weights.max_model_len
    allowed_anyway = environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1"
    if asked is not None and own is not None and asked > own and not allowed_anyway:
        raise StartError(
            f"{model.name}: max_model_len = {asked} is more than the model's own maximum of {own} tokens",
            remedy=f"lower max_model_len in models.toml to at most {own}, or leave it out",
        )


def check_quantization(model: Model, weights: Weights) -> None:
    """The row's quantisation against what the weights say of themselves."""
    asked, own = model.quantization, weights.quantization
    if asked is None or not weights.is_local:
        return
    if own is None and asked in _NEEDS_QUANTISED:
        raise StartError(
            f"{model.name}: quantization = {asked!r}, but {model.weights} holds plain weights "
            "(no quantization_config in config.json)",
            remedy=f"leave quantization out, or give weights that were quantised with {asked}",
        )
    known = _NEEDS_QUANTISED | set(_FAMILIES)
    if own in known and asked in known and _FAMILIES.get(own, own) != _FAMILIES.get(asked, asked):
        raise StartError(
            f"{model.name}: quantization = {asked!r}, but {model.weights} is quantised with {own}",
            remedy=f"set quantization to {own!r} or leave it out",
        )


def check_disk(model: Model, state_root: Path, needed_bytes: int = LOG_BYTES) -> None:
    """Room for the log."""
    directory = next(
        path for path in [state_root.absolute(), *state_root.absolute().parents] if path.exists()
    )
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise StartError(
            f"{model.name}: {free / MIB:.0f} MiB are free in {directory}, "
            f"{needed_bytes / MIB:.0f} MiB are needed for the server's log",
            remedy="free some space there, or choose another directory with --basetemp",
        )


def check_port(model: Model, port: int | None) -> None:
    """A port that the row insists on."""
    if port is None or ports.is_free(port):
        return
    holder = processes.listener(port)
    by = f" by pid {holder.pid} ({holder.name})" if holder else ""
    raise StartError(
        f"{model.name}: port {port} is taken{by}",
        remedy="end that process, or leave --port out of the row's arguments: a free one is found then",
    )


def check_engine(model: Model, python: str) -> EngineVersion:
    """The engine is installed in the interpreter that shall run it."""
    try:
        found = engine_version(python, model.engine)
    except EngineProbeError as error:
        raise StartError(
            f"{model.name}: the engine's interpreter {python} can't be used: {error}",
            remedy="correct engine_python in models.toml: the Python of the environment that has the engine",
        ) from None
    if found is None and model.engine == "transformers":
        raise StartError(
            f"{model.name}: {python} has no transformers",
            remedy="install it there: pip install 'transformers[serving]' accelerate; "
            "or set engine_python in models.toml",
        )
    if found is None:
        raise StartError(
            f"{model.name}: {python} has no vLLM",
            remedy="install it there: pip install 'pytest-llmperf[vllm]' on a GPU machine, "
            "python -m pytest_llmperf.serving.cpu_engine without one; or set engine_python in models.toml",
        )
    return found


def check_gpu_memory(model: Model, argv: Sequence[str], nvml: gpu.Nvml) -> None:
    """Enough devices, and enough free memory on each of those that will be used."""
    devices = nvml.devices()
    if len(devices) < model.gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = f" (CUDA_VISIBLE_DEVICES={visible})" if visible is not None else ""
        raise StartError(
            f"{model.name}: {model.gpus} GPU(s) are needed, {len(devices)} are visible{hint}",
            remedy="run on a machine with enough GPUs, or choose the profile for the CPU: "
            "--llmperf-profile embedded",
        )
    fraction = float(value_of(argv, "--gpu-memory-utilization") or DEFAULT_FRACTION)
    for device in devices[: model.gpus]:
        needed = model.memory_needed_bytes or int(fraction * device.total_bytes)
        if device.free_bytes < needed:
            holders = gpu.describe_holders(nvml) or "nobody that NVML names"
            raise StartError(
                f"{model.name}: GPU {device.index} ({device.name}) has {device.free_bytes / gpu.GIB:.1f} GiB "
                f"free of {device.total_bytes / gpu.GIB:.1f} GiB, {needed / gpu.GIB:.1f} GiB are needed",
                remedy=f"end what holds it ({holders}), or lower gpu_memory_fraction in models.toml",
            )
