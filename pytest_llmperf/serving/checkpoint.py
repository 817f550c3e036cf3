"""Look at a model's files before an engine does: it would take a minute, and often not name the file.

What is checked is what every engine needs: files that can be read and are what their names say, an index whose files
are there, a configuration, a tokenizer. Shapes are compared with ``config.json`` only for architectures whose layout is
known here, and never for quantised weights, whose tensors are packed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.vllm_arguments import value_of
from pytest_llmperf.errors import StartError, first_line
from pytest_llmperf.json_values import Json, JsonObject
from pytest_llmperf.serving.safetensors_header import HeaderError, Tensor, read_header
from pytest_llmperf.serving.weights import FILE_FORMATS, Weights, quantization, weight_files, weights_index

_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model*",
    "*.tiktoken",
    "tiktoken.model",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece*.model",
    "*.spm",
    "*.vocab",
    "bpe.codes",
)
_JSON_LIMIT = 64 * 1024 * 1024
_AGAIN = "fetch it again"
_LFS_REMEDY = "fetch its content: `git lfs pull` in the clone, or `hf download`"

# Decoders with the layout of Llama, whose tensors have the names and shapes that `_expected_shapes` gives.
_LLAMA_LIKE = {"llama", "mistral", "qwen2", "qwen3"}
# Others whose embedding has vocab_size rows and whose layers are counted from 0.
_KNOWN_DECODERS = _LLAMA_LIKE | {
    "gemma",
    "gemma2",
    "granite",
    "mixtral",
    "olmo2",
    "phi3",
    "qwen2_moe",
    "qwen3_moe",
    "smollm3",
    "stablelm",
    "starcoder2",
}
_EMBEDDING = "model.embed_tokens.weight"
_LAYER = re.compile(r"^model\.layers\.(\d+)\.")
_PLAIN_TYPES = {"BF16", "F16", "F32", "F64"}
_QUANTISED_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")


@dataclass(frozen=True)
class Defect:
    """A reason why a model can't be served from these files."""

    what: str
    """Half a sentence that goes on from ``NAME: weights = '…': ``, and names the file."""
    remedy: str


def check(model: Model, weights: Weights) -> None:
    """Raises `StartError`, one line with the file, for files that no engine can serve; nothing for those elsewhere."""
    if weights.directory is None:
        return
    problem = next(problems(model, weights.directory), None)
    if problem is not None:
        raise StartError(f"{model.name}: weights = {model.weights!r}: {problem.what}", remedy=problem.remedy)


def remarks(model: Model, weights: Weights) -> list[str]:
    """Remarks on files that can be served, one line each."""
    if weights.directory is None or value_of(model.arguments, "--load-format") not in FILE_FORMATS:
        return []
    files, _ = weight_files(weights.directory)
    if not files or files[0].suffix not in (".bin", ".pt"):
        return []
    remark = (
        f"{model.name}: {weights.directory} holds weights only as {files[0].suffix} files (pickle): loading them can "
        "run code, and their sizes were not checked; convert them to safetensors"
    )
    return [remark]


