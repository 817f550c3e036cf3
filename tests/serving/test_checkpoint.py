"""A model's files are looked at before the start: each fault is named with its file, and no sound layout is refused."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import StartError
from pytest_llmperf.serving import checkpoint, weights

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 10,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 100\n"
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"
TOKENIZER = json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}})


def shapes(**changed: list[int]) -> dict[str, list[int]]:
    found = {"model.embed_tokens.weight": [10, 8], "model.norm.weight": [8]}
    for layer in (0, 1):
        name = f"model.layers.{layer}."
        found |= {
            f"{name}self_attn.q_proj.weight": [8, 8],
            f"{name}self_attn.k_proj.weight": [4, 8],
            f"{name}self_attn.v_proj.weight": [4, 8],
            f"{name}self_attn.o_proj.weight": [8, 8],
            f"{name}mlp.gate_proj.weight": [16, 8],
            f"{name}mlp.down_proj.weight": [8, 16],
        }
    return found | {name.replace("__", "."): shape for name, shape in changed.items()}


def write(path: Path, tensors: dict[str, list[int]], dtype: str = "BF16", width: int = 2) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in tensors.items():
        size = width
        for number in shape:
            size *= number
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


def configure(directory: Path, **changed: object) -> None:
    (directory / "config.json").write_text(json.dumps(CONFIG | changed))


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A row whose weights are sound."""
    directory = tmp_path / "tiny"
    directory.mkdir()
    configure(directory)
    (directory / "tokenizer.json").write_text(TOKENIZER)
    (directory / "tokenizer_config.json").write_text("{}")
    write(directory / "model.safetensors", shapes())
    return Model(name="distill", profile="gpu", weights=str(directory))


def look(model: Model) -> None:
    checkpoint.check(model, weights.resolve(model))


