"""Identify what a server serves by content: its weights and every file that its model entry names.

A path does not identify content: an adapter may be retrained in place, a template edited between two runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.registry import engine_named
from pytest_llmperf.engines.vllm_arguments import option, texts_of
from pytest_llmperf.errors import UsageError
from pytest_llmperf.home import expand
from pytest_llmperf.json_values import Json
from pytest_llmperf.serving.safetensors_header import HeaderError, read_header
from pytest_llmperf.serving.server import Server
from pytest_llmperf.serving.spec import ServerSpec
from pytest_llmperf.serving.weights import cached_snapshot, hub_cache, weight_files

READ_WHOLE_BYTES = 128 * 1024**2
"""Files up to this size are read whole, in a tenth of a second. Gigabytes would cost a start more than it measures."""
_SAMPLE_BYTES = 4096
_SAMPLES = 4096
"""Number of blocks read of a large file whose header cannot be parsed: 16 MiB in all."""
_TENSOR_SAMPLES = 3
"""Number of blocks read of each tensor of a large safetensors file: its beginning, middle and end."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_LONGEST_PATH = 4096
# A directory in an argument counts as content only if it holds something like a model: others are caches or outputs.
_MARKS_OF_A_MODEL = (
    "config.json",
    "adapter_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "generation_config.json",
    "params.json",
)
# Variables of the run's own environment that change what an engine does.
_ENGINE_VARIABLES = ("VLLM_", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "TORCH_")
# Options whose values are importable names: the code behind them can change without any file being named.
_PYTHON_CODE = (
    "--logits-processors",
    "--worker-cls",
    "--worker-extension-cls",
    "--scheduler-cls",
    "--middleware",
)


