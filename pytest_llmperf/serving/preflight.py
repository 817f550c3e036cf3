"""Refuse a start that can't succeed before it costs minutes: one line, the number seen and the one needed.

Each check raises `StartError`; `check` runs them, the cheapest first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.registry import engine_named
from pytest_llmperf.errors import StartError
from pytest_llmperf.serving import gpu, placement
from pytest_llmperf.serving.engine_probe import EngineProbeError, engine_version
from pytest_llmperf.serving.spec import ServerSpec
from pytest_llmperf.serving.weights import Weights

MIB = 1024**2
LOG_BYTES = 64 * MIB
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
) -> None:
    """Run every check. Raises `StartError` for the first that fails."""
    environment = {**(os.environ if environment is None else environment), **spec.environment}
    check_length(model, weights, environment)
    check_quantization(model, weights)
    check_disk(model, state_root)
    check_engine(model, spec.argv[0])
    if model.gpus > 0:
        check_gpu_memory(model, spec.argv, nvml or gpu.open_nvml(), environment)


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


def check_engine(model: Model, python: str) -> None:
    """The engine is installed in the interpreter that shall run it."""
    engine = engine_named(model.engine)
    if not engine.distributions:
        return
    try:
        found = engine_version(python, engine.distributions)
    except EngineProbeError as error:
        raise StartError(
            f"{model.name}: the engine's interpreter {python} can't be used: {error}",
            remedy="correct engine_python in models.toml: the Python of the environment that has the engine",
        ) from None
    if found is None:
        raise StartError(f"{model.name}: {python} has no {engine}", remedy=engine.install)


def gpu_memory_needed(model: Model, argv: Sequence[str], device: gpu.Device) -> int:
    """Bytes of ``device`` that the server may fill."""
    fraction = engine_named(model.engine).gpu_memory_fraction(argv)
    return model.memory_needed_bytes or int(fraction * device.total_bytes)


def check_gpu_memory(
    model: Model, argv: Sequence[str], nvml: gpu.Nvml, environment: Mapping[str, str]
) -> None:
    """Enough devices are visible in the server's ``environment``, and each that will be used has enough memory free."""
    devices = placement.devices_for(environment, nvml)
    if len(devices) < model.gpus:
        setting = environment.get(placement.VISIBLE)
        hint = f" ({placement.VISIBLE}={setting})" if setting is not None else ""
        raise StartError(
            f"{model.name}: {model.gpus} GPU(s) are needed, {len(devices)} are visible{hint}",
            remedy="run on a machine with enough GPUs, or choose the profile for the CPU: "
            "--llmperf-profile embedded",
        )
    for device in devices[: model.gpus]:
        needed = gpu_memory_needed(model, argv, device)
        if device.free_bytes < needed:
            holders = (
                gpu.describe_holders(placement.OnlyOn(nvml, placement.Placement((device,))))
                or "no process that NVML names"
            )
            raise StartError(
                f"{model.name}: GPU {device.label} ({device.name}) has {device.free_bytes / gpu.GIB:.1f} GiB "
                f"free of {device.total_bytes / gpu.GIB:.1f} GiB, {needed / gpu.GIB:.1f} GiB are needed",
                remedy=f"end what holds it ({holders}), or lower gpu_memory_fraction in models.toml",
            )
