"""Locate a row's weights, their size and the limits in their ``config.json``.

Nothing is downloaded here and no library is asked: a hub id is looked up in the local Hugging Face cache by
its documented layout (``models--ORG--NAME/{refs,snapshots}``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from pytest_llmperf.config.models import Damage, Model
from pytest_llmperf.engines.vllm_arguments import option, value_of
from pytest_llmperf.errors import StartError
from pytest_llmperf.home import cache_home, expand, own_cache
from pytest_llmperf.json_values import JsonObject, finite, object_of, parse_json
from pytest_llmperf.serving.safetensors_header import HeaderError, read_header, tensor_bytes

EMBEDDED = "embedded:"
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")
_PATTERNS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
# What training leaves beside the weights (vLLM leaves it out as well), and adapters.
_NO_WEIGHTS = re.compile(
    r"(?:training_args|optimizer|scheduler|scaler|trainer_state|rng_state\w*)\.(?:bin|pt)$|adapter_(?:model|config)\."
)
FILE_FORMATS = (
    None,
    "auto",
    "hf",
    "safetensors",
    "fastsafetensors",
    "instanttensor",
    "mistral",
    "pt",
    "npcache",
)
"""Values of vLLM's ``--load-format`` that read the weights files of the directory; None: not given."""
_TRUE = {"1", "true", "yes", "on"}
# Where vLLM looks, too; the smallest of those present is the model's own limit.
_LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "max_seq_length",
)
# Kinds of rope scaling whose factor is contained in max_position_embeddings already.
_ALREADY_SCALED = {"su", "longrope", "llama3", "mrope", "default", "proportional"}


@dataclass(frozen=True)
class Weights:
    """Weights as an engine is given them."""

    source: Path | str
    """A directory, or an id on the hub."""
    directory: Path | None
    """Directory of the files; None for a hub id that the engine has still to download."""
    revision: str | None = None
    total_bytes: int | None = None
    """Size of all tensors; None when the files are not here."""
    max_model_len: int | None = None
    """Longest context by ``config.json``, in tokens; None when it doesn't say or isn't here."""
    quantization: str | None = None
    """Quantisation method of the weights, by ``config.json``."""

    @property
    def is_local(self) -> bool:
        return self.directory is not None


def resolve(
    model: Model, *, cache_root: Path | None = None, environment: Mapping[str, str] | None = None
) -> Weights:
    """The weights of a row, damaged where the row asks for that.

    Raises `StartError` with what to do when a directory is missing or holds no weights, or when a hub id
    is not in the cache and the hub may not be asked.
    """
    environment = {**(os.environ if environment is None else environment), **model.environment}
    needs_tensors = value_of(model.arguments, "--load-format") in FILE_FORMATS
    if model.weights.startswith(EMBEDDED):
        found = _local(model, embedded_directory(model.weights.removeprefix(EMBEDDED)), needs_tensors)
    elif is_hub_id(model.weights):
        found = _hub(model, environment, needs_tensors)
    else:
        found = _local(model, expand(model.weights).absolute(), needs_tensors)
    if model.damage is None:
        return found
    if found.directory is None:
        raise StartError(
            f"{model.name}: damage needs weights that are on this machine, {model.weights} is not",
            remedy=_fetch(model),
        )
    directory = _damaged(found.directory, model.damage, cache_root or own_cache(environment))
    return _local(model, directory, needs_tensors)


def config_of(model: Model) -> JsonObject:
    """``config.json`` of a row's weights; empty where they are not on this machine, or the row overrides it."""
    if not model.weights or option(model.arguments, "--hf-overrides", "--hf-config-path") is not None:
        return {}
    try:
        # Without the damage that a row may plant, which is a copy of the same shapes.
        found = resolve(replace(model, damage=None))
    except StartError:
        return {}  # The start explains it.
    return read_json(found.directory / "config.json") if found.directory is not None else {}


def embedded_directory(name: str) -> Path:
    """Directory of a model that this package ships."""
    return Path(__file__).resolve().parents[1] / "embedded" / "weights" / name


def hub_cache(environment: Mapping[str, str]) -> Path:
    """The Hugging Face cache that the engine will use in this environment."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(name):
            return expand(environment[name])
    if environment.get("HF_HOME"):
        return expand(environment["HF_HOME"]) / "hub"
    return cache_home(environment) / "huggingface" / "hub"


def cached_snapshot(hub_id: str, revision: str | None, cache: Path) -> Path | None:
    """The directory of a hub id at a revision (default ``main``) in the cache, or None."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    wanted = revision or "main"
    commit = wanted
    reference = repository / "refs" / wanted
    if reference.is_file():
        commit = reference.read_text(encoding="utf-8").strip()
    snapshot = repository / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def weights_index(directory: Path) -> Path | None:
    """The file that says which tensor lies in which weights file; None if the directory has none that counts.

    That of PyTorch files counts only where there are no safetensors: it is often left behind.
    """
    found = sorted(
        directory.glob("*.safetensors.index.json"), key=lambda path: path.name.startswith("consolidated")
    )
    if not found and not _glob(directory, "*.safetensors"):
        found = sorted(directory.glob("*.bin.index.json"))
    return found[0] if found else None


