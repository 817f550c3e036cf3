"""Budgets that no gate of a complete run was compared with: a requirement that looks gated and is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.config.run_config import Settings
from pytest_llmperf.hookspecs import LEFT_OUT
from pytest_llmperf.runs.ledger import Ledger


def unread_budgets(config: pytest.Config, settings: Settings, ledger: Ledger) -> list[str]:
    """Names of the budgets that no test asserted; none where the run was not all the suites (a shard
    of them is not), or a test broke off."""
    if any(entry.trouble() is not None for entry in ledger.entries):
        return []  # The budgets that a broken test would have asserted are unknown.
    if (
        not ledger.entries
        or ledger.left_out
        or settings.shard is not None
        or not _runs_all_suites(config, settings.budgets_path)
    ):
        return []
    marks: Any = config.pluginmanager.get_plugin(LEFT_OUT)  # `ProfileMarks`, which knows the session's class
    judged = {verdict.origin for _, verdict in ledger.verdicts()}
    return [name for name in settings.budget.unread(judged) if not marks.would_assert(name)]


def _runs_all_suites(config: pytest.Config, budgets: Path) -> bool:
    """True if pytest was asked for the whole directory of the budgets, and so for all suites that have them."""
    here = config.invocation_params.dir
    given = [(here / argument).resolve() for argument in config.args if "::" not in argument]
    home = budgets.resolve().parent
    return any(path.is_dir() and home.is_relative_to(path) for path in given)
