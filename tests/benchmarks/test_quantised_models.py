"""Checkpoints without tensors: rows that the catalogue reads, and the shapes that the formats ask for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import quantised_models
from pytest_llmperf.config.catalog import load_catalog
from pytest_llmperf.load.roofline import FORMATS

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models")
    quantised_models.write(out)
    return out


def test_every_build_is_a_row_and_has_a_lean_twin(written: Path) -> None:
    rows = load_catalog(written / "models.toml").profile("gpu").models
    builds = {"distill", "math", "distill-fp8", "distill-int8", "distill-awq"}
    assert set(rows) == builds | {f"{name}-lean" for name in builds}
    assert all(row.weights == rows[f"{name}-lean"].weights for name, row in rows.items() if name in builds)
    assert "--enforce-eager" in rows["math-lean"].arguments
    assert "--enforce-eager" not in rows["math"].arguments


def test_a_lean_row_has_cache_for_one_request_of_full_length(written: Path) -> None:
    row = load_catalog(written / "models.toml").profile("gpu").models["distill-lean"]
    bytes_ = int(row.arguments[row.arguments.index("--kv-cache-memory-bytes") + 1])
    # 28 layers, 2 heads of 128 values, keys and values of 2 bytes each.
    assert 4096 * 28_672 <= bytes_ < 1.1 * 4096 * 28_672


@pytest.mark.parametrize("name", quantised_models.QUANTISED)
def test_a_build_names_its_quantisation_as_its_checkpoints_do(written: Path, name: str) -> None:
    config = json.loads((written / f"distill-{name}" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] in ("fp8", "compressed-tensors", "awq")
    assert name in FORMATS, "the name that claims give it"
    group = config["quantization_config"].get("group_size", 1)
    assert config["hidden_size"] % group == config["intermediate_size"] % group == 0


def test_a_tiny_one_needs_no_gpu(tmp_path: Path) -> None:
    quantised_models.write(tmp_path, tiny=True)
    rows = load_catalog(tmp_path / "models.toml").profile("gpu").models
    assert {row.gpus for row in rows.values()} == {0}
