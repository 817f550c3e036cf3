"""The seam for engines: what the run must know of an inference server to start it, query it and explain its end.

To add one, subclass :class:`Engine` in a module of your own and announce an instance of it as an entry point of the
group ``pytest_llmperf.engines``; ``docs/how-to/own-engine.md`` shows a complete example. Rows then say
``engine = "NAME"``. Everything that the server's keeper needs travels as plain data (:class:`Probe`, the command, names
of variables), because that process starts with the standard library alone and never imports an engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.probe import Probe
from pytest_llmperf.json_values import JsonObject

Capability = Literal["ignore_eos", "cache_salt", "unknown_fields", "tokenize", "prompt_logprobs", "metrics"]
"""A feature that a server may support beyond OpenAI's API.

``ignore_eos``       a load can fix the length of answers (``ignore_eos``, ``min_tokens``)
``cache_salt``       a request can be kept out of the prefix cache
``unknown_fields``   a request field that the server does not know is ignored, not refused
``tokenize``         ``POST /tokenize`` counts the tokens of a prompt
``prompt_logprobs``  completions return the log probability of every prompt token (perplexity needs it)
``metrics``          ``GET /metrics`` in Prometheus' format
"""


@dataclass(frozen=True)
class Milestones:
    """Seconds and bytes of a start, from the server's log; None where the log has no such line.

    Several workers write the same line: these are the figures of the first one.
    """

    weights_loaded_s: float | None = None
    model_loaded_s: float | None = None
    model_bytes: float | None = None
    kv_cache_bytes: float | None = None
    kv_cache_tokens: int | None = None
    engine_init_s: float | None = None
    graphs_captured_s: float | None = None
    compiled_from_cache: bool | None = None
    """False: at least one graph was compiled in this start; None: the engine compiles none, or does not tell."""
    graphs_bytes: float | None = None
    activation_bytes: float | None = None
    """Peak of one step of the largest size, as profiled at the start."""
    non_torch_bytes: float | None = None
    """Memory of CUDA, NCCL and others beside PyTorch; some versions count it with the weights."""
    desired_bytes: float | None = None
    """The device's memory times ``gpu_memory_fraction``: what the engine may fill."""


NEUTRAL_SAMPLING: JsonObject = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "max_tokens": None,
    "seed": None,
    "stop": None,
}
"""Values that change nothing, which are vLLM's own defaults (``ChatCompletionRequest._DEFAULT_SAMPLING_PARAMS``, 0.32);
None: no limit, drawn, none."""


@dataclass(frozen=True)
class SamplingDefaults:
    """The values a server uses for sampling parameters that a request leaves out."""

    values: JsonObject
    """The engine's own default by parameter, as in :data:`NEUTRAL_SAMPLING`."""
    config_from: str | None = None
    """Source of ``generation_config.json``: ``auto`` (the weights), a directory, or None (not read)."""
    overrides: JsonObject = field(default_factory=dict)
    """Values set on the command line, which win over the file, by their names in ``generation_config.json``."""


@dataclass(frozen=True)
class ServedBeside:
    """A further name under which a server answers: an adapter's, or another one of the weights."""

    name: str
    adapter: Path | None = None
    """Directory of the adapter; None: the weights themselves."""
    rank: int = 0
    """Largest LoRA rank of the adapter's modules."""


@dataclass(frozen=True)
class KnownFailure:
    """One reason why servers don't start: what the log says, what it means, what to do."""

    name: str
    pattern: re.Pattern[str]
    """Searched in one error at a time. ``cause`` and ``remedy`` may use its named groups, and ``{row}``."""
    cause: str
    remedy: str
    frames: re.Pattern[str] | None = None
    """A pattern that must also match within the frames of the traceback."""
    log: re.Pattern[str] | None = None
    """A pattern that must also match somewhere in the log, at whatever level."""

    def fits(self, frames: str, log: str) -> bool:
        """Return True if the error's traceback and the rest of the log meet the further conditions."""
        if self.frames is not None and not self.frames.search(frames):
            return False
        return self.log is None or self.log.search(log) is not None


def known_failure(
    name: str, pattern: str, cause: str, remedy: str, *, frames: str | None = None, log: str | None = None
) -> KnownFailure:
    """A :class:`KnownFailure` from regular expressions as text."""
    return KnownFailure(
        name,
        re.compile(pattern, re.MULTILINE),
        cause,
        remedy,
        None if frames is None else re.compile(frames),
        None if log is None else re.compile(log),
    )


