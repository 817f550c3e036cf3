"""The command line and the two catalogues, resolved into values before anything starts.

Knows nothing of pytest: strings in, :class:`Settings` out, or a :class:`UsageError` of one line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from pytest_llmperf.config.address import Address
from pytest_llmperf.config.budgets import BudgetView, load_budgets
from pytest_llmperf.config.catalog import choose_profile, load_catalog
from pytest_llmperf.config.models import Model, Profile
from pytest_llmperf.config.shard import RunShard
from pytest_llmperf.engines import remote
from pytest_llmperf.engines.registry import DEFAULT, engine_named
from pytest_llmperf.errors import GpuUnreadable, UsageError
from pytest_llmperf.home import shown
from pytest_llmperf.stats.start_to_start import LEAST_STARTS
from pytest_llmperf.units import parse_quantity

DEFAULT_KEY_VARIABLE = "LLMPERF_API_KEY"
"""Environment variable with the API key of a server given by ``--llmperf-base-url``; not set: it wants no key."""

InconclusivePolicy = Literal["fail", "warn", "exit"]
Reuse = Literal["none", "interrupted", "all"]
"""Earlier runs whose answers stand for this run's own: none, a run that was interrupted, or all that are kept."""


_Path = Annotated[Path | None, BeforeValidator(lambda given: given or None)]


_MOST = 2**63 - 1
"""Largest number that SQLite, and so the cache of answers, can keep."""


def _whole_number(low: int, needed: str = "", *, but: int | None = None) -> BeforeValidator:
    """Digits that make a whole number, ``low`` or more and not ``but``."""

    def check(given: str) -> int:
        digits = given.isascii() and given.isdecimal()
        if digits and (len(given) > len(str(_MOST)) or int(given) > _MOST):
            raise ValueError(f"must be at most {_MOST:,}")
        if not digits or int(given) < low or int(given) == but:
            raise ValueError(needed or f"must be a whole number, {low} or more")
        return int(given)

    return BeforeValidator(check)


def _duration(given: str) -> float:
    """Seconds of ``8h`` or ``90 s``."""
    seconds = parse_quantity(given, "s")
    if seconds < 0:
        raise ValueError("must be 0 s or more")
    return seconds


@dataclass(frozen=True)
class Options:
    """The command line and the ini file, by the names of the options in ``config.options``."""

    models: Path
    budgets: Path
    model: tuple[str, ...] = ()
    baseline: str | None = None
    profile: str | None = None
    base_url: tuple[str, ...] = ()
    engine_python: str | None = None
    """From the environment variable ``LLMPERF_ENGINE_PYTHON``."""
    data: _Path = None
    inconclusive: InconclusivePolicy = "fail"
    record: _Path = None
    full: bool = False
    starts: Annotated[
        int | None,
        _whole_number(
            1, f"must be 1, or at least {LEAST_STARTS} to tell how starts of one model differ", but=2
        ),
    ] = None
    gpu_wait: Annotated[float | None, BeforeValidator(_duration)] = None
    order: Annotated[int | None, _whole_number(0)] = None
    shard: Annotated[RunShard | None, BeforeValidator(RunShard.parse)] = None
    shard_items: bool = False
    answers: _Path = None
    reuse: Reuse = "interrupted"
    add: _Path = None
    looks: Annotated[
        int | None,
        _whole_number(1, "must be a whole number, 2 for a run that may be added to once"),
    ] = None


def read_options(given: Mapping[str, object]) -> Options:
    """The options that were ``given`` (not None), as pytest holds them; ``models`` and ``budgets`` always.

    Raises :class:`UsageError`: one line with option, value and what it must be.
    """
    try:
        return TypeAdapter(Options).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option, context = str(first["loc"][0]).replace("_", "-"), first.get("ctx", {})
        must = context.get("error") or f"must be {str(context.get('expected')).replace(chr(39), '')}"
        raise UsageError(f"--llmperf-{option}={given[str(first['loc'][0])]}: {must}") from None