def put(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_bytes(content)


def put_json(name: str, content: object) -> Callable[[Path], object]:
    return put(name, json.dumps(content).encode())


def cut(directory: Path) -> None:
    whole = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(whole[:-10])


def lengthen(directory: Path) -> None:
    with (directory / "model.safetensors").open("ab") as file:
        file.write(b"more")


def index_of(places: object) -> Callable[[Path], object]:
    return put_json("model.safetensors.index.json", {"weight_map": places})


def dangle(name: str) -> Callable[[Path], object]:
    def change(directory: Path) -> None:
        (directory / name).unlink()
        (directory / name).symlink_to("../blobs/0123")

    return change


def only_gguf(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "model.gguf")


def without_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()


def one_of_three(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "model-00001-of-00003.safetensors")


def twice(directory: Path) -> None:
    write(directory / "model-00001-of-00001.safetensors", shapes())


def adapter(directory: Path) -> None:
    (directory / "config.json").unlink()
    put_json("adapter_config.json", {"base_model_name_or_path": "org/base"})(directory)


def without_layer_1(directory: Path) -> None:
    kept = {name: shape for name, shape in shapes().items() if ".1." not in name}
    write(directory / "model.safetensors", kept)


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def config(**changed: object) -> Callable[[Path], object]:
    return lambda directory: configure(directory, **changed)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty weights": (put("model.safetensors", b""), "model.safetensors is empty"),
    "a pointer of LFS": (put("model.safetensors", LFS), "model.safetensors is a pointer of Git LFS"),
    "a web page": (put("model.safetensors", b"\n" + PAGE), "model.safetensors is a web page"),
    "an error message": (put("model.safetensors", b'{"error":"Not found"}'), "is the error message of a server"),
    "seven bytes": (put("model.safetensors", b"1234567"), "has 7 bytes, too few"),
    "zeros": (put("model.safetensors", bytes(5000)), "begins with zeros: it was not fetched to its end"),
    "noise": (put("model.safetensors", b"\xff" * 5000), "is no safetensors file"),
    "a pickle": (put("model.safetensors", b"PK\x03\x04" + bytes(100)), "is a PyTorch file (pickle)"),
    "GGUF under another name": (put("model.safetensors", b"GGUF" + bytes(100)), "is a GGUF file"),
    "cut in its tensors": (cut, "model.safetensors is cut short"),
    "cut in its header": (put("model.safetensors", header(b"{}", 900)), "its header alone takes 908"),
    "longer than it says": (lengthen, "4 more than its header names"),
    "a header that is no JSON": (put("model.safetensors", header(b"{{{")), "its header is no JSON"),
    "a header that is a list": (put("model.safetensors", header(b"[1]")), "its header is no JSON object"),
    "an entry without a shape": (
        put("model.safetensors", header(b'{"a": {"dtype": "F32"}}')),
        "the entry of a in its header",
    ),
    "a shape that is not its bytes": (
        put("model.safetensors", header(b'{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}') + b"1234"),
        "4 bytes for [3] of F32, 12 are needed",
    ),
    "a link to nowhere": (dangle("model.safetensors"), "is a link to ../blobs/0123, which is not there"),
    "only GGUF": (only_gguf, "model.gguf is a GGUF file, and"),
    "a shard without the others": (one_of_three, "number 2 is missing"),
    "the same tensors twice": (twice, "holds model.embed_tokens.weight a second time"),
    "an index that is empty": (put("model.safetensors.index.json", b""), "index.json is empty"),
    "an index that is no JSON": (put("model.safetensors.index.json", b"{"), "index.json is no JSON"),
    "an index that is a list": (put_json("model.safetensors.index.json", [1]), "it holds a list, an object"),
    "an index without a map": (put_json("model.safetensors.index.json", {}), "weight_map is null"),
    "a map that is a list": (index_of(["a"]), "weight_map is a list"),
    "a map that is a text": (index_of("model.safetensors"), "weight_map is a text"),
    "a map that is empty": (index_of({}), "its weight_map is empty"),
    "a map to null": (index_of({"a": None}), "sends a to None"),
    "a map to a number": (index_of({"a": 1, "b": "model.safetensors"}), "sends a to 1"),
    "a map to a list": (index_of({"a": ["model.safetensors"]}), "sends a to ['model.safetensors']"),
    "a map out of the directory": (index_of({"a": "../tiny/model.safetensors"}), "the name of a file in the directory"),
    "a map to an absolute path": (index_of({"a": "/etc/hostname"}), "the name of a file in the directory"),
    "a map to a file that is not there": (index_of({"a": "model-9.safetensors"}), "the first is model-9.safetensors"),
    "no tokenizer": (without_tokenizer, "holds no tokenizer (tokenizer.json"),
    "an empty tokenizer": (put("tokenizer.json", b""), "tokenizer.json is empty"),
    "a tokenizer of LFS": (put("tokenizer.json", LFS), "tokenizer.json is a pointer of Git LFS"),
    "a tokenizer that is a page": (put("tokenizer.json", PAGE), "tokenizer.json is a web page"),
    "a tokenizer that is cut": (put("tokenizer.json", b'{"version": "1.0", "mo'), "tokenizer.json is no JSON"),
    "a tokenizer that is a list": (put_json("tokenizer.json", []), "tokenizer.json holds a list"),
    "settings of a tokenizer that are no JSON": (
        put("tokenizer_config.json", b"nope"),
        "tokenizer_config.json is no JSON",
    ),
    "a tokenizer model of LFS": (put("tokenizer.model", LFS), "tokenizer.model is a pointer of Git LFS"),
    "an empty config": (put("config.json", b""), "config.json is empty"),
    "a config of LFS": (put("config.json", LFS), "config.json is a pointer of Git LFS"),
    "a config that is no JSON": (put("config.json", b"{'a': 1}"), "config.json is no JSON"),
    "a config in UTF-16": (put("config.json", "{}".encode("utf-16")), "config.json is no text in UTF-8"),
    "a config that is a list": (put_json("config.json", [CONFIG]), "config.json holds a list, an object is needed"),
    "a config that is null": (put_json("config.json", None), "config.json holds null"),
    "a config of something else": (
        put_json("config.json", {"name": "x"}),
        "names neither model_type nor architectures",
    ),
    "architectures that are a text": (config(architectures="Q"), "architectures in"),
    "a config that is a link to nowhere": (dangle("config.json"), "config.json is a link to ../blobs/0123"),
    "an adapter": (adapter, "holds a LoRA adapter, not a model"),
    "another vocabulary": (config(vocab_size=12), "embed_tokens.weight is 10 × 8, by config.json it is 12 × 8"),
    "another width": (config(hidden_size=16), "by config.json it is 10 × 16"),
    "another number of groups": (config(num_key_value_heads=2), "k_proj.weight is 4 × 8, by config.json it is 8 × 8"),
    "another inner width": (config(intermediate_size=32), "gate_proj.weight is 16 × 8"),
    "more layers in the config": (config(num_hidden_layers=3), "2 of the 3 layers of config.json, layer 2 is missing"),
    "fewer layers in the config": (config(num_hidden_layers=1), "hold a layer 1, config.json names 1 layers"),
    "a layer that is missing": (without_layer_1, "1 of the 2 layers"),
    "no head": (config(tie_word_embeddings=False), "hold no lm_head.weight"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_in_one_line_before_the_start(
    model: Model, change: Callable[[Path], object], expected: str
) -> None:
    look(model)
    change(Path(model.weights))
    with pytest.raises(StartError) as caught:
        look(model)
    assert expected in caught.value.cause
    assert "\n" not in caught.value.cause
    assert caught.value.cause.startswith("distill: weights = ")
    assert caught.value.remedy


def untied(directory: Path) -> None:
    configure(directory, tie_word_embeddings=False)
    write(directory / "model.safetensors", shapes(lm_head__weight=[10, 8]))


def sharded(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    places: dict[str, str] = {}
    for number, part in enumerate(("embed", "norm.w", "layers.0", "layers.1"), start=1):
        name = f"model-{number:05d}-of-00004.safetensors"
        tensors = {tensor: shape for tensor, shape in shapes().items() if part in tensor}
        write(directory / name, tensors)
        places |= dict.fromkeys(tensors, name)
    index_of(places)(directory)


def consolidated_beside(directory: Path) -> None:
    sharded(directory)
    write(directory / "consolidated.safetensors", {"tok_embeddings.weight": [10, 8]})


def mistral(directory: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        (directory / name).unlink()
    put_json("params.json", {"dim": 8, "n_layers": 2})(directory)
    put_json("tekken.json", {})(directory)
    write(directory / "consolidated.safetensors", {"tok_embeddings.weight": [10, 8]})


def mistral_without_shards(directory: Path) -> None:
    index_of({"a": "model-00001-of-00001.safetensors"})(directory)
    (directory / "model.safetensors").unlink()
    write(directory / "consolidated.safetensors", {"tok_embeddings.weight": [10, 8]})


def awq(directory: Path) -> None:
    configure(directory, quantization_config={"quant_method": "awq"}, hidden_size=64)
    write(
        directory / "model.safetensors", {"model.embed_tokens.weight": [10, 8], "x.qweight": [8, 1]}, "I32", 4
    )


def fp8(directory: Path) -> None:
    configure(directory, hidden_size=64)
    write(directory / "model.safetensors", {"model.embed_tokens.weight": [10, 8]}, "F8_E4M3", 1)


def packed_by_another_file(directory: Path) -> None:
    configure(directory, hidden_size=64)
    put_json("quantize_config.json", {"bits": 4})(directory)


def another_family(directory: Path) -> None:
    configure(directory, model_type="gpt_neox", vocab_size=99, num_hidden_layers=50)


def multimodal(directory: Path) -> None:
    configure(directory, model_type="qwen2_5_vl", text_config={"hidden_size": 99}, hidden_size=77)


def pickled(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    put("pytorch_model.bin", b"PK\x03\x04" + bytes(100))(directory)
    put("training_args.bin", b"")(directory)


def index_left_behind(directory: Path) -> None:
    put_json("pytorch_model.bin.index.json", {"weight_map": {"a": "pytorch_model-1.bin"}})(directory)


def with_adapter(directory: Path) -> None:
    put_json("adapter_config.json", {})(directory)
    write(directory / "adapter_model.safetensors", {"base_model.model.layers.0.lora_A.weight": [2, 8]})


def sentencepiece(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    put("tokenizer.model", b"\n\x0e\n\x05<unk>")(directory)


def vocabulary_and_merges(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    put_json("vocab.json", {})(directory)
    put("merges.txt", b"#version: 0.2")(directory)


def own_tokenizer_code(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    put_json("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tok.Own", None]}})(directory)


def bytes_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    put_json("tokenizer_config.json", {"tokenizer_class": "ByT5Tokenizer"})(directory)
    put_json("tokenizer_config.json", {"tokenizer_class": "ByteTokenizer"})(directory)


def links(directory: Path) -> None:
    blob = directory.parent / "blob"
    (directory / "model.safetensors").rename(blob)
    (directory / "model.safetensors").symlink_to(blob)


def half_built_draft(directory: Path) -> None:
    configure(directory, num_nextn_predict_layers=1)
    write(directory / "model.safetensors", shapes(model__layers__2__enorm__weight=[8]))


def new_type_of_number(directory: Path) -> None:
    configure(directory, model_type="later")
    write(directory / "model.safetensors", {"a": [3]}, "E9M9_NEW", 7)


def scalars_and_empty_tensors(directory: Path) -> None:
    write(directory / "model.safetensors", shapes(scale=[], nothing=[0, 8]))


SOUND = (
    untied, sharded, consolidated_beside, mistral, mistral_without_shards, awq, fp8, packed_by_another_file,
    another_family, multimodal, pickled, index_left_behind, with_adapter, sentencepiece, vocabulary_and_merges,
    own_tokenizer_code, bytes_tokenizer, links, half_built_draft, new_type_of_number, scalars_and_empty_tensors,
)  # fmt: skip


@pytest.mark.parametrize("change", SOUND, ids=lambda change: change.__name__)
def test_a_sound_layout_is_not_refused(model: Model, change: Callable[[Path], object]) -> None:
    change(Path(model.weights))
    look(model)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--load-format", "dummy"),
        ("--load-format=tensorizer",),
        ("--load_format", "runai_streamer"),
        ("--load-format", "sharded_state"),
    ],
)
def test_formats_that_read_other_files_are_left_to_the_engine(
    model: Model, arguments: tuple[str, ...]
) -> None:
    (Path(model.weights) / "model.safetensors").write_bytes(b"")
    look(replace(model, arguments=arguments))


def test_what_arguments_name_elsewhere_is_not_looked_for_here(model: Model) -> None:
    directory = Path(model.weights)
    (directory / "tokenizer.json").unlink()
    look(replace(model, arguments=("--tokenizer", "org/other")))
    (directory / "config.json").unlink()
    look(replace(model, arguments=("--tokenizer", "org/other", "--hf-config-path", "/elsewhere")))


def test_shapes_of_a_configuration_that_arguments_change_are_not_compared(model: Model) -> None:
    configure(Path(model.weights), vocab_size=12)
    look(replace(model, arguments=("--hf-overrides", '{"vocab_size": 10}')))


def test_a_file_in_place_of_a_directory_is_named(model: Model, tmp_path: Path) -> None:
    for name, expected in (
        ("x.gguf", "is a GGUF file, a directory"),
        ("x.safetensors", "is a file, a directory is needed"),
    ):
        (tmp_path / name).write_bytes(b"GGUF")
        with pytest.raises(StartError, match=expected):
            look(replace(model, weights=str(tmp_path / name)))


def test_a_directory_above_the_model_is_told_where_the_model_is(model: Model, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"holds no config\.json") as caught:
        look(replace(model, weights=str(tmp_path)))
    assert model.weights in caught.value.remedy


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", ""])
def test_what_may_not_be_read_is_named(model: Model, name: str) -> None:
    target = Path(model.weights) / name
    target.chmod(0)
    code = textwrap.dedent(f"""
        import os
        from pathlib import Path
        from pytest_llmperf.config.models import Model
        from pytest_llmperf.errors import StartError
        from pytest_llmperf.serving import checkpoint, weights
        if os.getuid() == 0:
            os.setgid(65534); os.setuid(65534)
        model = Model(name="distill", profile="gpu", weights={model.weights!r})
        try:
            checkpoint.check(model, weights.resolve(model))
        except StartError as error:
            print(error.cause)
    """)
    for directory in (Path(model.weights), *Path(model.weights).parents):
        if directory != target and directory.stat().st_uid == os.getuid() and len(directory.parts) > 2:
            directory.chmod(directory.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    target.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert str(target) in done.stdout
    assert "read" in done.stdout


def test_a_hub_id_that_is_not_here_is_left_to_the_engine(model: Model) -> None:
    checkpoint.check(model, weights.Weights("org/name", None))


def test_weights_that_are_only_pickled_are_served_and_told(model: Model) -> None:
    assert checkpoint.remarks(model, weights.resolve(model)) == []
    pickled(Path(model.weights))
    [remark] = checkpoint.remarks(model, weights.resolve(model))
    assert "only as .bin files (pickle)" in remark
    assert "\n" not in remark


def test_the_embedded_pair_is_sound() -> None:
    for name in ("tiny-math", "tiny-distill"):
        look(Model(name="x", profile="embedded", weights=f"embedded:{name}"))
