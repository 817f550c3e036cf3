"""``doctor``: whether a run could begin on this machine, and what to do where it could not."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pytest_llmperf.cli.parts import command, tell
from pytest_llmperf.config.catalog import choose_profile
from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.registry import DEFAULT, engine_named
from pytest_llmperf.errors import GpuUnreadable, LlmperfError, first_line
from pytest_llmperf.prompts.asking import ask
from pytest_llmperf.prompts.template import template_of
from pytest_llmperf.prompts.violations import REMEDIES, prompt_violations
from pytest_llmperf.serving import checkpoint, gpu, placement, ports, weights
from pytest_llmperf.serving.adapters import served_beside
from pytest_llmperf.serving.engine_probe import EngineProbeError, engine_version
from pytest_llmperf.serving.gpu import GIB
from pytest_llmperf.serving.gpu_leases import holder_of

LEAST_PYTHON = (3, 11)
LEAST_DISK = 2 * GIB
CPU_ENGINE = "python -m pytest_llmperf.engines.vllm_cpu"


@dataclass(frozen=True)
class Check:
    """``state`` is ``ok``, ``note`` (a run can begin) or ``bad``; ``remedy`` says what to do."""

    what: str
    state: str
    said: str
    remedy: str = ""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "doctor",
        "whether a run could begin on this machine, and what to do if not",
        "Starts no server and asks nobody over the network. Exit code 1 if something is missing.",
    )
    parser.add_argument(
        "--engine-python",
        metavar="PATH",
        help="interpreter with vLLM (default: LLMPERF_ENGINE_PYTHON, else this)",
    )
    parser.add_argument("--models", type=Path, metavar="PATH", help="a catalogue: are its weights here?")
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    python = asked.engine_python or os.environ.get("LLMPERF_ENGINE_PYTHON") or sys.executable
    trouble: GpuUnreadable | None = None
    try:
        placement.first_device()
        devices = placement.devices_for(os.environ)
    except GpuUnreadable as error:
        devices, trouble = [], error
    checks: list[Callable[[], Iterator[Check]]] = [
        _python,
        _pytest,
        lambda: _engine(python, bool(devices)),
        lambda: _gpu(devices, trouble),
        _ports,
        _disk,
        lambda: _data(asked.models, bool(devices)),
        lambda: _threads(bool(devices)),
    ]
    findings = [finding for check in checks for finding in check()]
    signs = {"ok": "ok  ", "note": "note", "bad": "BAD "}
    for check in findings:
        tell([f"{signs[check.state]}  {check.what}: {check.said}"])
        if check.remedy:
            tell([f"      → {check.remedy}"])
    bad = sum(check.state == "bad" for check in findings)
    tell(["", "a run can begin" if not bad else f"{bad} of {len(findings)} need something done"])
    return int(bool(bad))


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= LEAST_PYTHON
    yield Check("Python", "ok" if good else "bad", version, "" if good else "use Python 3.11 or newer")
    if not sys.platform.startswith("linux"):
        yield Check(
            "system",
            "note",
            sys.platform,
            "servers are started on Linux only; --llmperf-base-url works everywhere",
        )


def _pytest() -> Iterator[Check]:
    version = metadata.version("pytest")
    good = int(version.partition(".")[0]) >= 9
    yield Check("pytest", "ok" if good else "bad", version, "" if good else "pip install 'pytest>=9'")
    loaded = any(point.value == "pytest_llmperf.plugin" for point in metadata.entry_points(group="pytest11"))
    yield Check(
        "plugin",
        "ok" if loaded else "bad",
        "pytest will load it" if loaded else "pytest does not know it",
        "" if loaded else f"{sys.executable} -m pip install pytest-llmperf",
    )


def _engine(python: str, on_gpu: bool) -> Iterator[Check]:
    remedy = "pip install 'pytest-llmperf[vllm]'" if on_gpu else CPU_ENGINE
    try:
        found = engine_version(python, engine_named(DEFAULT).distributions)
    except EngineProbeError as error:
        yield Check("engine", "bad", f"{python} cannot be asked: {error}", "give --engine-python PATH")
        return
    if found is None:
        yield Check(
            "engine",
            "bad",
            f"{python} has no vLLM",
            f"{remedy}; or test a server that runs: --llmperf-base-url",
        )
    elif on_gpu and found.is_cpu:
        yield Check(
            "engine",
            "note",
            f"{found}, a build for the CPU, beside a GPU",
            "pip install 'pytest-llmperf[vllm]'",
        )
    else:
        yield Check("engine", "ok", str(found))


def _gpu(devices: list[gpu.Device], trouble: GpuUnreadable | None) -> Iterator[Check]:
    driver = gpu.driver()
    if trouble is not None:
        yield Check(
            "GPU", "bad", trouble.cause, f"{trouble.remedy}; a run without it: --llmperf-profile embedded"
        )
        return
    if not devices:
        yield Check("GPU", "note", "none on this machine", "the embedded profile runs without one")
        return
    if driver is not None:
        yield Check("driver", "ok", f"{driver.version}, CUDA up to {driver.cuda}")
    for device in devices:
        said = f"{device.name}, {device.free_bytes / GIB:.1f} of {device.total_bytes / GIB:.1f} GiB free"
        busy = device.used_bytes > device.total_bytes / 10
        only = placement.OnlyOn(gpu.open_nvml(), placement.Placement((device,)))
        holders = [gpu.describe_holders(only)] if busy else []
        if run := holder_of(device.uuid):
            holders.insert(0, f"leased by the run of process {run.pid}")
        yield Check(
            f"GPU {device.label}", "note" if busy or run else "ok", said, "; ".join(filter(None, holders))
        )


def _ports() -> Iterator[Check]:
    try:
        lock = ports.reserve()
    except (ports.NoFreePort, OSError) as error:
        yield Check("ports", "bad", str(error), "end what holds them")
        return
    with lock:
        yield Check("ports", "ok", f"{lock.port} of 127.0.0.1 is free")


def _disk() -> Iterator[Check]:
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    good = free >= LEAST_DISK
    remedy = "" if good else "free some, or set TMPDIR: logs and state of the servers are kept there"
    yield Check("disk", "ok" if good else "bad", f"{free / GIB:.1f} GiB free in {place}", remedy)


def _data(models: Path | None, on_gpu: bool) -> Iterator[Check]:
    cache = weights.hub_cache(os.environ)
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    said = f"{cache}{'' if cache.is_dir() else ' (not there yet)'}{', offline' if offline else ''}"
    yield Check("Hugging Face cache", "ok", said)
    if models is None:
        return
    try:
        profile = choose_profile(None, models, has_cuda=lambda: on_gpu)
    except LlmperfError as error:
        yield Check("catalogue", "bad", str(error))
        return
    for name in dict.fromkeys((profile.candidate, profile.baseline)):
        try:
            found = weights.resolve(profile.model(name))
            checkpoint.check(profile.model(name), found)
        except LlmperfError as error:
            first, *rest = str(error).splitlines()
            yield Check(f"weights of {name}", "bad", first, " ".join(rest[:1]))
            continue
        here = found.directory is not None
        yield Check(
            f"weights of {name}",
            "ok" if here else "note",
            "here" if here else f"{found.source} is not here",
            "" if here else "the engine fetches them at the first start; fetch them before a timed night",
        )
        if profile.model(name).adapter:
            yield _adapter(profile.model(name))
        if found.directory is not None:
            yield from _prompts(profile.model(name), found.directory)


def _adapter(model: Model) -> Check:
    """The LoRA adapter of a row, as its server will be told to load it."""
    what = f"adapter of {model.name}"
    try:
        (found,) = served_beside([model])
    except LlmperfError as error:
        first, *rest = str(error).splitlines()
        return Check(what, "bad", first, " ".join(rest[:1]))
    return Check(what, "ok", f"here, rank {found.rank}, on the server of {model.host}")


def _prompts(model: Model, directory: Path) -> Iterator[Check]:
    """Findings that would refuse the row's tasks, in the text that its chat template makes of a question."""
    what = f"prompts of {model.name}"
    if model.rules.protocol != "chat":
        return
    try:
        asked = ask(model, "How many legs do 3 cats have?")
        found = prompt_violations(asked, template_of(model, directory).render_ask(asked), model)
    except LlmperfError as error:
        yield Check(what, "bad", first_line(error), REMEDIES["template-refuses"])
        return
    refused = [finding for finding in found if not model.rules.accepted(finding.rule)]
    for finding in refused:
        yield Check(
            what,
            "bad",
            str(finding),
            f'{REMEDIES[finding.rule]}; or accepts = ["{finding.rule}"] in its rules',
        )
    if not refused:
        accepted = ", ".join(finding.rule for finding in found)
        yield Check(
            what, "ok", f"as the row accepts them ({accepted})" if accepted else "nothing is added to them"
        )


def _threads(on_gpu: bool) -> Iterator[Check]:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Check("processors", "ok" if cpus > 1 else "note", f"{cpus} for this process")
    if on_gpu:
        return
    bound = os.environ.get("VLLM_CPU_OMP_THREADS_BIND")
    said = f"VLLM_CPU_OMP_THREADS_BIND={bound}" if bound else "left to the engine"
    yield Check("thread binding", "ok", said)
    if (threads := os.environ.get("OMP_NUM_THREADS")) and threads.isdecimal() and int(threads) > cpus:
        yield Check(
            "OMP_NUM_THREADS",
            "note",
            f"{threads}, more than {cpus} processors",
            "unset it: times will jump about",
        )
