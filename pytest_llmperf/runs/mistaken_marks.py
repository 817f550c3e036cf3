"""A mark that is written wrongly ends the run before anything is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llmperf.runs.ledger import Ledger


def refuse(config: pytest.Config, ledger: Ledger, why: str) -> None:
    """Raise ``pytest.UsageError`` (exit code 4).

    In a worker of pytest-xdist, where that would be an internal error of the controlling process, make the run INVALID
    instead and return.
    """
    if not hasattr(config, "workerinput"):
        raise pytest.UsageError(why)
    ledger.problem(why)
