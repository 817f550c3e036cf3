"""What answers depend on beside the request: the weights, the engine with all it was told, and the device.

Two servers with one key would give answers that one may stand for the other. Where that cannot be told (a server that
others started, weights that are nowhere on this machine), the key is not vouched for.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.measure.served import Served
from pytest_llmperf.serving import weights as weights_of

WHOLE_BYTES = 64 * 1024 * 1024
"""Larger files are known by size, time of change, beginning and end: reading 100 GB would cost a minute."""
_END_BYTES = 1024 * 1024
# Of the run's own environment, what an engine listens to.
_LISTENED_TO = ("VLLM_", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "TORCH_")


@dataclass(frozen=True)
class Identity:
    """``key``: 32 hexadecimal digits, the same for servers that answer alike."""

    key: str
    vouched: bool


def identity_of(served: Served, device: str) -> Identity:
    """Of the row's running server, on a device of that name."""
    server = served.server
    spec = served.spec
    weights = None if spec is None else _weights_key(weights_of.resolve(served.model).directory)
    parts: dict[str, object] = {
        "weights": weights or [served.model.weights, served.model.revision],
        "engine": server.engine,
        "device": device,
    }
    if spec is None:
        parts["url"] = [server.base_url, server.model]
    else:
        # The first word is the interpreter: where it lies is of no matter, and the engine tells its version.
        parts["arguments"] = spec.argv[1:]
        own = {name: value for name, value in os.environ.items() if name.startswith(_LISTENED_TO)}
        parts["environment"] = sorted((own | dict(spec.environment)).items())
    text = json.dumps(parts, sort_keys=True)
    return Identity(hashlib.sha256(text.encode()).hexdigest()[:32], weights is not None)


def _weights_key(directory: Path | None) -> str | None:
    """The commit of a snapshot from the hub, else a digest of the directory's files; None if it is not here."""
    if directory is None:
        return None
    if directory.parent.name == "snapshots":
        return directory.name
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(directory)}\0".encode())
        digest.update(_file_digest(path))
    return digest.hexdigest()


def _file_digest(path: Path) -> bytes:
    status = path.stat()
    with path.open("rb") as file:
        if status.st_size <= WHOLE_BYTES:
            return hashlib.file_digest(file, "sha256").digest()
        digest = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode())
        digest.update(file.read(_END_BYTES))
        file.seek(-_END_BYTES, os.SEEK_END)
        digest.update(file.read())
    return digest.digest()
