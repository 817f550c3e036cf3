"""What this run is about: the command line and the two catalogues, resolved into values before anything starts.

Knows nothing of pytest: strings in, :class:`Settings` out, or a :class:`UsageError` of one line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pytest_llmperf.address import Address
from pytest_llmperf.config.answer_options import AnswerOptions, Collecting, collecting, whole_number
from pytest_llmperf.config.budgets import BudgetView, load_budgets
from pytest_llmperf.config.catalog import choose_profile, load_catalog
from pytest_llmperf.config.models import Model, Profile
from pytest_llmperf.engines import remote
from pytest_llmperf.engines.registry import DEFAULT, engine_named
from pytest_llmperf.errors import GpuUnreadable, UsageError
from pytest_llmperf.home import shown
from pytest_llmperf.stats.start_to_start import LEAST_STARTS

DEFAULT_KEY_VARIABLE = "LLMPERF_API_KEY"
"""Environment variable with the API key of a server given by ``--llmperf-base-url``; not set: it wants no key."""

InconclusivePolicy = Literal["fail", "warn"]


@dataclass(frozen=True)
class Options:
    """The command line and the ini file, as plain strings (xdist workers parse them again)."""

    models_path: Path
    budgets_path: Path
    models: tuple[str, ...] = ()
    baseline: str | None = None
    profile: str | None = None
    base_urls: tuple[str, ...] = ()
    engine_python: str | None = None
    data_dir: str | None = None
    inconclusive: str | None = None
    record: str | None = None
    full: bool = False
    starts: str | None = None
    answers: AnswerOptions = field(default_factory=AnswerOptions)
    add: str | None = None
    looks: str | None = None
    workers: str | None = None


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
    collecting: Collecting = field(default_factory=Collecting)
    add: Path | None = None
    """Record of an earlier run, whose data this one adds to."""
    looks: int | None = None
    """Looks that are announced: this run, and those that may add to it."""
    workers: int | None = None
    """Processes of the client that send and read a load; None: one, or as many as its processor time asks for."""

    def candidate(self, name: str) -> Model:
        """The candidate of that name; ``KeyError`` if it is not one of this run."""
        return {model.name: model for model in self.candidates}[name]

    def known_profiles(self) -> tuple[str, ...]:
        """Names of all profiles of the catalogue, and of the one that was given as a file."""
        return tuple(dict.fromkeys((*load_catalog(self.models_path).profiles, self.profile.name)))

    def header(self) -> str:
        """One line: profile, device, and what each name stands for."""
        rows = ", ".join(f"{m.name} → {m.weights.removeprefix('embedded:')}" for m in self.candidates)
        against = f"against {self.baseline.name} → {self.baseline.weights.removeprefix('embedded:')}"
        says = f"; {self.profile.says}" if self.profile.says else ""
        return f"llmperf: {self.profile.name} profile on {self.device_name}: {rows} {against}{says}"


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

    profile = choose_profile(options.profile, options.models_path, has_cuda=has_cuda)
    urls = _base_urls(options.base_urls, default=(options.models or (profile.candidate,))[0])
    unknown = set(urls) - set(profile.models)
    for name in unknown:
        profile.model(name)  # raises with the nearest name

    def row(name: str) -> Model:
        model = profile.model(name)
        if name in urls:
            model = dataclasses.replace(
                model,
                engine=remote.ENGINE.name,
                base_url=urls[name],
                api_key_env=model.api_key_env or DEFAULT_KEY_VARIABLE,
                damage=None,
            )
        if options.engine_python and model.engine == DEFAULT and model.engine_python is None:
            model = dataclasses.replace(model, engine_python=options.engine_python)
        return model

    candidates = tuple(row(name) for name in dict.fromkeys(options.models or (profile.candidate,)))
    policy: InconclusivePolicy
    match options.inconclusive:
        case None | "fail":
            policy = "fail"
        case "warn":
            policy = "warn"
        case other:
            raise UsageError(f"--llmperf-inconclusive={other}: must be fail or warn")
    baseline = row(options.baseline or profile.baseline)
    if gpu_trouble is not None and any(
        model.gpus and engine_named(model.engine).is_started for model in (*candidates, baseline)
    ):
        raise _unreadable(options, gpu_trouble)
    data_dir = Path(options.data_dir) if options.data_dir else None
    if data_dir is not None and not data_dir.is_dir():
        raise UsageError(f"--llmperf-data {shown(data_dir)}: no such directory")
    # A profile that runs on the CPU is judged by the CPU's budgets, also on a machine that has a GPU.
    on_gpu = profile.needs_cuda and device is not None
    judged_as = device if on_gpu and device is not None else "CPU"
    return Settings(
        profile=profile,
        candidates=candidates,
        baseline=baseline,
        budget=load_budgets(options.budgets_path).for_device(profile.name, judged_as),
        device=judged_as,
        device_name=device_name if on_gpu else "CPU",
        inconclusive=policy,
        data_dir=data_dir,
        record=Path(options.record) if options.record else None,
        models_path=options.models_path,
        budgets_path=options.budgets_path,
        starts=_starts(options.starts, (*candidates, baseline)),
        full=options.full,
        collecting=collecting(options.answers),
        add=Path(options.add) if options.add else None,
        looks=_looks(options.looks, options.add),
        workers=whole_number("--llmperf-workers", options.workers, low=1),
    )


def _unreadable(options: Options, trouble: GpuUnreadable) -> UsageError:
    """The error of a run that needs to know the GPU, with the profiles that do not."""
    others = [p.name for p in load_catalog(options.models_path).profiles.values() if not p.needs_cuda]
    without = (
        f", or choose a profile that needs no GPU: --llmperf-profile {' or '.join(others)}" if others else ""
    )
    return UsageError(f"{trouble.cause}; {trouble.remedy}{without}")


def _looks(given: str | None, add: str | None) -> int | None:
    if given is None:
        return None
    if add:
        raise UsageError(
            f"--llmperf-looks={given}: is said at the first look, and --llmperf-add={add} is a later one"
        )
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(
            f"--llmperf-looks={given}: must be a whole number, 2 for a run that may be added to once"
        )
    return int(given)


def _starts(given: str | None, models: Sequence[Model]) -> int:
    if given is None:
        return 1
    if not given.isdecimal() or int(given) in (0, 2):
        raise UsageError(
            f"--llmperf-starts={given}: must be 1, or at least {LEAST_STARTS} to tell how starts of one model differ"
        )
    running = [model.name for model in models if not engine_named(model.engine).is_started]
    if int(given) > 1 and running:
        raise UsageError(
            f"--llmperf-starts={given}: {running[0]} is a server that runs already, and cannot be started anew"
        )
    return int(given)


def _base_urls(values: Sequence[str], *, default: str) -> dict[str, str]:
    """``URL`` (for the first candidate) or ``ROW=URL``, several of them."""
    urls: dict[str, str] = {}
    for value in values:
        row, equals, url = value.partition("=")
        if not equals or "://" in row:
            row, url = default, value
        urls[row] = str(Address.parse(url, f"--llmperf-base-url: base URL of {row}"))
    return urls
