"""The record that claims are judged by, typed: the keys of a run's record that matter here, and the claims' own.

``servers[].alone``, ``lean``, ``random_weights`` and ``build``, ``memory``, ``contexts``, ``refused_starts``,
``served_ids`` and ``failed`` are written by ``benchmarks.gpu_claims`` and ``benchmarks.cpu_claims`` only, through
:class:`ClaimsRecord`, which is also what reads them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Union

from contrib.claims.claim import Build
from pytest_llmperf.engines.base import Milestones
from pytest_llmperf.errors import UsageError
from pytest_llmperf.home import shown
from pytest_llmperf.load.workload import Workload

DEVICE_MEMORY = "device memory"


def has_random_weights(arguments: Sequence[str]) -> bool:
    """True for engine arguments with ``--load-format dummy``: answers of such a server mean nothing."""
    load_format = ""
    for at, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        # vLLM takes underscores for hyphens in an option's name, and the last of several.
        if name.replace("_", "-") == "--load-format":
            load_format = value if equals else "".join(arguments[at + 1 : at + 2])
    return load_format == "dummy"


@dataclass(frozen=True, kw_only=True)
class OfRow:
    """An entry about one row of the catalogue."""

    row: str
    build: Build | None = None
    """Which build the row is; None in the record of a run, where only the row's name tells."""

    def is_of(self, build: Build) -> bool:
        """True for an entry about this build, by name where the record says no more."""
        return self.row == build.row if self.build is None else self.build == build


@dataclass(frozen=True, kw_only=True)
class Start(OfRow):
    """A server that became ready."""

    weights: str | None = None
    revision: str | None = None
    engine: str | None = None
    command: str | None = None
    ready_s: float | None = None
    every_ready_s: tuple[float | None, ...] = ()
    """Seconds to ready of every start, if a run started the row several times; ``ready_s`` is one of them."""
    alone: bool = True
    """Nothing else ran on the machine, so that ``ready_s`` is a cold start."""
    lean: bool = False
    """Without compilation and graphs."""
    random_weights: bool | None = None
    """None: not recorded, the command tells."""
    milestones: Milestones | None = None

    @property
    def is_noise(self) -> bool:
        """The weights are random numbers: speed and memory mean something, answers do not."""
        if self.random_weights is not None:
            return self.random_weights
        return has_random_weights(_words(self.command or ""))

    @property
    def seconds_to_ready(self) -> list[float]:
        """Seconds to ready of each start for which they are known."""
        return [each for each in self.every_ready_s or (self.ready_s,) if each is not None]


@dataclass(frozen=True, kw_only=True)
class Requests:
    """The shape of a load's requests, as far as it was recorded. Lengths in the server's tokens."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    fixed_output: bool | None = None
    chat: bool | None = None
    unique: bool | None = None
    warm_cache: bool | None = None
    usage_per_chunk: bool | None = None
    seed: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, workload: Workload) -> Requests:
        """Those of a workload that makes up its prompts."""
        return cls(**{one.name: getattr(workload, one.name) for one in dataclasses.fields(cls)})


@dataclass(frozen=True, kw_only=True)
class LoadRound:
    """One round of a load: times in seconds, one a request."""

    errors: Mapping[str, int]
    requests: int | None = None
    window_s: float | None = None
    ttft_s: tuple[float, ...] = ()
    tpot_s: tuple[float, ...] = ()
    e2el_s: tuple[float, ...] = ()
    output_tokens: int | None = None
    """Output tokens of all requests that succeeded; None if the server does not count."""
    client_cpu_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class LoadOf(OfRow):
    """The rounds of one load."""

    concurrency: int | None = None
    """None for a load on a schedule."""
    workload: Requests | None = None
    rounds: tuple[LoadRound, ...]
    problems: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MemoryPeak(OfRow):
    """The most that one start took with a cache of ``cache_tokens``. ``kind`` as in ``measure.memory.MemoryUse``."""

    peak_bytes: float
    cache_tokens: int
    kind: str = DEVICE_MEMORY


@dataclass(frozen=True, kw_only=True)
class FilledContext(OfRow):
    """A request whose prompt and answer fill the context; ``ok`` if it was answered."""

    ok: bool
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class RefusedStart(OfRow):
    """A start with a quantisation that the weights do not have, and the engine's own words about it."""

    asked: str
    started: bool
    said: str
    exit_code: int | None = None


@dataclass(frozen=True, kw_only=True)
class ServedIds(OfRow):
    """The ids under which a server offers its model that was started on ``started_on`` and given no name."""

    started_on: str
    engine: str
    ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Failure(OfRow):
    """A measurement that could not be made: the first line of its error, and the rest."""

    error: str
    more: str = ""


