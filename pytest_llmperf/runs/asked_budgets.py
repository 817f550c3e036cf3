"""Budgets that the collected tests name and that do not exist end the run before anything is measured.

A test that measures first and asks for its budget afterwards would otherwise say so after minutes. Read from the source
of the test functions: ``budget.latency.ttft_p95`` and ``budget["latency"]["ttft_p95"]``, where ``budget`` is this
plugin's fixture. What a test works out while it runs is not seen here, and fails when it gets there.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pytest_llmperf.errors import CatalogError
from pytest_llmperf.runs.asking import is_ours
from pytest_llmperf.runs.mistaken_marks import refuse

if TYPE_CHECKING:
    import pytest

    from pytest_llmperf.config.budgets import BudgetView
    from pytest_llmperf.runs.ledger import Ledger

BUDGET = "budget"
_MOST = 5
"""Budgets that the message names."""


def check_budgets(items: Sequence[pytest.Item], budgets: BudgetView, ledger: Ledger) -> None:
    """Refuse the run where a test names a budget that ``budgets.toml`` can't have."""
    wrong: dict[str, str] = {}
    for item in items:
        if BUDGET in getattr(item, "fixturenames", ()) and is_ours(item, BUDGET):
            for suite, key in _named(getattr(item, "function", None)):
                try:
                    budgets[suite][key]
                except CatalogError as error:
                    wrong.setdefault(str(error), item.nodeid)
    if wrong:
        told = [f"{test}: {why}" for why, test in wrong.items()]
        more = [f"and {len(told) - _MOST} more"] if len(told) > _MOST else []
        refuse(items[0].config, ledger, "\n".join([*told[:_MOST], *more]))


@cache
def _named(function: Any) -> tuple[tuple[str, str], ...]:
    """Pairs of suite and key that the source of ``function`` names; none where there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError, ValueError):
        return ()
    return tuple(dict.fromkeys(_pairs(tree)))


def _pairs(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if (key := _step(node)) is None:
            continue
        inner = node.value  # type: ignore[attr-defined]
        suite = _step(inner)
        if suite is not None and isinstance(inner.value, ast.Name) and inner.value.id == BUDGET:
            yield suite, key


def _step(node: ast.AST) -> str | None:
    """The name of ``….name`` or ``…["name"]``; None for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return node.slice.value if isinstance(node.slice.value, str) else None
    return None