def problems(model: Model, directory: Path) -> Iterator[Defect]:
    """Yield the problems of a model's directory, the most basic first."""
    arguments = model.arguments
    load_format = value_of(arguments, "--load-format")
    config: dict[str, Json] = {}
    if value_of(arguments, "--hf-config-path") is None:
        yield from _configuration_problems(directory, model)
        config = _json_object(directory / "config.json")
    yield from _tokenizer_problems(directory, config, model)
    if load_format not in FILE_FORMATS:
        return
    yield from _index_problems(directory)
    files, _ = weight_files(directory)
    if files and files[0].suffix == ".gguf" and model.quantization != "gguf":
        yield Defect(
            f"{files[0]} is a GGUF file, and {directory} holds no safetensors",
            "give a directory with safetensors; a server of llama.cpp that runs is tested with --llmperf-base-url",
        )
    for path in sorted(path for pattern in ("*.safetensors", "*.bin") for path in directory.glob(pattern)):
        if path.is_symlink() and not path.exists():
            yield Defect(
                f"{path} is a link to {path.readlink()}, which is not there", "fetch or copy the file itself"
            )
    tensors: dict[str, Tensor] = {}
    for file in files:
        problem, found = _file_problem(file)
        if problem is not None:
            yield problem
            return
        if weights_index(directory) is None and not file.name.startswith(("consolidated", "adapter_")):
            twice = next((name for name in found if name in tensors), None)
            if twice is not None:
                yield Defect(
                    f"{file} holds {twice} a second time, and no index says which file counts",
                    "keep one set of weights files in the directory, or the index that belongs to them",
                )
        tensors |= found
    if weights_index(directory) is None:
        yield from _shard_problems(files)
    if tensors and value_of(arguments, "--hf-overrides") is None:
        yield from _shape_problems(config, tensors, directory)


# -- configuration ---------------------------------------------------------------------------------------


def _configuration_problems(directory: Path, model: Model) -> Iterator[Defect]:
    file = directory / "config.json"
    if not os.path.lexists(file):
        # Mistral's own layout; `weights.resolve` has refused what has neither.
        return
    config, problem = _checked_object(file)
    if problem is not None:
        yield problem
        return
    mistral = (directory / "params.json").is_file() or value_of(
        model.arguments, "--config-format"
    ) == "mistral"
    if not mistral and not any(config.get(key) for key in ("model_type", "architectures", "auto_map")):
        yield Defect(
            f"{file} names neither model_type nor architectures, so no engine can tell what the model is",
            "fetch the model's own config.json",
        )
    architectures = config.get("architectures")
    named = isinstance(architectures, list) and all(isinstance(name, str) for name in architectures)
    if architectures is not None and not named:
        yield Defect(f"architectures in {file} is {_kind(architectures)}, a list of names is needed", _AGAIN)


def _checked_object(file: Path) -> tuple[dict[str, Json], Defect | None]:
    """Return the object in a JSON file, or an empty one and what is wrong with the file."""
    text, problem = _text(file)
    if problem is not None:
        return {}, problem
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        return {}, Defect(f"{file} is no JSON ({first_line(error)})", _AGAIN)
    if not isinstance(content, dict):
        return {}, Defect(f"{file} holds {_kind(content)}, an object is needed", _AGAIN)
    return content, None


# -- tokenizer ------------------------------------------------------------------------------------------


def _tokenizer_problems(directory: Path, config: JsonObject, model: Model) -> Iterator[Defect]:
    elsewhere = value_of(model.arguments, "--tokenizer")
    if elsewhere is not None or "--skip-tokenizer-init" in model.arguments:
        return
    about = directory / "tokenizer_config.json"
    for file in (directory / "tokenizer.json", about):
        if not os.path.lexists(file):
            continue
        _, problem = _checked_object(file)
        if problem is not None:
            yield problem
            return
    found = [path for pattern in _TOKENIZERS for path in directory.glob(pattern)]
    for path in found:
        if problem := _content_problem(path):
            yield problem
            return
    own_code = "auto_map" in _json_object(about) or "auto_map" in config
    # Tokenizers of bytes need no file.
    by_bytes = any(
        kind in str(_json_object(about).get("tokenizer_class")) for kind in ("Byte", "Canine", "Perceiver")
    )
    if not found and not own_code and not by_bytes:
        yield Defect(
            f"{directory} holds no tokenizer (tokenizer.json, tokenizer.model, vocab.json and merges.txt, tekken.json)",
            "copy the model's tokenizer files there, or name another one with --tokenizer in arguments",
        )


# -- weights --------------------------------------------------------------------------------------------


