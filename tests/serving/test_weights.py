"""Where weights are found, how large they are, and what is said when they are not there."""

from __future__ import annotations

import json
import socket
import struct
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.config.models import Damage, Model
from pytest_llmperf.errors import StartError
from pytest_llmperf.serving import weights

ROW = Model(name="distill", profile="gpu", weights="org/name", revision="abc")
DUMMY = replace(ROW, arguments=("--load-format", "dummy"))


def safetensors(path: Path, sizes: dict[str, int]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, size in sizes.items():
        header[name] = {"dtype": "U8", "shape": [size], "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "tiny"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"max_position_embeddings": 2048}))
    safetensors(directory / "model.safetensors", {"a": 100, "b": 20})
    return directory


def in_cache(tmp_path: Path, directory: Path, revision: str = "abc") -> dict[str, str]:
    """The hub's cache with the directory in it; the environment that points there."""
    snapshot = tmp_path / "hub" / "models--org--name" / "snapshots" / revision
    snapshot.parent.mkdir(parents=True)
    directory.rename(snapshot)
    return {"HF_HUB_CACHE": str(tmp_path / "hub")}


def test_a_directory_is_found_measured_and_read(directory: Path) -> None:
    found = weights.resolve(replace(ROW, weights=str(directory)))
    assert found.source == found.directory == directory
    assert (found.total_bytes, found.max_model_len, found.quantization) == (120, 2048, None)


def test_the_size_is_that_of_the_tensors_and_not_of_the_headers(directory: Path) -> None:
    safetensors(directory / "model-2.safetensors", {"c": 1000})
    assert weights.weights_bytes(directory) == 1120


def test_a_file_that_is_no_safetensors_counts_as_it_is(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    assert weights.weights_bytes(directory) == 42


def test_a_hub_id_in_the_cache_is_local_and_keeps_its_name(tmp_path: Path, directory: Path) -> None:
    found = weights.resolve(ROW, environment=in_cache(tmp_path, directory))
    assert (found.source, found.revision, found.is_local, found.total_bytes) == ("org/name", "abc", True, 120)


def test_a_branch_is_looked_up_in_the_cache(tmp_path: Path, directory: Path) -> None:
    environment = in_cache(tmp_path, directory, "0123")
    references = tmp_path / "hub" / "models--org--name" / "refs"
    references.mkdir()
    (references / "main").write_text("0123\n")
    assert weights.resolve(replace(ROW, revision=None), environment=environment).is_local


def test_a_hub_id_that_is_absent_is_left_to_the_engine_when_the_hub_may_be_asked(tmp_path: Path) -> None:
    found = weights.resolve(ROW, environment={"HF_HOME": str(tmp_path)})
    assert (found.source, found.is_local, found.total_bytes) == ("org/name", False, None)


@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_hub_id_that_is_absent_offline_is_refused_with_the_command_that_fetches_it(
    tmp_path: Path, switch: str
) -> None:
    with pytest.raises(StartError, match="hf download org/name --revision abc") as caught:
        weights.resolve(ROW, environment={"HF_HOME": str(tmp_path), switch: "1"})
    assert switch in caught.value.cause


def test_a_hub_id_whose_files_are_there_only_in_part_is_refused_offline(
    tmp_path: Path, directory: Path
) -> None:
    index = {"weight_map": {"a": "model.safetensors", "z": "model-9.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    environment = in_cache(tmp_path, directory) | {"HF_HUB_OFFLINE": "1"}
    with pytest.raises(StartError, match="only in part"):
        weights.resolve(ROW, environment=environment)


def test_dummy_weights_need_no_tensors(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    with pytest.raises(StartError, match="holds no weights"):
        weights.resolve(replace(ROW, weights=str(directory)))
    assert weights.resolve(replace(DUMMY, weights=str(directory))).total_bytes == 0


def test_a_missing_directory_is_named() -> None:
    with pytest.raises(StartError, match="there is no directory /no/such/model"):
        weights.resolve(replace(ROW, weights="/no/such/model"))


def test_a_missing_embedded_model_is_named() -> None:
    with pytest.raises(StartError, match="embedded/weights/none"):
        weights.resolve(replace(ROW, weights="embedded:none"))


def test_a_shard_that_the_index_names_and_that_is_absent_is_named(directory: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "z": "model-9.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(StartError, match=r"model-9\.safetensors"):
        weights.resolve(replace(ROW, weights=str(directory)))


def test_damaged_weights_lie_in_the_cache_and_depend_on_seed_and_amount(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pytest_llmperf.embedded.damage as room

    def spoil(source: Path, target: Path, seed: int, amount: float) -> None:
        target.mkdir(exist_ok=True)
        for path in source.iterdir():
            (target / path.name).write_bytes(path.read_bytes())

    monkeypatch.setattr(room, "damage", spoil)
    row = replace(ROW, weights=str(directory), damage=Damage(seed=1, amount=0.1))
    found = weights.resolve(row, cache_root=tmp_path / "cache")
    assert found.directory is not None
    assert found.directory.parent == tmp_path / "cache" / "damaged"
    assert weights.resolve(row, cache_root=tmp_path / "cache") == found
    other = replace(row, damage=Damage(seed=2, amount=0.1))
    assert weights.resolve(other, cache_root=tmp_path / "cache").directory != found.directory


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({}, None),
        ({"max_position_embeddings": 4096}, 4096),
        ({"max_position_embeddings": 4096, "seq_length": 2048}, 2048),
        ({"text_config": {"max_position_embeddings": 1024}}, 1024),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 2.0}}, 8192),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 32768,
                },
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 4096,
                "rope_scaling": {"rope_type": "linear", "factor": float("nan")},
            },
            4096,
        ),
        (
            {
                "max_position_embeddings": 4096,
                "rope_scaling": {"type": "yarn", "factor": 2, "original_max_position_embeddings": "4k"},
            },
            8192,
        ),
    ],
)
def test_the_longest_context_is_the_one_that_the_engine_derives(
    config: dict[str, Any], length: int | None
) -> None:
    assert weights.max_length(config) == length


def test_the_quantisation_is_read_wherever_it_stands() -> None:
    assert weights.quantization({}) is None
    assert weights.quantization({"quantization_config": {"quant_method": "AWQ"}}) == "awq"
    nested = {"text_config": {"quantization_config": {"quant_method": "gptq"}}}
    assert weights.quantization(nested) == "gptq"


def test_weights_that_are_no_directory_are_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    short = Path(tempfile.mkdtemp())
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short / "s"))
        for path, why in (
            (tmp_path / "file", "is a file, a directory is needed"),
            (short / "s", "is a file, a directory is needed"),
            (tmp_path / ("x" * 300), "File name too long"),
            (tmp_path / "file" / "within", "there is no directory"),
        ):
            with pytest.raises(StartError) as raised:
                weights.resolve(Model("m", "p", str(path)))
            assert why in raised.value.cause
            assert raised.value.remedy
        (short / "s").unlink()
    short.rmdir()


def test_a_name_that_is_too_long_for_a_file_may_still_be_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="hub"):
        weights.resolve(
            Model("m", "p", "o/" + "x" * 300),
            environment={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        )
