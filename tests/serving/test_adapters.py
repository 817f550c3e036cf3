"""Adapters: what of one is needed before a server starts, and how its server is told to load it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.base import ServedBeside
from pytest_llmperf.errors import StartError
from pytest_llmperf.serving.adapters import adapter_directory, remarks, served_beside
from pytest_llmperf.serving.command import spec_for
from pytest_llmperf.serving.content import Content, content_of
from pytest_llmperf.serving.spec import ServerSpec
from tests.lora import write_adapter

BASE = Model(name="base", profile="p", weights="org/base")
CONFIG = {"hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path / "weights"


def guest(adapter: Path | str, name: str = "tuned") -> Model:
    return Model(name=name, profile="p", weights="org/base", adapter_of="base", adapter=str(adapter))


ALIAS = Model(name="hot", profile="p", weights="org/base", alias_of="base")


def test_an_adapter_is_served_with_the_largest_rank_of_its_modules(tmp_path: Path, weights: Path) -> None:
    own = write_adapter(tmp_path / "a", weights, rank=4, rank_pattern={"v_proj": 24})
    assert served_beside([guest(own), ALIAS]) == (ServedBeside("tuned", own, 24), ServedBeside("hot"))


def without(name: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).unlink()


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_text(content)


def config(**keys: object) -> Callable[[Path], object]:
    return text("adapter_config.json", json.dumps({"peft_type": "LORA", "r": 8, **keys}))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no configuration": (without("adapter_config.json"), "holds no adapter_config.json"),
    "no weights": (without("adapter_model.safetensors"), "holds no weights (adapter_model.safetensors, "),
    "cut weights": (text("adapter_model.safetensors", "x"), "adapter_model.safetensors"),
    "no JSON": (text("adapter_config.json", "{"), "is no JSON object"),
    "a list": (text("adapter_config.json", "[1]"), "is no JSON object"),
    "another kind": (config(peft_type="IA3"), "has peft_type = 'IA3', engines serve \"LORA\""),
    "no rank": (config(r=None), "has the rank None, a positive integer is needed"),
    "rank zero": (config(r=0), "has the rank 0"),
    "a rank of another type": (config(r="8"), "has the rank '8'"),
    "a rank that is true": (config(r=True), "has the rank True"),
    "a pattern of another type": (config(rank_pattern={"q_proj": 1.5}), "has the rank 1.5"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_adapter_that_can_not_be_loaded_starts_nothing(tmp_path: Path, weights: Path, name: str) -> None:
    spoil, says = BROKEN[name]
    spoil(write_adapter(tmp_path / "a", weights))
    with pytest.raises(StartError) as raised:
        served_beside([guest(tmp_path / "a")])
    assert str(raised.value).startswith(f"tuned: adapter = '{tmp_path / 'a'}': ")
    assert says in str(raised.value)


def test_a_directory_that_is_not_there_or_holds_a_model_is_told(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(StartError, match=r"there is no directory .*/nowhere"):
        adapter_directory(guest(tmp_path / "nowhere"))
    with pytest.raises(StartError, match="holds a model, not an adapter"):
        adapter_directory(guest(weights))


def test_a_hub_id_is_looked_for_in_the_cache_alone(tmp_path: Path, weights: Path) -> None:
    environment = {"HF_HUB_CACHE": str(tmp_path)}
    with pytest.raises(StartError, match="is not in the Hugging Face cache") as raised:
        adapter_directory(guest("org/adapter"), environment)
    assert "hf download org/adapter" in str(raised.value)
    snapshot = tmp_path / "models--org--adapter" / "snapshots" / "abc"
    write_adapter(snapshot, weights)
    (tmp_path / "models--org--adapter" / "refs").mkdir()
    (tmp_path / "models--org--adapter" / "refs" / "main").write_text("abc")
    assert adapter_directory(guest("org/adapter"), environment) == snapshot


@pytest.mark.parametrize(
    ("trained_on", "told"), [("org/base", 0), ("/elsewhere/Base", 0), ("org/other", 1), (None, 0)]
)
def test_an_adapter_of_another_base_is_told(
    tmp_path: Path, weights: Path, trained_on: str | None, told: int
) -> None:
    own = write_adapter(tmp_path / "a", weights, base_model_name_or_path=trained_on)
    found = remarks(guest(own), own)
    assert len(found) == told
    assert not found or "trained on org/other, and it is served on org/base" in found[0]


@pytest.mark.parametrize(
    ("rank", "most"), [(1, "1"), (2, "8"), (8, "8"), (9, "16"), (257, "320"), (600, "600")]
)
def test_vllm_is_told_the_names_the_adapters_and_a_rank_that_it_takes(rank: int, most: str) -> None:
    beside = [
        ServedBeside("tuned", Path("/a b"), rank),
        ServedBeside("hot"),
        ServedBeside("small", Path("/c"), 1),
    ]
    spec = spec_for(BASE, Path("/w"), beside=beside)
    argv = spec.argv
    assert argv[argv.index("--served-model-name") : argv.index("--served-model-name") + 3] == (
        "--served-model-name",
        "base",
        "hot",
    )
    assert argv[argv.index("--enable-lora") :] == (
        *("--enable-lora", "--max-loras", "2", "--max-lora-rank", most, "--lora-modules"),
        *('{"name": "tuned", "path": "/a b"}', '{"name": "small", "path": "/c"}'),
    )
    assert spec.served_beside == ("tuned", "hot", "small")
    assert ServerSpec.from_json(spec.to_json()) == spec
    assert "--enable-lora" not in spec_for(BASE, Path("/w"), beside=beside[1:2]).argv


def test_what_a_row_says_itself_comes_last_and_wins() -> None:
    row = Model(name="base", profile="p", weights="org/base", arguments=("--max-loras", "4"))
    argv = spec_for(row, Path("/w"), beside=[ServedBeside("tuned", Path("/a"), 8)]).argv
    assert argv[-2:] == ("--max-loras", "4")


def test_the_content_of_an_adapter_is_its_own_and_not_its_bases(tmp_path: Path, weights: Path) -> None:
    (weights / "model.safetensors").write_bytes(b"1")
    own = write_adapter(tmp_path / "a", weights)
    before = content_of(BASE, weights, {"tuned": own})
    assert before.key == before.of_guest("hot").key == content_of(BASE, weights).key
    assert before.of_guest("tuned").key != before.key
    write_adapter(own, weights, scale=0.1)
    after = content_of(BASE, weights, {"tuned": own})
    assert after.key == before.key
    assert after.of_guest("tuned").key != before.of_guest("tuned").key
    assert after.changed_since(before) == ["the adapter tuned"]
    assert Content(None).of_guest("tuned").key is None
