"""Checksums of everything a row is made of: its weights, its chat template and every file named in its arguments.

A path does not identify content: an adapter may be retrained in place, a template edited between two runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.vllm_arguments import texts_of
from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.home import expand
from pytest_llmperf.rules.render import template_of
from pytest_llmperf.serving import weights as weights_of
from pytest_llmperf.serving.weights import weight_files

READ_WHOLE_BYTES = 128 * 1024**2
"""Up to here a file is read whole, in a tenth of a second. Gigabytes would cost a start more than it measures."""
_SAMPLE_BYTES = 4096
_SAMPLES = 4096
"""Blocks of a large file without a header that can be read: 16 MiB of it."""
_TENSOR_SAMPLES = 3
"""Blocks of each tensor of a large safetensors file: its beginning, middle and end."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_LONGEST_PATH = 4096
# A directory in an argument counts as content only where it holds something like a model: others are caches, or where
# an engine writes to.
_MARKS_OF_A_MODEL = (
    "config.json",
    "adapter_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "generation_config.json",
    "params.json",
)


@dataclass(frozen=True)
class Content:
    """Digests of the files that a row consists of, at one moment."""

    weights: str | None
    """Digest of the weights' directory; None where it is not on this machine."""
    files: Mapping[str, str] = field(default_factory=dict)
    """By the text in the row's arguments or environment that names a file, directory or model: its digest."""
    stamp: str = ""
    """Of the files that were too large to be read whole: sizes and times of change; empty without any."""
    of_weights: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Digests of the files in the weights' directory, by their names in it."""

    @property
    def key(self) -> str | None:
        """Sixteen hexadecimal digits that are the same for rows of the same content; None where it is not known."""
        if self.weights is None:
            return None
        text = json.dumps([self.weights, sorted(self.files.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def changed_since(self, earlier: Content) -> list[str]:
        """Names of what has changed since ``earlier``; empty if nothing has."""
        # What came since is no change: an engine fetches models and files from the hub while it starts.
        changed = [name for name, digest in sorted(earlier.files.items()) if self.files.get(name) != digest]
        if any(self.of_weights.get(name) != digest for name, digest in earlier.of_weights.items()):
            changed.insert(0, "the weights")
        return changed


def content_of(model: Model, directory: Path | None) -> Content:
    """Digests of the row's current files; ``directory`` holds its weights. Takes a few tenths of a second at most."""
    if model.engine == "url":
        return Content(None)
    stamps: list[str] = []
    own = {} if directory is None else _digests_below(directory, stamps)
    files: dict[str, str] = {}
    for text in (*texts_of(model.arguments), *model.environment.values()):
        if text not in files and (digest := _digest_of_named(text, stamps)) is not None:
            files[text] = digest
    stamp = hashlib.sha256("\n".join(stamps).encode()).hexdigest() if stamps else ""
    return Content(_joint(own) if own else None, files, stamp, own)


def checksums(model: Model, directory: Path | None) -> dict[str, Any]:
    """For the record; ``directory`` holds the weights, None if the engine has yet to download them."""
    about: dict[str, Any] = {
        "arguments": list(model.arguments),
        "dtype": model.dtype,
        "quantization": model.quantization,
        "max_model_len": model.max_model_len,
        "sampling_seed": model.sampling.seed,
    }
    about["weights_commit"] = None if directory is None else _commit(directory)
    about["files"] = dict(content_of(model, None).files)
    return about | _weights(directory) | {"template_sha256": template_sha256(model, directory)}


def template_sha256(model: Model, directory: Path | None) -> str | None:
    """Checksum of the chat template that the server uses; None if it cannot be read here."""
    if directory is None:
        return None
    try:
        source = template_of(model, directory).source
    except LlmperfError:
        return None
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def _weights(directory: Path | None) -> dict[str, Any]:
    """``weights_sha256`` and how it was computed: from ``content``, or from ``samples`` of files too large to read.

    The hub's cache names each large file by the checksum of its content, which then need not be read.
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
    except (
        OSError,
        UsageError,
    ):  # a name that is too long, a directory that may not be read, no home directory
        return None
    if _HUB_ID.fullmatch(text):
        snapshot = weights_of.cached_snapshot(text, None, weights_of.hub_cache(os.environ))
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
    """Without hidden ones: a repository's ``.git``, the hub's ``.cache``."""
    for path in directory.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
        if not hidden and path.is_file():
            yield path


def _file_digest(file: Path, stamps: list[str]) -> str:
    """Digest of the content; for a large file of samples, and its modification times are added to ``stamps``."""
    if _SHA256.fullmatch(file.resolve().name):
        return file.resolve().name
    status = file.stat()
    with file.open("rb") as data:
        if status.st_size <= READ_WHOLE_BYTES:
            return hashlib.file_digest(data, "sha256").hexdigest()
        # The time of change of the file's entry as well: that of its content can be set back, and copying keeps it.
        stamps.append(f"{file.name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}")
        digest = hashlib.sha256(str(status.st_size).encode())
        for begin, length in _samples(file, status.st_size):
            data.seek(begin)
            digest.update(data.read(length))
    return digest.hexdigest()


def _samples(file: Path, size: int) -> Iterator[tuple[int, int]]:
    """Begin and length of what is read of a large file: of every tensor something, so that training shows in each."""
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
    """Where each tensor of a safetensors file lies, in bytes from its beginning; empty for another file."""
    if file.suffix != ".safetensors":
        return []
    try:
        with file.open("rb") as data:
            (length,) = struct.unpack("<Q", data.read(8))
            if length > min(size, READ_WHOLE_BYTES):
                return []
            header = json.loads(data.read(length))
        offsets = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
        first = 8 + length
        spans = sorted((first + int(begin), min(size, first + int(end))) for begin, end in offsets)
        return [(min(first, spans[0][0]), spans[0][1]), *spans[1:]] if spans else []
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        return []
