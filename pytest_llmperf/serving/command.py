"""The command that serves a row: a pure function of the row, and a value that crosses processes.

The API key is not part of it: the keeper draws one per start and passes it in the environment, where neither ``ps``
nor a log shows it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.base import PORT
from pytest_llmperf.engines.probe import Probe
from pytest_llmperf.engines.registry import engine_named

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)


@dataclass(frozen=True)
class ServerSpec:
    """One server as it is to be started. Plain values: equal specs are the same server within a run."""

    row: str
    served_model: str
    argv: tuple[str, ...]
    """The command, with ``{port}`` where the port goes."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of the first who asks for the server."""
    unset: tuple[str, ...] = ()
    """Removed from that environment."""
    engine: str = "vllm"
    api_key_variable: str = "VLLM_API_KEY"
    """Environment variable that hands the key to the server."""
    directory_variables: tuple[str, ...] = ("TMPDIR",)
    """Environment variables set to a private directory that goes with the server."""
    probe: Probe = field(default_factory=Probe)
    """The paths by which the keeper finds out that the server is ready."""
    gpus: int = 0
    ready_timeout_s: float = 600.0
    silence_limit_s: float = 60.0
    """Seconds that a warm-up generation may take without the engine's processes using any processor time."""
    stop_grace_s: float = 6.0
    """SIGTERM to the API process → SIGKILL to everything, seconds; vLLM's own end takes 2 to 3."""
    linger_s: float = 0.0
    """Seconds that the server outlives its last lease."""
    warm_concurrency: tuple[int, ...] = (1,)
    """One discarded generation for each of these numbers of simultaneous requests belongs to being ready."""
    restarts: int = 1
    """Number of times that a dead server may be started again."""

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
        names = ("argv", "unset", "directory_variables", "warm_concurrency")
        tuples = {name: tuple(data[name]) for name in names}
        return cls(**{**data, **tuples, "probe": Probe(**data["probe"])})

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
    linger_s: float = 0.0,
    warm_concurrency: tuple[int, ...] = (1,),
    kv_cache_bytes: int | None = None,
) -> ServerSpec:
    """The server of a row whose weights lie at ``weights`` (a directory) or have that name on the hub.

    ``weights_are_local`` (default: ``weights`` is a path) forbids the engine to look anything up on the network. The
    row's own arguments and environment come last, so that they win. ``kv_cache_bytes`` fixes the size of the key-value
    cache, where the engine has an option for it.
    """
    local = isinstance(weights, Path) if weights_are_local is None else weights_are_local
    if revision is None and not isinstance(weights, Path):
        revision = model.revision
    model = replace(model, revision=revision)
    engine = engine_named(model.engine)
    offline = {"HF_HUB_OFFLINE": "1"} if local else {}
    fixed: tuple[str, ...] = ()
    if kv_cache_bytes is not None and engine.kv_cache_option is not None:
        fixed = (engine.kv_cache_option, str(kv_cache_bytes))
    return ServerSpec(
        row=model.name,
        served_model=model.served,
        argv=(*engine.command(model, str(weights)), *fixed, *model.arguments),
        environment={**engine.environment(model), "PYTHONUNBUFFERED": "1", **offline, **model.environment},
        unset=(*engine.unset, engine.api_key_variable),
        engine=engine.name,
        api_key_variable=engine.api_key_variable,
        directory_variables=engine.directory_variables,
        probe=engine.probe,
        gpus=model.gpus,
        ready_timeout_s=model.ready_timeout_s,
        linger_s=linger_s,
        warm_concurrency=warm_concurrency,
    )


def _shown(name: str, value: str) -> str:
    return "…" if _SECRET.search(name) else shlex.quote(value)
