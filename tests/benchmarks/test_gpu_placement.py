"""The script that compares a row with itself on two GPUs, with GPUs and an engine that are played."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gpu_placement
from pytest_llmperf.serving import gpu
from pytest_llmperf.serving.gpu import GIB, Device

ENGINE_PYTHON = Path(__file__).resolve().parents[1] / "fakes" / "engine_python"


class Gpus:
    """So many H100s."""

    def __init__(self, count: int) -> None:
        self.count = count

    def devices(self) -> list[Device]:
        return [
            Device(index, "NVIDIA H100 80GB HBM3", f"GPU-{index}", 80 * GIB, GIB, 79 * GIB)
            for index in range(self.count)
        ]

    def processes(self) -> list[gpu.GpuProcess]:
        return []

    def questions(self, index: int) -> dict[str, object]:
        del index
        return {}


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMPERF_GPU_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def command(tmp_path: Path) -> list[str]:
    options = "--starts 3 --rounds 36 --concurrency 2 --length 16 --argument=--enforce-eager"
    return [
        *("--weights", "embedded:tiny-distill", "--out", str(tmp_path / "out")),
        *("--engine-python", str(ENGINE_PYTHON)),
        *options.split(),
    ]


def test_the_table_has_the_time_of_both_starts_and_every_ratio_of_the_exchanged_sides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "open_nvml", lambda: Gpus(2))
    assert gpu_placement.main(command(tmp_path)) in (0, 1), "how quick a played engine is says nothing"
    table = (tmp_path / "out" / "placement.md").read_text(encoding="utf-8").splitlines()
    assert table[4].startswith("| both starts at once over one (")
    assert len(table) == 5 + 2 * len(gpu_placement.METRICS)
    whole = json.loads((tmp_path / "out" / "placement.json").read_text(encoding="utf-8"))
    ours, theirs = (server["every_gpus"] for server in whole["servers"])
    assert [*ours[0], *ours[1]] in (["GPU-0", "GPU-1"], ["GPU-1", "GPU-0"])
    assert theirs == [ours[1], ours[0], ours[1]]
    # The played engine writes its tokens at one instant, so that no time between them is known.
    judged = [gate for gate in whole["gates"] if not gate["metric"].startswith("TPOT")]
    assert {gate["n"] for gate in judged} == {3}


def test_one_gpu_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "open_nvml", lambda: Gpus(1))
    assert gpu_placement.main(command(tmp_path)) == 1
    assert 'placement = "apart" needs 2 GPUs of one kind' in capsys.readouterr().err