@dataclass(frozen=True, kw_only=True)
class AnswerCounts(OfRow):
    """Answers of a row to a task: how many there are of each outcome."""

    task: str
    variant: str
    items: int | None = None
    samples: int = 1
    outcomes: Mapping[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """The observation of one gate of the run."""

    metric: str
    unit: str = ""
    observed: float | None = None
    interval: tuple[float | None, ...] | None = None
    n: int = 0
    candidate: float | None = None
    baseline: float | None = None


@dataclass(frozen=True, kw_only=True)
class Device:
    """The device of the measurement; ``name`` as NVML gives it, ``CPU`` without a GPU."""

    device_class: str | None = field(default=None, metadata={"key": "class"})
    name: str = "CPU"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The processor, where it is what was measured."""

    processor: str
    cores: int | None


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The lengths that the profile's own loads have, in tokens."""

    prompt_tokens: int | None = None
    answer_tokens: int | None = None


Measured = Start | LoadOf | MemoryPeak | FilledContext | RefusedStart | ServedIds | Failure
"""A measurement that the claims' scripts add to their record."""


@dataclass(frozen=True, kw_only=True)
class ClaimsRecord:
    """All of a record that claims look at. ``seconds``: how long the scripts took."""

    profile: str | None = None
    device: Device = Device()
    candidates: tuple[str, ...] = ()
    baseline: str | None = None
    sizes: Sizes | None = None
    machine: Machine | None = None
    verdicts: tuple[GateVerdict, ...] = ()
    answers: tuple[AnswerCounts, ...] = ()
    servers: tuple[Start, ...] = ()
    load: tuple[LoadOf, ...] = ()
    memory: tuple[MemoryPeak, ...] = ()
    contexts: tuple[FilledContext, ...] = ()
    refused_starts: tuple[RefusedStart, ...] = ()
    served_ids: tuple[ServedIds, ...] = ()
    failed: tuple[Failure, ...] = ()
    seconds: float | None = None

    def plus(self, entry: Measured) -> ClaimsRecord:
        """The record with one entry more, in the list of its kind."""
        key = key_of(entry)
        grown: Any = {key: (*getattr(self, key), entry)}
        return replace(self, **grown)

    @property
    def only_candidate(self) -> str | None:
        """The row that was judged; None where there were several."""
        return self.candidates[0] if len(self.candidates) == 1 else None

    def starts_of(self, build: Build) -> list[Start]:
        return [one for one in self.servers if one.is_of(build)]


_KEYS: Mapping[type[Any], str] = {
    Start: "servers",
    LoadOf: "load",
    MemoryPeak: "memory",
    FilledContext: "contexts",
    RefusedStart: "refused_starts",
    ServedIds: "served_ids",
    Failure: "failed",
}


def key_of(entry: Measured) -> str:
    """The key of the record under which entries of this kind stand."""
    return _KEYS[type(entry)]


def read_claims_record(record: Mapping[str, Any], path: Path | None = None) -> ClaimsRecord:
    """``record``, a JSON object, as a :class:`ClaimsRecord`; keys that claims do not look at are left out.

    Raises :class:`UsageError`, one line with the file at ``path`` and the key, for a value that is missing or of
    another type.
    """
    try:
        read = _read(ClaimsRecord, record, "")
    except _Misfit as misfit:
        file = "the record" if path is None else shown(path)
        raise UsageError(f"{file}: {misfit}; write the record anew with what made it") from None
    assert isinstance(read, ClaimsRecord)
    return read


def as_json(value: Any) -> Any:
    """The JSON of an entry or a record, without the fields that are not known."""
    if dataclasses.is_dataclass(value):
        fields = {_key(one): getattr(value, one.name) for one in dataclasses.fields(value)}
        return {key: as_json(inner) for key, inner in fields.items() if inner is not None}
    if isinstance(value, Mapping):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [as_json(inner) for inner in value]
    return value


class _Misfit(Exception):
    """A key, what stands there and what is needed."""

    def __init__(self, where: str, value: object, needed: str) -> None:
        text = json.dumps(value, default=str, ensure_ascii=False)
        seen = "missing" if value is _MISSING else text if len(text) <= 60 else f"{text[:60]}…"
        super().__init__(f"{where} is {seen}; need {needed}")


_MISSING = object()


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quotation that does not end
        return command.split()


def _key(one: dataclasses.Field[Any]) -> str:
    return str(one.metadata.get("key", one.name))


@cache
def _types(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(kind: Any, value: object, where: str) -> Any:
    """``value`` as an instance of ``kind``: a dataclass, a tuple, a mapping, a union with None or a plain type."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        [inner] = [part for part in parts if part is not types.NoneType]
        return None if value is None else _read(inner, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _Misfit(where, value, "a list")
        return tuple(_read(parts[0], inner, f"{where}[{at}]") for at, inner in enumerate(value))
    if dataclasses.is_dataclass(kind) or origin is Mapping:
        if not isinstance(value, Mapping):
            raise _Misfit(where or "it", value, "an object")
        if origin is Mapping:
            return {key: _read(parts[1], inner, f"{where}.{key}") for key, inner in value.items()}
        return _read_fields(kind, value, where)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value):
            return value
        raise _Misfit(where, value, "a finite number")
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise _Misfit(where, value, _named(kind))


def _named(kind: Any) -> str:
    origin = typing.get_origin(kind)
    return "a list" if origin is tuple else "an object" if origin is Mapping else _NAMES[kind]


_NAMES = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}


def _read_fields(kind: Any, value: Mapping[str, Any], where: str) -> Any:
    read: dict[str, Any] = {}
    for one in dataclasses.fields(kind):
        place = f"{where}.{_key(one)}".removeprefix(".")
        if _key(one) in value:
            read[one.name] = _read(_types(kind)[one.name], value[_key(one)], place)
        elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            raise _Misfit(place, _MISSING, _named(_types(kind)[one.name]))
    return kind(**read)