@dataclass(frozen=True)
class Settings:
    """Everything that a run needs to know before its first server starts."""

    profile: Profile
    candidates: tuple[Model, ...]
    baseline: Model
    budget: BudgetView
    device: str
    """Device class that budgets are looked up by: ``H100``, ``CPU``, or the NVML name of an unknown device."""
    device_name: str
    inconclusive: InconclusivePolicy
    data_dir: Path | None
    record: Path | None
    models_path: Path
    budgets_path: Path
    starts: int = 1
    """Pairs of starts of both servers that a comparison of speed takes."""
    full: bool = False
    """Ask every planned item, also where the gates are decided before."""
    order_seed: int | None = None
    """The seed that was asked for; None: a new one, or that of a run that this one goes on with."""
    answers_dir: Path | None = None
    """Directory of the answer cache; None: in pytest's cache."""
    reuse: Reuse = "interrupted"
    """Earlier runs whose answers this run takes over."""
    add: Path | None = None
    """Record of an earlier run, whose data this one adds to."""
    shard: RunShard | None = None
    """The part of the run that this one is; None: it is the whole."""
    shard_items: bool = False
    """Every shard asks a part of the items of accuracies and flips."""
    looks: int | None = None
    """Looks that are announced: this run, and those that may add to it."""
    gpu_wait_s: float = 600.0
    """Longest wait for GPUs that other runs hold, seconds: by default about as long as one of them takes."""
    hosts: Mapping[str, Model] = field(default_factory=dict)
    """By name, the rows whose servers serve candidates or the baseline as adapters or aliases."""

    def guests_of(self, host: str) -> tuple[Model, ...]:
        """The rows of this run that the server of the row ``host`` serves besides its own, by name."""
        rows = {row.name: row for row in (*self.candidates, self.baseline) if row.host == host}
        return tuple(rows[name] for name in sorted(rows))

    def candidate(self, name: str) -> Model:
        """The candidate of that name; ``KeyError`` if it is not one of this run."""
        return {model.name: model for model in self.candidates}[name]

    def known_profiles(self) -> tuple[str, ...]:
        """Names of all profiles of the catalogue, and of the one that was given as a file."""
        return tuple(dict.fromkeys((*load_catalog(self.models_path).profiles, self.profile.name)))

    def known_rows(self) -> frozenset[str]:
        """Names of the rows of all profiles of the catalogue, and of the profile that was given as a file."""
        profiles = (*load_catalog(self.models_path).profiles.values(), self.profile)
        return frozenset(name for profile in profiles for name in profile.models)

    def header(self) -> str:
        """One line: profile, device, and what each name stands for."""
        rows = ", ".join(f"{m.name} → {m.shown_weights}" for m in self.candidates)
        against = f"against {self.baseline.name} → {self.baseline.shown_weights}"
        apart = ", each on its own GPUs" if self.profile.placement == "apart" else ""
        says = f"; {self.profile.says}" if self.profile.says else ""
        return f"llmperf: {self.profile.name} profile on {self.device_name}: {rows} {against}{apart}{says}"


def resolve(
    options: Options, device: str | None, device_name: str, gpu_trouble: GpuUnreadable | None = None
) -> Settings:
    """The run's settings.

    ``device`` is the class of the first visible CUDA device, None if there is none; ``gpu_trouble`` is why it is not
    known whether there is one. Raises :class:`UsageError` (one line: what is wrong, where, and the nearest valid name)
    for anything that does not fit, also for a GPU that is needed and cannot be read.
    """

    def has_cuda() -> bool:
        # A GPU that fails is not the absence of one: a nightly job must not judge the small models instead.
        if gpu_trouble is not None:
            raise _unreadable(options, gpu_trouble)
        return device is not None

    profile = choose_profile(options.profile, options.models, has_cuda=has_cuda)
    wanted = options.model or (profile.candidate,)
    urls = _base_urls(options.base_url, default=wanted[0])
    unknown = set(urls) - set(profile.models)
    for name in unknown:
        profile.model(name)  # raises with the nearest name

    def row(name: str) -> Model:
        model = profile.model(name)
        # Where the host of an adapter runs already, the adapter is looked for there as well.
        if (url := urls.get(name) or urls.get(model.server_row)) is not None:
            model = dataclasses.replace(
                model,
                engine=remote.ENGINE.name,
                base_url=url,
                api_key_env=model.api_key_env or DEFAULT_KEY_VARIABLE,
                damage=None,
                adapter_of=None,
                alias_of=None,
                adapter=None,
            )
        if options.engine_python and model.engine == DEFAULT and model.engine_python is None:
            model = dataclasses.replace(model, engine_python=options.engine_python)
        return model

    candidates = tuple(row(name) for name in dict.fromkeys(wanted))
    baseline = row(options.baseline or profile.baseline)
    if gpu_trouble is not None and any(
        model.gpus and engine_named(model.engine).is_started for model in (*candidates, baseline)
    ):
        raise _unreadable(options, gpu_trouble)
    _check(options)
    _check_placement(profile, candidates, baseline)
    # A profile that runs on the CPU is judged by the CPU's budgets, also on a machine that has a GPU.
    on_gpu = profile.needs_cuda and device is not None
    judged_as = device if on_gpu and device is not None else "CPU"
    return Settings(
        profile=profile,
        candidates=candidates,
        baseline=baseline,
        budget=load_budgets(options.budgets).for_device(profile.name, judged_as),
        device=judged_as,
        device_name=device_name if on_gpu else "CPU",
        inconclusive=options.inconclusive,
        data_dir=options.data,
        record=options.record,
        models_path=options.models,
        budgets_path=options.budgets,
        starts=_starts(options, profile, (*candidates, baseline)),
        full=options.full,
        order_seed=options.order,
        answers_dir=options.answers,
        reuse=options.reuse,
        add=options.add,
        looks=options.looks,
        shard=options.shard,
        shard_items=options.shard_items,
        gpu_wait_s=Settings.gpu_wait_s if options.gpu_wait is None else options.gpu_wait,
        hosts={model.host: row(model.host) for model in (*candidates, baseline) if model.host is not None},
    )


