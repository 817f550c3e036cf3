"""One rule for every path that a run is given.

On the command line (and in ``LLMPERF_ENGINE_PYTHON``): relative to the directory in which pytest was called. In
pytest's configuration: relative to the rootdir. In a catalogue: relative to the catalogue's own directory. A leading
``~`` is the home directory everywhere, also behind ``=``, where no shell expands it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import UsageError
from pytest_llmperf.home import expand

if TYPE_CHECKING:
    import pytest

FILES = (
    "llmperf_models",
    "llmperf_budgets",
    "llmperf_data",
    "llmperf_record",
    "llmperf_markdown",
    "llmperf_metrics",
    "llmperf_add",
    "llmperf_history",
    "llmperf_answers",
    "llmperf_plan",
    "llmperf_prove",
    "llmperf_reference_dir",
)
"""Options whose value is always a path, by their names in ``config.option``."""


def anchor(config: pytest.Config) -> None:
    """Make the paths on the command line absolute, before a test changes the working directory.

    Raises :class:`UsageError` for what can be no path.
    """
    here = config.invocation_params.dir
    for name in FILES:
        if value := config.getoption(name, default=None):
            setattr(config.option, name, anchored(_shown(name), value, here))
    if value := config.getoption("llmperf_engine_python", default=None):
        config.option.llmperf_engine_python = interpreter("--llmperf-engine-python", value, here)
    if value := config.getoption("llmperf_profile", default=None):
        config.option.llmperf_profile = _profile(value, here)


def anchored(option: str, value: str, here: Path) -> str:
    """``value`` as an absolute path. ``option`` is what an error names."""
    if "\0" in value:
        raise UsageError(f"{option}={value!r}: a path holds no NUL character")
    # Not resolve(): a link may be replaced while the run goes on, and is meant as it stands.
    return os.path.abspath(here / expand(value))  # noqa: PTH100


def interpreter(option: str, value: str, here: Path) -> str:
    """An interpreter by its path; a bare name (``python3.12``) is left to be looked up on ``PATH``."""
    return anchored(option, value, here) if os.sep in value or value.startswith((".", "~")) else value


def _profile(value: str, here: Path) -> str:
    """``FILE.toml`` and ``FILE#NAME`` with an absolute file; the name of a profile as it is."""
    file, hash_, name = value.partition("#")
    path = anchored("--llmperf-profile", file, here)
    is_file = file.endswith(".toml") or (os.sep in file and Path(path).is_file())
    return f"{path}{hash_}{name}" if is_file else value


def _shown(name: str) -> str:
    return f"--{name.replace('_', '-')}"