def _index_problems(directory: Path) -> Iterator[Defect]:
    index = weights_index(directory)
    if index is None:
        return
    text, problem = _text(index)
    if problem is not None:
        yield problem
        return
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield Defect(f"{index} is no JSON ({first_line(error)})", _AGAIN)
        return
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict):
        what = f"weight_map is {_kind(places)}" if isinstance(content, dict) else f"it holds {_kind(content)}"
        yield Defect(f"{index} is no index: {what}, an object from tensor to file is needed", _AGAIN)
    elif not places:
        yield Defect(f"{index} names no file: its weight_map is empty", _AGAIN)
    else:
        odd = next(((name, file) for name, file in places.items() if not _is_file_name(file)), None)
        if odd is not None:
            yield Defect(
                f"{index} sends {odd[0]} to {odd[1]!r}, the name of a file in the directory is needed", _AGAIN
            )


def _is_file_name(name: object) -> bool:
    # A folder of the same directory is odd and works; a way out of it does not belong to the model.
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        return False
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _file_problem(file: Path) -> tuple[Defect | None, dict[str, Tensor]]:
    if problem := _content_problem(file):
        return problem, {}
    if file.suffix != ".safetensors":
        return None, {}
    try:
        return None, read_header(file)
    except HeaderError as error:
        return Defect(f"{file} {error}", _AGAIN), {}
    except OSError as error:
        return _unreadable(file, error), {}


def _content_problem(file: Path) -> Defect | None:
    """The problem of a file whose first bytes are not what its name says; None if there is none."""
    try:
        size = file.stat().st_size
        with file.open("rb") as data:
            start = data.read(512)
    except OSError as error:
        return _unreadable(file, error)
    if size == 0:
        return Defect(f"{file} is empty", _AGAIN)
    text = start.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if start.startswith(b"version https://git-lfs"):
        return Defect(f"{file} is a pointer of Git LFS, not the file itself", _LFS_REMEDY)
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")):
        return Defect(f"{file} is a web page, not the file itself (a login or an error page)", _AGAIN)
    if start.startswith(b"GGUF") and file.suffix != ".gguf":
        return Defect(f"{file} is a GGUF file", "give it its own name; vLLM serves safetensors")
    if file.suffix == ".safetensors":
        if text.startswith((b'{"error', b'{"message', b'{"detail')):
            return Defect(f"{file} is the error message of a server, not the file itself", _AGAIN)
        if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")):
            return Defect(
                f"{file} is a PyTorch file (pickle) under a wrong name", "convert it to safetensors"
            )
    return None


def _shard_problems(files: Iterable[Path]) -> Iterator[Defect]:
    """A set of files that count themselves, with a number missing, where no index tells."""
    numbers: dict[tuple[str, int], set[int]] = {}
    for file in files:
        if match := re.fullmatch(r"(.*?)-(\d+)-of-(\d+)\.(?:safetensors|bin)", file.name):
            numbers.setdefault((match[1], int(match[3])), set()).add(int(match[2]))
    for (name, count), there in numbers.items():
        first = 0 if 0 in there else 1  # some sets are counted from 0
        missing = sorted(set(range(first, count + first)) - there) if count <= 10_000 else []
        if missing:
            yield Defect(
                f"of the {count} files {name}-…-of-{count:05d} number {missing[0]} is missing",
                "copy or fetch them again",
            )


# -- shapes ---------------------------------------------------------------------------------------------


