"""The short spellings ``--model`` and ``--baseline``, where no other plugin and no conftest.py has them.

They are registered last, after every plugin and every initial ``conftest.py`` has registered its own: a project that
has a ``--model`` keeps it, whatever is installed, and writes ``--llmperf-model`` for ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llmperf.json_values import Json

SHORT: dict[str, dict[str, Json]] = {
    "--model": {
        "dest": "llmperf_model",
        "action": "append",
        "metavar": "ROW",
        "help": "short for --llmperf-model, unless the project has a --model of its own",
    },
    "--baseline": {
        "dest": "llmperf_baseline",
        "metavar": "ROW",
        "help": "short for --llmperf-baseline, unless the project has a --baseline of its own",
    },
}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, object, object]:
    _no_paths(early_config, args)
    try:
        return (yield)
    finally:
        register(parser)


def _no_paths(config: pytest.Config, args: list[str]) -> None:
    """Take the values of our options out of the paths in which ``conftest.py`` files are looked for.

    Unregistered as yet, ``--model distill`` leaves ``distill`` to be taken for a directory with tests, which is just
    what a directory of weights is called.
    """
    paths = getattr(config.known_args_namespace, "file_or_dir", None)
    if not isinstance(paths, list):
        return
    for place, word in enumerate(args[:-1]):
        if word in SHORT and args[place + 1] in paths:
            paths.remove(args[place + 1])


def register(parser: pytest.Parser) -> None:
    """Add the short spellings that nobody has."""
    group = parser.getgroup("llmperf", "LLM serving gates")
    for name, attributes in SHORT.items():
        try:
            group.addoption(name, **attributes)
        except (argparse.ArgumentError, ValueError):
            continue  # another's, which came first