@dataclass(frozen=True)
class Content:
    """Digests of the files that a model entry consists of, at one moment."""

    weights: str | None
    """Digest of the weights' directory; None where it is not on this machine."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Digests by the text in the entry's arguments or environment that names a file, directory or model."""
    stamp: str = ""
    """Digest of sizes and change times of the files that were too large to be read whole; empty without any."""
    of_weights: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Digests of the files in the weights' directory, by their names in it."""
    adapters: Mapping[str, str] = field(default_factory=dict)
    """Digests of the adapters that the server loads for other rows, by row. The entry's own answers do not depend on
    them."""

    @property
    def key(self) -> str | None:
        """Sixteen hexadecimal digits that are equal for entries of equal content; None if the content is unknown."""
        if self.weights is None:
            return None
        text = json.dumps([self.weights, sorted(self.files.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def of_guest(self, row: str) -> Content:
        """The content of a row that this entry's server serves: with its adapter, if it is one."""
        own = {"adapter": self.adapters[row]} if row in self.adapters else {}
        return replace(self, files={**self.files, **own}, adapters={})

    def changed_since(self, earlier: Content) -> list[str]:
        """Names of what has changed since ``earlier``; empty if nothing has."""
        # New files are no change: an engine downloads models and files from the hub while it starts.
        changed = [name for name, digest in sorted(earlier.files.items()) if self.files.get(name) != digest]
        changed += [
            f"the adapter {row}"
            for row, digest in sorted(earlier.adapters.items())
            if self.adapters.get(row) != digest
        ]
        if any(self.of_weights.get(name) != digest for name, digest in earlier.of_weights.items()):
            changed.insert(0, "the weights")
        return changed


def content_of(model: Model, directory: Path | None, adapters: Mapping[str, Path] | None = None) -> Content:
    """Digests of the entry's current files; ``directory`` holds its weights. Takes a few tenths of a second at most.

    ``adapters``: directories of the adapters that its server loads, by row.
    """
    if not engine_named(model.engine).is_started:
        return Content(None)
    stamps: list[str] = []
    own = {} if directory is None else _digests_below(directory, stamps)
    files: dict[str, str] = {}
    for text in (*texts_of(model.arguments), *model.environment.values()):
        if text not in files and (digest := _digest_of_named(text, stamps)) is not None:
            files[text] = digest
    loaded = {row: _directory_digest(path, stamps) for row, path in (adapters or {}).items()}
    stamp = hashlib.sha256("\n".join(stamps).encode()).hexdigest() if stamps else ""
    return Content(_joint(own) if own else None, files, stamp, own, loaded)


def checksums(model: Model, directory: Path | None) -> dict[str, Json]:
    """Checksums for the record; ``directory`` holds the weights, None if the engine has yet to download them."""
    return {
        "arguments": list(model.arguments),
        "dtype": model.dtype,
        "quantization": model.quantization,
        "max_model_len": model.max_model_len,
        "sampling_seed": model.sampling.seed,
        "weights_commit": None if directory is None else _commit(directory),
        "files": dict(content_of(model, None).files),
        **_weights(directory),
    }


@dataclass(frozen=True)
class Identity:
    """Everything that answers depend on besides the request: the weights, the engine and its settings, the device.

    Answers of one server may be reused for another one with the same key. Where part of it is unknown (a server that
    the run did not start, weights that are not on this machine, Python code behind a module's name), the key is not
    vouched for and nothing is reused.
    """

    key: str
    """32 hexadecimal digits, equal for servers that give the same answers."""
    vouched: bool
    """True if everything that answers depend on is in the key."""


def identity_of(
    model: Model, server: Server, spec: ServerSpec | None, content: Content, device: str
) -> Identity:
    """Identity of a running server on the device of that name; ``spec`` is None if the run did not start it.

    Files count by their content when the server started, not by their path.
    """
    parts: dict[str, object] = {
        "weights": content.weights or [model.weights, model.revision],
        "files": sorted(content.files.items()),
        "stamp": content.stamp,
        "engine": server.engine,
        "device": device,
    }
    if model.host is not None:
        # Its server's command is that of the host and of every other guest.
        parts["guest"] = model.served
    if spec is None:
        parts["url"] = [server.base_url, server.model]
    else:
        # Without the first word, the interpreter: its path does not matter, and the engine reports its version.
        parts["arguments"] = spec.argv[1:]
        inherited = {name: value for name, value in os.environ.items() if name.startswith(_ENGINE_VARIABLES)}
        parts["environment"] = sorted((inherited | dict(spec.environment)).items())
    text = json.dumps(parts, sort_keys=True)
    vouched = content.weights is not None and option(model.arguments, *_PYTHON_CODE) is None
    return Identity(hashlib.sha256(text.encode()).hexdigest()[:32], vouched)


def _weights(directory: Path | None) -> dict[str, Json]:
    """``weights_sha256``, and whether it was computed from the ``content`` or from ``samples`` of large files.

    The hub's cache names each large file by the checksum of its content, so such a file is not read at all.
    """
    files = sorted(weight_files(directory)[0]) if directory is not None else []
    if not files:
        return {"weights_sha256": None, "weights_told_by": None}
    digest = hashlib.sha256()
    stamps: list[str] = []
    for file in files:
        digest.update(f"{file.name}\0{_file_digest(file, stamps)}\0".encode())
    return {"weights_sha256": digest.hexdigest(), "weights_told_by": "samples" if stamps else "content"}


def _commit(directory: Path) -> str | None:
    """The commit of a snapshot in the hub's cache. A directory of that name elsewhere may change at any time."""
    in_cache = directory.parent.name == "snapshots" and _COMMIT.fullmatch(directory.name)
    return directory.name if in_cache else None


def _digest_of_named(text: str, stamps: list[str]) -> str | None:
    """Digest of the file, model directory or cached hub model that ``text`` names; None if it names nothing."""
    if not text or len(text) > _LONGEST_PATH or "\0" in text or "\n" in text:
        return None
    try:
        path = expand(text) if text.startswith("~/") else Path(text)
        if path.is_file():
            return _file_digest(path, stamps)
        if path.is_dir():
            return _directory_digest(path, stamps) if _holds_a_model(path) else None
    except (OSError, UsageError):  # a name that is too long, an unreadable directory, no home directory
        return None
    if _HUB_ID.fullmatch(text):
        snapshot = cached_snapshot(text, None, hub_cache(os.environ))
        return None if snapshot is None else snapshot.name
    return None


def _holds_a_model(directory: Path) -> bool:
    if any((directory / name).is_file() for name in _MARKS_OF_A_MODEL):
        return True
    return any(file.suffix in (".safetensors", ".gguf", ".bin", ".pt") for file in directory.iterdir())


def _directory_digest(directory: Path, stamps: list[str]) -> str:
    return _joint(_digests_below(directory, stamps))


def _digests_below(directory: Path, stamps: list[str]) -> dict[str, str]:
    return {str(path.relative_to(directory)): _file_digest(path, stamps) for path in _files_below(directory)}


def _joint(digests: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, of_file in sorted(digests.items()):
        digest.update(f"{name}\0{of_file}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _files_below(directory: Path) -> Iterator[Path]:
    """Yield all files except hidden ones (a repository's ``.git``, the hub's ``.cache``)."""
    for path in directory.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
        if not hidden and path.is_file():
            yield path


def _file_digest(file: Path, stamps: list[str]) -> str:
    """Digest of the content; a large file is sampled, and its change times are appended to ``stamps``."""
    if _SHA256.fullmatch(file.resolve().name):
        return file.resolve().name
    status = file.stat()
    with file.open("rb") as data:
        if status.st_size <= READ_WHOLE_BYTES:
            return hashlib.file_digest(data, "sha256").hexdigest()
        # ctime as well: mtime can be set back, and copying keeps it.
        stamps.append(f"{file.name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}")
        digest = hashlib.sha256(str(status.st_size).encode())
        for begin, length in _samples(file, status.st_size):
            data.seek(begin)
            digest.update(data.read(length))
    return digest.hexdigest()


def _samples(file: Path, size: int) -> Iterator[tuple[int, int]]:
    """Yield (begin, length) of the blocks read of a large file: some of every tensor, so that training shows."""
    spans = _tensor_spans(file, size)
    if not spans:
        step = max(_SAMPLE_BYTES, size // _SAMPLES)
        yield from ((begin, _SAMPLE_BYTES) for begin in range(0, size, step))
        yield max(0, size - _SAMPLE_BYTES), _SAMPLE_BYTES
        return
    yield 0, spans[0][0]
    for begin, end in spans:
        room = max(0, end - begin - _SAMPLE_BYTES)
        for n in range(_TENSOR_SAMPLES):
            start = begin + room * n // (_TENSOR_SAMPLES - 1)
            yield start, min(_SAMPLE_BYTES, end - start)


def _tensor_spans(file: Path, size: int) -> list[tuple[int, int]]:
    """(begin, end) in bytes of each tensor of a safetensors file; empty for any other file."""
    if file.suffix != ".safetensors":
        return []
    try:
        tensors = read_header(file).values()
    except HeaderError:
        return []
    header = size - max((tensor.end for tensor in tensors), default=0)
    return sorted((header + tensor.begin, header + tensor.end) for tensor in tensors)