def _shape_problems(config: JsonObject, tensors: Mapping[str, Tensor], directory: Path) -> Iterator[Defect]:
    kind = config.get("model_type")
    packed = (
        quantization(config) is not None
        or any((directory / name).is_file() for name in _QUANTISED_FILES)
        or any(tensor.dtype not in _PLAIN_TYPES for tensor in tensors.values())
    )
    if kind not in _KNOWN_DECODERS or packed or _EMBEDDING not in tensors:
        return
    remedy = "take config.json and weights of the same repository"
    for name, shape in _expected_shapes(config).items():
        tensor = tensors.get(name)
        if tensor is not None and tensor.shape != shape:
            yield Defect(f"{name} is {_shown(tensor.shape)}, by config.json it is {_shown(shape)}", remedy)
    layers = _size(config, "num_hidden_layers")
    there = {int(match[1]) for name in tensors if (match := _LAYER.match(name))}
    if layers is None or not there:
        return
    missing = sorted(set(range(layers)) - there) if layers <= 100_000 else []
    if missing:
        yield Defect(
            f"the weights hold {len(there)} of the {layers} layers of config.json, layer {missing[0]} is missing",
            "fetch the missing weights files, or correct num_hidden_layers",
        )
    if max(there) >= layers and not config.get("num_nextn_predict_layers"):
        yield Defect(
            f"the weights hold a layer {max(there)}, config.json names {layers} layers (0 to {layers - 1})",
            remedy,
        )
    if config.get("tie_word_embeddings") is False and not _has_head(tensors, config):
        yield Defect(
            "the weights hold no lm_head.weight, and config.json does not tie it to the embedding "
            "(tie_word_embeddings is false)",
            "fetch all weights files again, or set tie_word_embeddings if the model is so",
        )


def _has_head(tensors: Mapping[str, Tensor], config: JsonObject) -> bool:
    architectures = config.get("architectures")
    generates = isinstance(architectures, list) and any(
        str(name).endswith("ForCausalLM") for name in architectures
    )
    return not generates or any(name.endswith(("lm_head.weight", "output.weight")) for name in tensors)


def _expected_shapes(config: JsonObject) -> dict[str, tuple[int, ...]]:
    """Shapes by ``config.json`` of tensors whose names are the same in all of these architectures."""
    hidden, vocabulary = _size(config, "hidden_size"), _size(config, "vocab_size")
    if hidden is None or vocabulary is None:
        return {}
    shapes: dict[str, tuple[int, ...]] = {_EMBEDDING: (vocabulary, hidden), "model.norm.weight": (hidden,)}
    heads, inner = _size(config, "num_attention_heads"), _size(config, "intermediate_size")
    if config.get("model_type") not in _LLAMA_LIKE or not heads or inner is None:
        return shapes
    groups = _size(config, "num_key_value_heads") or heads
    width = _size(config, "head_dim") or hidden // heads
    layer = "model.layers.0."
    return shapes | {
        f"{layer}self_attn.q_proj.weight": (heads * width, hidden),
        f"{layer}self_attn.k_proj.weight": (groups * width, hidden),
        f"{layer}self_attn.v_proj.weight": (groups * width, hidden),
        f"{layer}self_attn.o_proj.weight": (hidden, heads * width),
        f"{layer}mlp.gate_proj.weight": (inner, hidden),
        f"{layer}mlp.down_proj.weight": (hidden, inner),
    }


# -- parts ----------------------------------------------------------------------------------------------


def _size(config: JsonObject, key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _text(file: Path) -> tuple[str, Defect | None]:
    if problem := _content_problem(file):
        return "", problem
    try:
        if file.stat().st_size > _JSON_LIMIT:
            return "{}", None
        return file.read_text(encoding="utf-8"), None
    except OSError as error:
        return "", _unreadable(file, error)
    except UnicodeDecodeError:
        return "", Defect(f"{file} is no text in UTF-8", _AGAIN)


def _json_object(file: Path) -> dict[str, Json]:
    """Return the object in a JSON file; an empty one where there is none that can be read."""
    return _checked_object(file)[0] if file.is_file() else {}


def _unreadable(file: Path, error: OSError) -> Defect:
    if file.is_symlink() and not file.exists():
        return Defect(
            f"{file} is a link to {file.readlink()}, which is not there", "fetch or copy the file itself"
        )
    return Defect(
        f"{file} can't be read ({error.strerror or error})", "correct its owner or mode, or fetch it again"
    )


def _kind(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value), "something else")


def _shown(shape: Iterable[int]) -> str:
    return " × ".join(str(size) for size in shape)
