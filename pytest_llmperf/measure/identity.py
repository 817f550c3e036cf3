"""What answers depend on beside the request: the weights, the engine with all it was told, and the device.

Two servers with one key would give answers that one may stand for the other. Where that cannot be told (a server that
others started, weights that are nowhere on this machine), the key is not vouched for.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass

from pytest_llmperf.measure.served import Served

# Of the run's own environment, what an engine listens to.
_LISTENED_TO = ("VLLM_", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "TORCH_")


@dataclass(frozen=True)
class Identity:
    """``key``: 32 hexadecimal digits, the same for servers that answer alike."""

    key: str
    vouched: bool


def identity_of(served: Served, device: str) -> Identity:
    """Of the row's running server, on a device of that name.

    Files are known by their content when the server started, and not by where they lie.
    """
    server = served.server
    spec = served.spec
    content = served.content
    parts: dict[str, object] = {
        "weights": content.weights or [served.model.weights, served.model.revision],
        "files": sorted(content.files.items()),
        "stamp": content.stamp,
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
    return Identity(hashlib.sha256(text.encode()).hexdigest()[:32], content.weights is not None)
