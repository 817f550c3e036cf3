"""What measures published claims on a GPU and on a CPU, without either: which starts it makes, and of which rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks import cpu_claims, gpu_claims, quantised_models
from pytest_llmperf.catalog import load_catalog
from pytest_llmperf.stats import order_statistics


def test_starts_alone_are_as_many_of_each_side_as_bounds_need_and_no_side_leads() -> None:
    assert Counter(gpu_claims.FIVE_EACH) == {"distill": order_statistics.least_n(0.5), "math": 5}
    first = [gpu_claims.FIVE_EACH[at] for at in range(0, 10, 2)]
    assert abs(first.count("distill") - first.count("math")) == 1


def test_no_start_is_begun_when_the_time_is_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = gpu_claims.Script(tmp_path, 0.0, gpu_claims.TINY_WORKLOAD)
    gpu_claims.starts_alone(script, {}, gpu_claims.FIVE_EACH, tmp_path)
    assert "time is up: 10 of 10 starts were not made" in capsys.readouterr().out


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
