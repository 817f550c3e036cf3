"""One server as it is to be started: a value that crosses processes.

Standard library only, because the keeper imports it. The API key is not part of it: the keeper takes one at each start
and passes it in the environment, where neither ``ps`` nor a log shows it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_llmperf.engines.probe import PORT, Probe

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
    served_beside: tuple[str, ...] = ()
    """Further names that it must serve to be ready: adapters and aliases."""
    restarts: int = 1
    """Number of times that a dead server may be started again."""

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that differ when anything about the server differs."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """JSON text that `from_json` reads back. It holds the row's environment: not for a log."""
        return json.dumps(asdict(self) | {"environment": dict(self.environment)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ServerSpec:
        """The inverse of `to_json`."""
        fields: Any = json.loads(text)
        tuples: Any = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return cls(**{**fields, **tuples, "probe": Probe(**fields["probe"])})

    def command(self, port: int | str = 8000) -> str:
        """The line to type by hand. Values of variables that look like secrets are left out."""
        assignments = [f"{name}={_shown(name, value)}" for name, value in self.environment.items()]
        return " ".join([*assignments, shlex.join(arguments(self.argv, port))])


def arguments(argv: tuple[str, ...], port: int | str) -> list[str]:
    """``argv`` with the port filled in (other braces, as in JSON arguments, are left alone)."""
    return [argument.replace(PORT, str(port)) for argument in argv]


def _shown(name: str, value: str) -> str:
    return "…" if _SECRET.search(name) else shlex.quote(value)
