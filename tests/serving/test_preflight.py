"""Starts that can't succeed are refused in one line with both numbers, before anything runs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import StartError
from pytest_llmperf.serving import preflight
from pytest_llmperf.serving.command import spec_for
from pytest_llmperf.serving.gpu import GIB, Device, GpuProcess
from pytest_llmperf.serving.weights import Weights

ROW = Model(name="distill", profile="gpu", weights="org/name")
ENGINE_PYTHON = Path(__file__).resolve().parents[1] / "fakes" / "engine_python"


def plain(**fields: object) -> Weights:
    return replace(Weights("org/name", Path("/here")), **fields)  # type: ignore[arg-type]


class Gpus:
    """Devices with this much free memory each, in GiB, of 80."""

    def __init__(self, *free_gib: float) -> None:
        self.free = free_gib

    def devices(self) -> list[Device]:
        return [
            Device(
                index,
                "NVIDIA H100 80GB HBM3",
                f"GPU-{index}",
                80 * GIB,
                int((80 - free) * GIB),
                int(free * GIB),
            )
            for index, free in enumerate(self.free)
        ]

    def processes(self) -> list[GpuProcess]:
        return [GpuProcess(999_999_999, 50 * GIB, 0)]


def test_a_length_over_the_models_own_is_refused_with_both_numbers() -> None:
    row = replace(ROW, max_model_len=8192)
    with pytest.raises(StartError, match=r"max_model_len = 8192 is more than .* maximum of 4096 tokens"):
        preflight.check_length(row, plain(max_model_len=4096), {})
    preflight.check_length(row, plain(max_model_len=8192), {})
    preflight.check_length(row, plain(), {})
    preflight.check_length(row, plain(max_model_len=4096), {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"})


def test_a_quantisation_that_the_weights_do_not_have_is_refused() -> None:
    with pytest.raises(StartError, match="'awq', but org/name holds plain weights"):
        preflight.check_quantization(replace(ROW, quantization="awq"), plain())
    with pytest.raises(StartError, match="'awq', but org/name is quantised with gptq"):
        preflight.check_quantization(replace(ROW, quantization="awq"), plain(quantization="gptq"))


@pytest.mark.parametrize(
    ("asked", "own"), [("fp8", None), ("awq_marlin", "awq"), ("awq", "awq"), (None, "awq")]
)
def test_a_quantisation_that_can_work_is_not_refused(asked: str | None, own: str | None) -> None:
    preflight.check_quantization(replace(ROW, quantization=asked), plain(quantization=own))


def test_weights_that_are_not_here_yet_are_not_judged() -> None:
    preflight.check_quantization(replace(ROW, quantization="awq"), Weights("org/name", None))


def test_a_full_disk_is_refused_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"\d+ MiB are free in .*, 1048576000000 MiB are needed"):
        preflight.check_disk(ROW, tmp_path / "not" / "there", needed_bytes=10**12 * 2**20 * 1048576 // 10**6)
    preflight.check_disk(ROW, tmp_path)


def test_the_engine_of_another_interpreter_is_found_without_importing_it() -> None:
    preflight.check_engine(ROW, str(ENGINE_PYTHON))


def test_an_interpreter_without_the_engine_is_refused(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(StartError, match="has no vLLM"):
        preflight.check_engine(ROW, str(bare))


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/false"])
def test_an_interpreter_that_cannot_run_is_refused(python: str) -> None:
    with pytest.raises(StartError, match=f"{python} can't be used"):
        preflight.check_engine(ROW, python)


def test_too_little_free_memory_is_refused_with_both_numbers_and_the_holder() -> None:
    with pytest.raises(StartError) as caught:
        preflight.check_gpu_memory(ROW, [], Gpus(30.0), {})
    assert "GPU 0 (NVIDIA H100 80GB HBM3) has 30.0 GiB free of 80.0 GiB, 72.0 GiB are needed" in str(
        caught.value
    )
    assert "pid 999999999 holds 50.0 GiB" in caught.value.remedy


def test_the_need_is_the_rows_number_or_the_share_that_the_engine_will_take() -> None:
    preflight.check_gpu_memory(ROW, ["--gpu-memory-utilization", "0.3"], Gpus(30.0), {})
    preflight.check_gpu_memory(
        ROW, ["--gpu-memory-utilization=0.9", "--gpu_memory_utilization=0.3"], Gpus(30.0), {}
    )
    preflight.check_gpu_memory(replace(ROW, memory_needed_bytes=8 * GIB), [], Gpus(30.0), {})


def test_too_few_devices_are_refused_with_both_numbers() -> None:
    with pytest.raises(StartError, match=r"2 GPU\(s\) are needed, 1 are visible"):
        preflight.check_gpu_memory(replace(ROW, gpus=2), [], Gpus(80.0), {})


def test_a_row_is_checked_on_the_devices_that_it_sees_and_on_no_others() -> None:
    preflight.check_gpu_memory(ROW, [], Gpus(30.0, 80.0), {"CUDA_VISIBLE_DEVICES": "1"})
    with pytest.raises(StartError, match=r"GPU 0 .* has 30.0 GiB free of 80.0 GiB, 72.0 GiB are needed"):
        preflight.check_gpu_memory(ROW, [], Gpus(30.0, 80.0), {"CUDA_VISIBLE_DEVICES": "GPU-0"})
    with pytest.raises(StartError, match=r"1 GPU\(s\) are needed, 0 are visible \(CUDA_VISIBLE_DEVICES=-1\)"):
        preflight.check_gpu_memory(ROW, [], Gpus(30.0, 80.0), {"CUDA_VISIBLE_DEVICES": "-1"})


def test_a_row_for_the_cpu_asks_no_gpu(tmp_path: Path) -> None:
    row = replace(ROW, gpus=0, engine_python=str(ENGINE_PYTHON))
    spec = spec_for(row, tmp_path)
    preflight.check(spec, row, plain(), state_root=tmp_path, nvml=Gpus())


def test_the_first_check_that_fails_ends_the_matter(tmp_path: Path) -> None:
    row = replace(ROW, engine_python=str(ENGINE_PYTHON))
    with pytest.raises(StartError, match="0 are visible"):
        preflight.check(spec_for(row, tmp_path), row, plain(), state_root=tmp_path, nvml=Gpus())