class Engine:
    """One kind of server. Override what differs; :attr:`name` and :meth:`command` have no default.

    An engine has no state: one instance serves all rows, also in several threads.
    """

    name: str
    """The name that rows write: ``engine = "NAME"``."""
    title: str = ""
    """The engine's name in messages; empty: :attr:`name`."""
    is_started: bool = True
    """False: the server runs already (``base_url``), and the run neither starts nor ends it."""

    # -- starting it

    distributions: tuple[str, ...] = ()
    """Names under which pip knows the engine, checked in the row's interpreter before a start. The first is also the
    name of the module. Empty: nothing is checked."""
    install: str = "install it there, or set engine_python in models.toml"
    """The remedy if the interpreter does not have it."""
    reserved_arguments: Mapping[str, str] = {
        "--config": "write the options of that file into the row, where they are checked",
        "--model": "use weights = …",
        "--revision": "use revision = …",
        "--dtype": "use dtype = …",
        "--quantization": "use quantization = …",
        "--max-model-len": "use max_model_len = …",
        "--gpu-memory-utilization": "use gpu_memory_fraction = …",
        "--trust-remote-code": "use trust_remote_code = true",
        "--served-model-name": "use served_name = …",
        "--host": "the server listens on 127.0.0.1 only",
        "--port": "a free port is chosen at each start",
        "--api-key": "the run gives each server a key of its own",
    }
    """Options that a row may not put into ``arguments``, with what to do instead: what the row or the run says already
    may not be said a second time, differently."""
    unset: tuple[str, ...] = ()
    """Variables removed from the run's environment before the server gets it."""
    api_key_variable: str = "LLMPERF_SERVER_KEY"
    """Environment variable from which the server reads the key that requests must carry."""
    kv_cache_option: str | None = None
    """Option that gives the key-value cache a stated number of bytes, so that the engine need not measure how much
    memory is free, and two servers can start at once on one GPU; None: there is none."""
    refuses_guests: str = (
        "it can't serve a second row (Engine.shared_command); give each row a server of its own"
    )
    """Why no row may be an adapter or an alias of a row of this engine; empty: :meth:`shared_command` serves them."""
    directory_variables: tuple[str, ...] = ("TMPDIR",)
    """Environment variables set to a short-lived private directory, removed with the server."""
    probe: Probe = Probe()

    def command(self, model: Model, weights: str) -> Sequence[str]:
        """The command that serves ``model``, without the row's own ``arguments``, which are appended.

        ``weights`` is a directory or a hub id (of ``model.revision``). Write :data:`PORT` where the port belongs. The
        server must listen on 127.0.0.1 and serve the model as ``model.served``.
        """
        raise NotImplementedError

    def shared_command(self, model: Model, weights: str, beside: Sequence[ServedBeside]) -> Sequence[str]:
        """As :meth:`command`, for a server that answers under the names ``beside`` as well."""
        raise NotImplementedError

    def environment(self, model: Model) -> Mapping[str, str]:
        """Variables added to the run's environment; the row's own win over them."""
        return {}

    def gpu_memory_fraction(self, arguments: Sequence[str]) -> float:
        """Share of a GPU's memory that a server with these arguments fills; a start with less free is refused."""
        return 0.9

    def kv_cache_bytes(self, model: Model) -> int | None:
        """Bytes of the key-value cache, of all GPUs together, where the row fixes them; None: the start finds out."""
        return None

    def replicas(self, arguments: Sequence[str]) -> int:
        """Copies of the model that the server spreads its requests over; each takes as many at a time as one alone."""
        return 1

    # -- understanding it

    capabilities: Mapping[Capability, bool] = {}
    """Features that the engine is known to support (True) or to lack (False). The others are probed on the server."""
    known_failures: tuple[KnownFailure, ...] = ()
    """Reasons of failed starts that only this engine logs, tried before those that all engines share."""

    def milestones(self, log: str) -> Milestones:
        """Durations and memory of a start from its log."""
        return Milestones()

    def sampling_defaults(self, model: Model) -> SamplingDefaults | None:
        """Sampling parameters that the server fills in by itself; None: not known."""
        return None

    def __str__(self) -> str:
        return self.title or self.name
