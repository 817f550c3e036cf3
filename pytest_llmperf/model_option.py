"""The short spellings ``--model`` and ``--baseline``, in an entry point of their own.

A project that has a ``--model`` of its own blocks them with ``-p no:llmperf_model`` and writes
``--llmperf-model``; pytest has no other way to resolve two options of one name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("llmperf", "LLM serving gates")
    group.addoption(
        "--model",
        dest="llmperf_model",
        action="append",
        metavar="ROW",
        help="short for --llmperf-model (blocked by -p no:llmperf_model)",
    )
    group.addoption(
        "--baseline",
        dest="llmperf_baseline",
        metavar="ROW",
        help="short for --llmperf-baseline",
    )