def weight_files(directory: Path) -> tuple[list[Path], list[str]]:
    """The files that hold tensors, and the names of those that an index promises and that are absent."""
    index = weights_index(directory)
    places = read_json(index).get("weight_map") if index is not None else None
    names = (
        sorted({name for name in places.values() if isinstance(name, str)})
        if isinstance(places, dict)
        else []
    )
    if names:
        present = [directory / name for name in names if (directory / name).is_file()]
        missing = [name for name in names if not (directory / name).is_file()]
        # Mistral's repositories hold everything twice; one of the two is enough.
        consolidated = _glob(directory, "consolidated*.safetensors")
        return (consolidated, []) if consolidated and not present else (present, missing)
    for pattern in _PATTERNS:
        files = [path for path in _glob(directory, pattern) if not _NO_WEIGHTS.match(path.name)]
        if files:
            return files, []
    return [], []


def _glob(directory: Path, pattern: str) -> list[Path]:
    return sorted(path for path in directory.glob(pattern) if path.is_file())


def weights_bytes(directory: Path) -> int:
    """Size of all tensors: from the headers of safetensors files, else the size of the files."""
    return sum(_tensor_bytes(path) for path in weight_files(directory)[0])


def max_length(config: JsonObject) -> int | None:
    """Longest context by a ``config.json``, in tokens, rope scaling included; None when it doesn't say."""
    config = object_of(config.get("text_config")) or config
    lengths = [value for key in _LENGTH_KEYS if isinstance(value := config.get(key), int) and value > 0]
    if not lengths:
        return None
    scaling = object_of(config.get("rope_scaling")) or object_of(config.get("rope_parameters"))
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    factor = finite(scaling.get("factor"))
    if kind in _ALREADY_SCALED or factor is None:
        return min(lengths)
    original = finite(scaling.get("original_max_position_embeddings")) if kind == "yarn" else None
    return int((original or min(lengths)) * factor)


def quantization(config: JsonObject) -> str | None:
    """Quantisation method by ``config.json``; None for plain weights."""
    found = (
        object_of(config.get("quantization_config"))
        or object_of(config.get("compression_config"))
        or object_of(object_of(config.get("text_config")).get("quantization_config"))
    )
    method = found.get("quant_method")
    return str(method).lower() if method else None


def read_json(path: Path) -> JsonObject:
    """A JSON object; empty when the file is absent, unreadable or something else."""
    try:
        return object_of(parse_json(path.read_bytes()))
    except OSError:
        return {}


def is_hub_id(text: str) -> bool:
    """True for ``org/name``, unless there is a directory of that name."""
    # A directory of that name wins, as it does in vLLM and transformers.
    if not _HUB_ID.match(text):
        return False
    try:
        return not Path(text).is_dir()
    except OSError:
        return True  # too long for a file's name


def _local(model: Model, directory: Path, needs_tensors: bool) -> Weights:
    where = f"{model.name}: weights = {model.weights!r}"
    try:
        readable = not directory.is_dir() or os.access(directory, os.R_OK | os.X_OK)
    except PermissionError:
        readable = False
    except (OSError, ValueError) as error:  # a name that is too long for the file system
        why = getattr(error, "strerror", None) or str(error)
        raise StartError(
            f"{where}: there is no directory {directory} ({why})",
            remedy="correct `weights` in models.toml: a directory, a hub id (org/name) or embedded:NAME",
        ) from None
    if not readable:
        raise StartError(f"{where}: {directory} may not be read", remedy="correct its owner or mode")
    if not directory.is_dir():
        _refuse_no_directory(where, directory)
    _look_for_configuration(model, where, directory)
    if needs_tensors:
        files, missing = weight_files(directory)
        if missing:
            raise StartError(
                f"{where}: {len(missing)} weights files that the index names are not in {directory}, "
                f"the first is {missing[0]}"
                + (f", which{lost}" if (lost := _dangling(directory / missing[0])) else ""),
                remedy="copy or fetch them again",
            )
        links = [path for path in directory.glob("*.safetensors") if _dangling(path)]
        if not files and links:
            raise StartError(
                f"{where}: {links[0]}{_dangling(links[0])}", remedy="fetch or copy the file itself"
            )
        if not files:
            raise StartError(
                f"{where}: {directory} holds no weights ({', '.join(_PATTERNS)})",
                remedy='copy them there, or start with arguments = ["--load-format", "dummy"] where answers '
                "don't matter",
            )
    return _described(directory, directory, None)


