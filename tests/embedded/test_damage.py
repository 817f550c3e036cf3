"""The planted regression: the same seed and amount always give the same weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from pytest_llmperf.embedded.damage import STAMP, damage, damaged_bytes


def _weights(dtype: str = "BF16") -> bytes:
    """A safetensors file of two tensors with a metadata entry."""
    values = (np.sin(np.arange(512, dtype=np.float64)) * 0.05).astype(np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    header = {
        "__metadata__": {"format": "pt"},
        "b.weight": {"dtype": dtype, "shape": [16, 16], "data_offsets": [0, 512]},
        "a.weight": {"dtype": dtype, "shape": [256], "data_offsets": [512, 1024]},
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bits


def _values(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    size = int.from_bytes(data[:8], "little")
    return (np.frombuffer(data[8 + size :], "<u2").astype(np.uint32) << 16).view(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(_weights())
    (folder / "config.json").write_text("{}")
    return folder


def test_the_damage_is_the_same_on_every_machine() -> None:
    digest = hashlib.sha256(damaged_bytes(_weights(), 1, 0.2)).hexdigest()
    assert digest[:16] == "fc240045ceeec0da"


def test_another_seed_or_amount_gives_other_weights() -> None:
    copies = {damaged_bytes(_weights(), seed, amount) for seed in (1, 2) for amount in (0.1, 0.2)}
    assert len(copies) == 4


def test_no_amount_changes_nothing() -> None:
    assert damaged_bytes(_weights(), 1, 0.0) == _weights()


def test_the_noise_has_the_stated_size() -> None:
    before, after = _values(_weights()), _values(damaged_bytes(_weights(), 3, 0.5))
    assert np.std(after - before) == pytest.approx(0.5 * np.std(before), rel=0.1)


def test_the_copy_has_every_file_and_says_how_it_was_made(model: Path, tmp_path: Path) -> None:
    copy = damage(model, tmp_path / "out" / "copy", 1, 0.1)
    assert {p.name for p in copy.iterdir()} == {"config.json", "model.safetensors", STAMP}
    assert json.loads((copy / STAMP).read_text())["amount"] == 0.1


def test_asking_again_writes_nothing_and_leaves_no_temporary_directory(model: Path, tmp_path: Path) -> None:
    copy = damage(model, tmp_path / "copy", 1, 0.1)
    before = (copy / "model.safetensors").stat().st_mtime_ns
    damage(model, tmp_path / "copy", 1, 0.1)
    assert (copy / "model.safetensors").stat().st_mtime_ns == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "model"]


def test_another_amount_replaces_the_copy(model: Path, tmp_path: Path) -> None:
    first = (damage(model, tmp_path / "copy", 1, 0.1) / "model.safetensors").read_bytes()
    assert (damage(model, tmp_path / "copy", 1, 0.2) / "model.safetensors").read_bytes() != first


def test_a_directory_that_is_no_copy_is_never_overwritten(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="no damaged copy"):
        damage(model, other, 1, 0.1)
    assert (other / "thesis.txt").read_text() == "years of work"


def test_weights_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match="only BF16"):
        damaged_bytes(_weights("F32"), 1, 0.1)
