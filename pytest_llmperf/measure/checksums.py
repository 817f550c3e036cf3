"""What a row really was when its server started: the content of its weights and its chat template, as checksums."""

from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path
from typing import Any

from pytest_llmperf.catalog import Model
from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.rules.render import template_of
from pytest_llmperf.serving.weights import weight_files

READ_WHOLE_BYTES = 128 * 1024**2
"""Up to here a file is read whole, in a tenth of a second. Gigabytes would cost a start more than it measures."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def checksums(model: Model, directory: Path | None) -> dict[str, Any]:
    """For the record; ``directory`` is where the weights lie, None where the engine has still to fetch them."""
    about: dict[str, Any] = {
        "arguments": list(model.arguments),
        "dtype": model.dtype,
        "quantization": model.quantization,
        "max_model_len": model.max_model_len,
        "sampling_seed": model.sampling.seed,
    }
    snapshot = directory is not None and directory.parent.name == "snapshots"
    about["weights_commit"] = directory.name if directory is not None and snapshot else None
    return about | _weights(directory) | {"template_sha256": template_sha256(model, directory)}


def template_sha256(model: Model, directory: Path | None) -> str | None:
    """Of the chat template that the server uses; None if there is none to be read here."""
    if directory is None:
        return None
    try:
        source = template_of(model, directory).source
    except LlmperfError:
        return None
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def _weights(directory: Path | None) -> dict[str, Any]:
    """``weights_sha256``, and by what it is told: ``content``, or ``headers`` where the files are too large to read.

    The hub's cache names each large file by the checksum of its content, which then need not be read.
    """
    files = sorted(weight_files(directory)[0]) if directory is not None else []
    if not files:
        return {"weights_sha256": None, "weights_told_by": None}
    digest = hashlib.sha256()
    told_by = "content"
    for file in files:
        if _SHA256.fullmatch(file.resolve().name):
            of_file = file.resolve().name
        elif file.stat().st_size <= READ_WHOLE_BYTES:
            of_file = hashlib.sha256(file.read_bytes()).hexdigest()
        else:
            of_file, told_by = _of_header(file), "headers"
        digest.update(f"{file.name}\0{of_file}\0".encode())
    return {"weights_sha256": digest.hexdigest(), "weights_told_by": told_by}


def _of_header(file: Path) -> str:
    """Names, types and shapes of all tensors, and the size: the same for a fine-tuned model of the same shape."""
    with file.open("rb") as data:
        start = data.read(8)
        length = struct.unpack("<Q", start)[0] if file.suffix == ".safetensors" and len(start) == 8 else 0
        header = data.read(min(length, READ_WHOLE_BYTES))
    return hashlib.sha256(header + str(file.stat().st_size).encode()).hexdigest()
