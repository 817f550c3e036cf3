"""Fingerprint of what a run's numbers depend on beside the models: machine, driver, interpreter, suite, commit.

Everything is looked up once and costs milliseconds. A value that cannot be determined is None. Nothing names a person
or a directory of the machine.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import GpuUnreadable
from pytest_llmperf.serving import gpu, placement

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Commit, Environment, Suite

_GIT_WITHIN_S = 5.0


def environment(root: Path) -> Environment:
    """The record's ``environment``; ``root`` is the directory whose repository the suite is in."""
    from pytest_llmperf.record.model import Environment, Gpu

    driver = gpu.driver()
    try:
        devices = placement.devices_for(os.environ)
    except GpuUnreadable:
        # Choosing a profile reports this error; a run on the CPU does not need the devices.
        devices = []
    return Environment(
        plugin=_version("pytest-llmperf"),
        pytest=_version("pytest"),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cpu=cpu_name(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        gpus=tuple(
            Gpu(uuid=device.uuid, name=device.name, total_bytes=device.total_bytes) for device in devices
        ),
        driver=driver.version if driver else None,
        cuda=driver.cuda if driver else None,
        git=commit_of(root),
    )


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Model of the processor, as the kernel names it."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, None) or platform.processor() or None


def commit_of(root: Path) -> Commit | None:
    """The commit checked out at ``root``, and how tracked files differ from it; None outside of git."""
    from pytest_llmperf.record.model import Commit

    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    if not changed:
        return Commit(commit=commit, changed=None if changed is None else False)
    # Two dirty working trees of one commit are two codes.
    diff = _git(root, "diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD")
    digest = None if diff is None else hashlib.sha256(diff.encode("utf-8", "surrogateescape")).hexdigest()
    return Commit(commit=commit, changed=True, diff_sha256=digest)


def suite_of(tests: Iterable[Path], also: Iterable[Path], root: Path) -> Suite:
    """Paths below ``root`` of the files that define what is measured and judged, and one checksum over all of them.

    These are the files of the ``tests``, every ``conftest.py`` above them, and ``also`` (the catalogues).
    """
    from pytest_llmperf.record.model import Suite

    found = {path.resolve() for path in (*tests, *also)}
    for path in list(found):
        for parent in path.parents:
            if (conftest := parent / "conftest.py").is_file():
                found.add(conftest)
            if parent == root.resolve():
                break
    digest = hashlib.sha256()
    names = []
    for name, path in sorted((_below(path, root.resolve()), path) for path in found if path.is_file()):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
        names.append(name)
    return Suite(sha256=digest.hexdigest(), files=tuple(names))


def _below(path: Path, root: Path) -> str:
    # Only the name of a file elsewhere: a record must not reveal directories of the machine.
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=_GIT_WITHIN_S,
            check=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