def _refuse_no_directory(where: str, path: Path) -> NoReturn:
    remedy = "correct `weights` in models.toml: a directory, a hub id (org/name) or embedded:NAME"
    if path.suffix == ".gguf" and path.exists():
        raise StartError(
            f"{where}: {path} is a GGUF file, a directory with config.json and safetensors is needed",
            remedy="give such a directory; a server of llama.cpp that runs is tested with --llmperf-base-url",
        )
    if path.exists():
        raise StartError(
            f"{where}: {path} is a file, a directory is needed", remedy=f"give its directory: {path.parent}"
        )
    if lost := _dangling(path):
        raise StartError(f"{where}: {path}{lost}", remedy=remedy)
    raise StartError(f"{where}: there is no directory {path}", remedy=remedy)


def _look_for_configuration(model: Model, where: str, directory: Path) -> None:
    """Raises `StartError` for a directory that holds no model."""
    if any(os.path.lexists(directory / name) for name in ("config.json", "params.json")):
        return
    if value_of(model.arguments, "--hf-config-path") is not None:
        return
    if (directory / "adapter_config.json").is_file():
        base = read_json(directory / "adapter_config.json").get("base_model_name_or_path")
        raise StartError(
            f"{where}: {directory} holds a LoRA adapter, not a model",
            remedy=f"give its base model ({base or 'see adapter_config.json'}) a row of its own, and this row "
            f'adapter_of = "THAT ROW" and adapter = "{model.weights}" in place of weights',
        )
    if _glob(directory, "*.gguf"):
        return
    inside = next((path.parent for path in sorted(directory.glob("*/config.json"))), None)
    raise StartError(
        f"{where}: {directory} holds no config.json",
        remedy=f"point `weights` at a model's directory{f', perhaps {inside}' if inside else ''}",
    )


def _dangling(path: Path) -> str:
    """`` is a link to …, which is not there``, or an empty string."""
    if not path.is_symlink() or path.exists():
        return ""
    return f" is a link to {path.readlink()}, which is not there"


def _hub(model: Model, environment: Mapping[str, str], needs_tensors: bool) -> Weights:
    snapshot = cached_snapshot(model.weights, model.revision, hub_cache(environment))
    if snapshot is not None and (snapshot / "config.json").is_file():
        files, missing = weight_files(snapshot)
        if not needs_tensors or (files and not missing):
            return _described(model.weights, snapshot, model.revision)
    offline = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if _is_true(environment.get(name))]
    if offline:
        state = "is there only in part" if snapshot is not None else "is not there"
        at = f" at revision {model.revision}" if model.revision else ""
        raise StartError(
            f"{model.name}: {model.weights}{at} {state} in the Hugging Face cache "
            f"({hub_cache(environment)}), and the hub may not be asked ({offline[0]} is set)",
            remedy=_fetch(model),
            command=_fetch_command(model),
        )
    return Weights(model.weights, None, model.revision)


def _described(source: Path | str, directory: Path, revision: str | None) -> Weights:
    config = read_json(directory / "config.json")
    return Weights(
        source=source,
        directory=directory,
        revision=revision,
        total_bytes=weights_bytes(directory),
        max_model_len=max_length(config),
        quantization=quantization(config),
    )


def _damaged(source: Path, damage: Damage, cache_root: Path) -> Path:
    # Imported here, because only planted regressions need it (and numpy).
    from pytest_llmperf.embedded.damage import damage as spoil

    stamp = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in weight_files(source)[0]]
    text = json.dumps([str(source), stamp, damage.seed, damage.amount])
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    target = cache_root / "damaged" / f"{source.name}-{digest}"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        spoil(source, target, damage.seed, damage.amount)
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise StartError(
            f"{source}: the weights can't be copied with the damage that the row asks for ({why})",
            remedy="look at the weights files without `damage` first: they may be cut short or unreadable",
        ) from error
    return target


def _tensor_bytes(path: Path) -> int:
    if path.suffix == ".safetensors":
        with contextlib.suppress(HeaderError, OSError):
            return tensor_bytes(read_header(path))
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _fetch(model: Model) -> str:
    return f"fetch it where the network allows it: {_fetch_command(model)}"


def _fetch_command(model: Model) -> str:
    revision = f" --revision {model.revision}" if model.revision else ""
    return f"hf download {model.weights}{revision}"


def _is_true(value: str | None) -> bool:
    return (value or "").strip().lower() in _TRUE
