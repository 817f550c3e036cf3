"""What measures published claims on a GPU and on a CPU, without either: which starts it makes, and of which rows."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import cpu_claims, gpu_claims, quantised_models
from benchmarks.claims_script import Script
from contrib.claims.claim import Build
from contrib.claims.record import Device, Start
from pytest_llmperf.config.catalog import load_catalog
from pytest_llmperf.stats import order_statistics


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """One whose time is up."""
    return Script(tmp_path, 0.0, gpu_claims.TINY_WORKLOAD)


def test_starts_alone_are_as_many_of_each_side_as_bounds_need_and_no_side_leads(script: Script) -> None:
    plan = gpu_claims.missing_starts(script)
    assert Counter(plan) == {"distill": order_statistics.least_n(0.5), "math": 5}
    first = [plan[at] for at in range(0, 10, 2)]
    assert abs(first.count("distill") - first.count("math")) == 1


def test_no_start_is_begun_when_the_time_is_up(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    gpu_claims.starts_alone(script, {}, gpu_claims.missing_starts(script), script.out)
    assert "time is up: 10 of 10 starts were not made" in capsys.readouterr().out


def started(row: str, *, alone: bool = True, ready_s: float = 1.0) -> Start:
    return Start(row=row, build=gpu_claims.build_of(row), alone=alone, ready_s=ready_s)


def test_an_earlier_record_is_gone_on_with_and_its_starts_count(script: Script, tmp_path: Path) -> None:
    for row, alone in (("distill", False), ("distill", True), ("math", True), ("distill-int8", True)):
        script.add(started(row, alone=alone))
    again = Script(tmp_path / "again", 0.0, gpu_claims.TINY_WORKLOAD, tmp_path / "claims-record.json")
    assert Counter(gpu_claims.missing_starts(again)) == {"distill": 4, "math": 4}
    (tmp_path / "again").mkdir()
    again.add(started("math", ready_s=2.0))
    kept = json.loads((tmp_path / "again" / "claims-record.json").read_text())["servers"]
    assert [one["ready_s"] for one in kept] == [1.0, 1.0, 1.0, 1.0, 2.0]


def test_starts_on_another_device_are_not_joined(script: Script, tmp_path: Path) -> None:
    h100 = Device(device_class="H100", name="NVIDIA H100 80GB HBM3")
    script.record = dataclasses.replace(script.record, device=h100)
    script.add(started("distill"))
    with pytest.raises(
        SystemExit, match=r"the record is of NVIDIA H100 80GB HBM3, this is .* not one sample"
    ):
        Script(tmp_path, 0.0, gpu_claims.TINY_WORKLOAD, tmp_path / "claims-record.json")


@pytest.mark.parametrize(
    ("row", "build"),
    [
        ("distill", Build("distill")),
        ("math-lean", Build("math")),
        ("distill-awq", Build("distill", "awq")),
        ("distill-int8-lean", Build("distill", "int8")),
    ],
)
def test_a_row_and_its_lean_twin_are_one_build(row: str, build: Build) -> None:
    assert gpu_claims.build_of(row) == build


def test_a_row_on_a_cpu_is_the_same_model_and_asks_for_no_gpu(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    quantised_models.write(tmp_path)
    rows = load_catalog(tmp_path / "models.toml").profile("gpu").models
    for name in ("distill-lean", "math-lean", "distill-int8-lean"):
        there, here = rows[name], cpu_claims.on_cpu(rows[name])
        assert (here.gpus, here.gpu_memory_fraction) == (0, None)
        assert (here.weights, here.dtype, here.max_model_len) == (
            there.weights,
            there.dtype,
            there.max_model_len,
        )
        assert here.arguments[: len(there.arguments)] == there.arguments


@pytest.mark.vllm
@pytest.mark.slow
def test_a_server_started_on_an_id_of_the_hub_calls_its_model_by_all_of_it(
    script: Script, tmp_path: Path
) -> None:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("no vLLM here: install it")
    quantised_models.write(tmp_path, tiny=True)
    model = load_catalog(tmp_path / "models.toml").profile("gpu").models["distill-lean"]
    gpu_claims.name_when_unnamed(script, dataclasses.replace(model, ready_timeout_s=240.0), tmp_path)
    assert script.record.failed == ()
    (names,) = script.record.served_ids
    assert names.ids == ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",)
