"""What has to be executed to serve a row: a pure function of the row, and a value that crosses processes.

The API key is not part of it: the keeper draws one per start and hands it over in the environment, where
neither ``ps`` nor a log shows it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines import vllm_arguments
from pytest_llmperf.errors import CatalogError
from pytest_llmperf.serving.state import API_KEY_VARIABLE

PORT = "{port}"
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
# VLLM_PORT makes vLLM take its internal ports from the API port upwards, into other servers' ports.
_UNSET = ("VLLM_PORT", "VLLM_HOST_IP", API_KEY_VARIABLE)
_NOT_FOR_ROWS = {
    "--config": "write the options of that file into the row, where they are checked",
    "--api-key": "a key is drawn for every start, and would be seen by every user in `ps`",
    "--host": "servers listen on 127.0.0.1 only",
    "--uds": "servers listen on 127.0.0.1 only",
    "--served-model-name": "use served_name",
    "--model": "use weights",
}
_VLLM_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # Without it, the titles that vLLM gives its processes overwrite the mark that finds them again.
    "SPT_NOENV": "1",
}
# The CPU engine binds every server to core 0 unless told otherwise, so that two servers stall each other.
_CPU_ENVIRONMENT = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}


@dataclass(frozen=True)
class ServerSpec:
    """One server as it is to be started. Plain values: equal specs are the same server within a run."""

    row: str
    served_model: str
    argv: tuple[str, ...]
    """The command, with ``{port}`` where the port goes."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of the first who asks for the server."""
    unset: tuple[str, ...] = _UNSET
    """Taken out of that environment."""
    engine: str = "vllm"
    gpus: int = 0
    ready_timeout_s: float = 600.0
    silence_limit_s: float = 60.0
    """How long the generation that belongs to being ready may take without any work of the engine's processes."""
    stop_grace_s: float = 6.0
    """SIGTERM to the API process → SIGKILL to everything, seconds; vLLM's own end takes 2 to 3."""
    port: int | None = None
    """A port that the row insists on; None: a free one is found."""
    linger_s: float = 0.0
    """How long the server outlives its last lease."""
    warm_concurrency: tuple[int, ...] = (1,)
    """One discarded generation for each of these numbers of simultaneous requests belongs to being ready."""
    restarts: int = 1
    """How often a server that died may be started again."""

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that differ when anything about the server differs."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """A dictionary that `from_json` reads back. It holds the row's environment: not for a log."""
        return asdict(self) | {"environment": dict(self.environment)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ServerSpec:
        """The inverse of `to_json`, through JSON text as well."""
        tuples = {name: tuple(data[name]) for name in ("argv", "unset", "warm_concurrency")}
        return cls(**{**data, **tuples})

    def command(self, port: int | str = 8000) -> str:
        """The line to type by hand. Values of variables that look like secrets are left out."""
        assignments = [f"{name}={_shown(name, value)}" for name, value in self.environment.items()]
        return " ".join([*assignments, shlex.join(arguments(self.argv, port))])


def arguments(argv: tuple[str, ...], port: int | str) -> list[str]:
    """``argv`` with the port filled in (other braces, as in JSON arguments, are left alone)."""
    return [argument.replace(PORT, str(port)) for argument in argv]


def spec_for(
    model: Model,
    weights: Path | str,
    *,
    weights_are_local: bool | None = None,
    revision: str | None = None,
    gpu_memory_fraction: float | None = None,
    linger_s: float = 0.0,
    warm_concurrency: tuple[int, ...] = (1,),
) -> ServerSpec:
    """The server of a row whose weights lie at ``weights`` (a directory) or are called so on the hub.

    ``gpu_memory_fraction`` overrides the row's own, for two servers that share a GPU. ``weights_are_local``
    (default: ``weights`` is a path) forbids the engine to look anything up on the network. The row's
    own arguments and environment come last, so that they win.
    """
    local = isinstance(weights, Path) if weights_are_local is None else weights_are_local
    if revision is None and not isinstance(weights, Path):
        revision = model.revision
    port, row_arguments = _own_port(model)
    if model.engine == "transformers":
        argv, environment = _transformers_argv(model, weights, None if local else revision), {}
    else:
        fraction = model.gpu_memory_fraction if gpu_memory_fraction is None else gpu_memory_fraction
        argv = _vllm_argv(model, weights, revision, fraction, row_arguments)
        environment = _VLLM_ENVIRONMENT | (_CPU_ENVIRONMENT if model.gpus == 0 else {})
    if model.trust_remote_code:
        argv.append("--trust-remote-code")
    environment |= {"PYTHONUNBUFFERED": "1"} | ({"HF_HUB_OFFLINE": "1"} if local else {})
    return ServerSpec(
        row=model.name,
        served_model=model.served,
        argv=(*argv, *row_arguments),
        port=port,
        environment=environment | dict(model.environment),
        engine=model.engine,
        gpus=model.gpus,
        ready_timeout_s=model.ready_timeout_s,
        linger_s=linger_s,
        warm_concurrency=warm_concurrency,
    )


def _vllm_argv(
    model: Model,
    weights: Path | str,
    revision: str | None,
    fraction: float | None,
    row_arguments: tuple[str, ...],
) -> list[str]:
    # The console script and vllm.entrypoints.cli.main need package metadata called "vllm", which the CPU build
    # doesn't have; the other module starts on both builds, but only with one API process.
    several = vllm_arguments.option(row_arguments, "--api-server-count") is not None
    entry = (
        ["vllm.entrypoints.cli.main", "serve", str(weights)]
        if several
        else ["vllm.entrypoints.openai.api_server", "--model", str(weights)]
    )
    options = {
        "--revision": revision,
        "--dtype": model.dtype,
        "--max-model-len": model.max_model_len,
        "--quantization": model.quantization,
        "--gpu-memory-utilization": fraction,
        "--generation-config": _generation_config(model, row_arguments),
    }
    argv = [model.engine_python or sys.executable, "-m", *entry, *_address(model)]
    for option, value in options.items():
        if value is not None:
            argv += [option, str(value)]
    return argv


def _generation_config(model: Model, row_arguments: tuple[str, ...]) -> str | None:
    """None where the row names one itself. Left alone, vLLM takes its defaults of sampling from the weights."""
    if vllm_arguments.option(row_arguments, "--generation-config") is not None:
        return None
    return "vllm" if model.generation_config == "neutral" else "auto"


def _transformers_argv(model: Model, weights: Path | str, revision: str | None) -> list[str]:
    argv = [
        model.engine_python or sys.executable,
        # Without it, the modules beside the script would stand before the engine's own.
        "-P",
        str(Path(__file__).with_name("transformers_server.py")),
        "--model",
        str(weights) if revision is None else f"{weights}@{revision}",
        *_address(model),
        "--generation-config",
        model.generation_config,
        "--device",
        "auto" if model.gpus else "cpu",
        "--dtype",
        {"half": "float16", "float": "float32"}.get(model.dtype, model.dtype),
    ]
    if model.quantization is not None:
        argv += ["--quantization", model.quantization]
    return argv


def _address(model: Model) -> list[str]:
    return ["--host", "127.0.0.1", "--port", PORT, "--served-model-name", model.served]


def _own_port(model: Model) -> tuple[int | None, tuple[str, ...]]:
    """The port in the row's arguments, and the other arguments.

    Raises `CatalogError` for what a row may not choose.
    """
    port: int | None = None
    left_out: set[int] = set()
    for option in vllm_arguments.options(model.arguments):
        written = model.arguments[option.words[0]].partition("=")[0]
        for name, remedy in _NOT_FOR_ROWS.items():
            if option.is_called(name):
                raise CatalogError(f"{model.name}: {written} is not for `arguments`: {remedy}")
        if option.name != "--port":
            continue
        number = option.value or ""
        if not (number.isascii() and number.isdigit() and 0 < int(number) < 65536):
            raise CatalogError(f"{model.name}: --port {number!r} in `arguments` is no port (1 to 65535)")
        port = int(number)
        left_out.update(option.words)
    return port, tuple(word for place, word in enumerate(model.arguments) if place not in left_out)


def _shown(name: str, value: str) -> str:
    return "…" if _SECRET.search(name) else shlex.quote(value)