def _unreadable(options: Options, trouble: GpuUnreadable) -> UsageError:
    """The error of a run that needs to know the GPU, with the profiles that do not."""
    others = [p.name for p in load_catalog(options.models).profiles.values() if not p.needs_cuda]
    without = (
        f", or choose a profile that needs no GPU: --llmperf-profile {' or '.join(others)}" if others else ""
    )
    return UsageError(f"{trouble.cause}; {trouble.remedy}{without}")


def _check_placement(profile: Profile, candidates: Sequence[Model], baseline: Model) -> None:
    """Raise :class:`UsageError` for rows that cannot stand apart, where the profile says that they do."""
    if profile.placement != "apart":
        return
    what = f'{profile.file}: [profile.{profile.name}] placement = "apart"'
    if len({model.server_row for model in candidates}) > 1:
        names = ", ".join(model.name for model in candidates)
        raise UsageError(
            f"{what}: one candidate is compared with the baseline, {len(candidates)} were given ({names}) with servers "
            "of their own; run pytest once for each, at the same time where there are GPUs for all"
        )
    if candidates[0].server_row == baseline.server_row:
        raise UsageError(
            f"{what}: candidate and baseline stand on one server, that of the row {baseline.server_row}; leave "
            f'placement out, or compare with a row of its own that extends = "{baseline.server_row}"'
        )
    for model in (*candidates, baseline):
        if engine_named(model.engine).is_started and not model.gpus:
            raise UsageError(f"{what}: the row {model.name} uses no GPU (gpus = 0); leave placement out")


def _check(options: Options) -> None:
    """Raise :class:`UsageError` for a directory that is none, and for options that contradict each other."""
    if options.data is not None and not options.data.is_dir():
        raise UsageError(f"--llmperf-data {shown(options.data)}: no such directory")
    answers = options.answers
    if answers is not None and answers.exists() and not answers.is_dir():
        raise UsageError(f"--llmperf-answers {shown(answers)}: is not a directory")
    if options.shard_items and options.shard is None:
        raise UsageError(
            "--llmperf-shard-items: needs --llmperf-shard I/N, the part of the items that this run asks"
        )
    if options.shard is not None:
        _check_shard(options, options.shard)
    if options.looks is not None and options.add:
        raise UsageError(
            f"--llmperf-looks={options.looks}: belongs to the first look, "
            f"and --llmperf-add={options.add} is a later one"
        )


def _check_shard(options: Options, shard: RunShard) -> None:
    """Raise :class:`UsageError` where the parts of the run could not be merged."""
    given = f"--llmperf-shard={shard}"
    if options.record is None:
        raise UsageError(
            f"{given}: needs --llmperf-record PATH: the whole run is judged by the shards' records"
        )
    if shard.of > 1 and options.order is None:
        raise UsageError(
            f"{given}: needs --llmperf-order SEED, the same number in all {shard.of} shards and a new one each night: "
            "they are parts of one run, which draws its items and rounds once"
        )
    if options.add is not None:
        raise UsageError(
            f"{given}: --llmperf-add={shown(options.add)} adds a whole run to a record; leave one of them out"
        )


def _starts(options: Options, profile: Profile, models: Sequence[Model]) -> int:
    """Pairs of starts of a comparison of speed; one where a server is not the run's own."""
    running = [model.name for model in models if not engine_named(model.engine).is_started]
    if not running:
        return options.starts or profile.sizes.starts
    if options.starts is not None and options.starts > 1:
        raise UsageError(
            f"--llmperf-starts={options.starts}: {running[0]} is a server that runs already, and cannot be started anew"
        )
    return 1


def _base_urls(values: Sequence[str], *, default: str) -> dict[str, str]:
    """``URL`` (for the first candidate) or ``ROW=URL``, several of them."""
    urls: dict[str, str] = {}
    for value in values:
        row, equals, url = value.partition("=")
        if not equals or "://" in row:
            row, url = default, value
        urls[row] = str(Address.parse(url, f"--llmperf-base-url: base URL of {row}"))
    return urls
