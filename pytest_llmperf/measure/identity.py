"""Identifies what answers depend on besides the request: the weights, the engine and its settings, the device.

Answers of one server may be reused for another one with the same key. Where part of that is not known (a server that
the run did not start, weights that are not on this machine, Python code that a module's name stands for), the key is
not vouched for and nothing is reused.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass

from pytest_llmperf.engines.vllm_arguments import option
from pytest_llmperf.measure.served import Served

# Variables of the run's own environment that change what an engine does.
_LISTENED_TO = ("VLLM_", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "TORCH_")
# Options whose values are importable names: the code behind them can change without any file being named.
_PYTHON_CODE = (
    "--logits-processors",
    "--worker-cls",
    "--worker-extension-cls",
    "--scheduler-cls",
    "--middleware",
)


@dataclass(frozen=True)
class Identity:
    """Identity of a server."""

    key: str
    """32 hexadecimal digits, the same for servers that give the same answers."""
    vouched: bool
    """True if everything that answers depend on is in the key."""


def identity_of(served: Served, device: str) -> Identity:
    """Identity of the row's running server on the device of that name.

    Files count by their content when the server started, not by their path.
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
        # Without the first word, the interpreter: its path does not matter, and the engine reports its version.
        parts["arguments"] = spec.argv[1:]
        own = {name: value for name, value in os.environ.items() if name.startswith(_LISTENED_TO)}
        parts["environment"] = sorted((own | dict(spec.environment)).items())
    text = json.dumps(parts, sort_keys=True)
    vouched = content.weights is not None and option(served.model.arguments, *_PYTHON_CODE) is None
    return Identity(hashlib.sha256(text.encode()).hexdigest()[:32], vouched)
