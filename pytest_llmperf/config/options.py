"""The command line: every option of the plugin, and the rule for every path that a run is given.

A path on the command line (and in ``LLMPERF_ENGINE_PYTHON``) is relative to the directory in which pytest was called;
in pytest's configuration to the rootdir; in a catalogue to the catalogue's own directory. A leading ``~`` is the
home directory everywhere, also behind ``=``, where no shell expands it.

Imported by every pytest where the plugin is installed: what costs time is imported inside functions.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from pytest_llmperf.json_values import Json

_VALUES = {
    "base-url": (
        "[ROW=]URL",
        "test a server that is already running (key in the environment variable LLMPERF_API_KEY); repeats",
    ),
    "baseline": ("ROW", "row of the catalogue to compare with (default: the profile's)"),
    "profile": (
        "NAME|PATH",
        "a profile, or a models.toml (default: gpu if there is a CUDA device, else embedded)",
    ),
    "models": ("PATH", "the catalogue of models (default: the ini value llmperf_models)"),
    "budgets": ("PATH", "the budgets (default: budgets.toml beside the catalogue)"),
    "data": ("DIR", "read data sets from here instead of the hub"),
    "inconclusive": (
        "fail|warn|exit",
        "what INCONCLUSIVE does to its test (default: fail); exit: as fail, and exit code 10 if nothing is worse",
    ),
    "record": ("PATH", "write the run's record (JSON) here, and the data of its gates beside it"),
    "markdown": ("PATH", "write a summary as Markdown here (also to $GITHUB_STEP_SUMMARY, if set)"),
    "metrics": ("PATH", "write the verdicts here, for Prometheus' textfile collector"),
    "add": ("RECORD", "add this run's data to that run's, and judge both together (a further look)"),
    "looks": ("N", "announce up to N looks (this run, then --llmperf-add), which share the promised error"),
    "starts": ("K", "compare speed over K starts of both servers, 3 or more (default: the profile's)"),
    "gpu-wait": (
        "DURATION",
        "wait so long for GPUs that other runs hold, as in 8h; 0s: not at all (default: 10min)",
    ),
    "order": ("SEED", "repeat a run's draws of items, rounds and samples (default: new ones each run)"),
    "shard": (
        "I/N",
        "run the I-th of N parts of the tests (needs --llmperf-order and --llmperf-record), to be merged",
    ),
    "answers": ("DIR", "keep answers here, to go on after an interruption (default: pytest's cache)"),
    "reuse": (
        "none|interrupted|all",
        "earlier runs whose answers are taken over: none, an interrupted one (default), or all, to try a gate",
    ),
    "mutation-test": (
        "RECORD",
        "start nothing: plant damage into a record's data, and see what its gates catch",
    ),
    "model": ("ROW", "row to judge; repeats"),
    "plan": (
        "RECORD",
        "start nothing, and say what each gate will catch and how often it errs; RECORD: an earlier run's",
    ),
    "reference-gaps": (
        "fail|warn",
        "what a missing reference, an incomparable metric or a vanished test does (default: fail)",
    ),
}
"""Options that take a value: its name and what they are for. A PATH, DIR or RECORD is made absolute."""
_SWITCHES = {
    "shard-items": "every shard asks its part of the items of tests that have only accuracies and flips; the gates are "
    "judged by the merge (needs --llmperf-shard)",
    "full": "measure all items, rounds and starts, also where the gates are decided before",
    # Takes no value: one that may take a value takes `suites/` for it in `--llmperf-reference suites/`.
    "reference": "compare the record with a promoted one; the ini value llmperf_references says where these lie",
}
_MORE: dict[str, dict[str, Json]] = {
    "model": {"action": "append"},
    "base-url": {"action": "append"},
    "plan": {"nargs": "?", "const": ""},
    "reference-gaps": {"metavar": None, "choices": ["fail", "warn"], "default": "fail"},
}
_INI = {
    "llmperf_models": ("catalogue of models, relative to the rootdir", ""),
    "llmperf_references": ("directory of promoted records, relative to the rootdir", "llmperf-references"),
}


def _dest(name: str) -> str:
    """The name of an option's value. Said, for pytest derives it by a search of every other option."""
    return f"llmperf_{name.replace('-', '_')}"


FILES = tuple(_dest(name) for name, (value, _) in _VALUES.items() if value in ("PATH", "DIR", "RECORD"))
"""Options whose value is always a path, by their names in ``config.option``."""


def register(parser: pytest.Parser) -> None:
    """Add all options and ini values to pytest's."""
    group = parser.getgroup("llmperf", "LLM serving gates")
    for name, (value, text) in _VALUES.items():
        more = _MORE.get(name, {})
        group.addoption(f"--llmperf-{name}", **{"dest": _dest(name), "metavar": value, "help": text} | more)
    for name, text in _SWITCHES.items():
        group.addoption(f"--llmperf-{name}", dest=_dest(name), action="store_true", help=text)
    for name, (text, default) in _INI.items():
        parser.addini(name, text, type="string", default=default)


def anchor(config: pytest.Config) -> None:
    """Make the paths on the command line absolute, before a test changes the working directory.

    Raises ``UsageError`` for what can be no path.
    """
    here = config.invocation_params.dir
    for name in FILES:
        if value := config.getoption(name, default=None):
            setattr(config.option, name, anchored(_shown(name), value, here))
    if value := config.getoption("llmperf_profile", default=None):
        config.option.llmperf_profile = _profile(value, here)


def anchored(option: str, value: str, here: Path) -> str:
    """``value`` as an absolute path. ``option`` is what an error names."""
    if "\0" in value:
        from pytest_llmperf.errors import UsageError

        raise UsageError(f"{option}={value!r}: a path holds no NUL character")
    from pytest_llmperf.home import expand

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
