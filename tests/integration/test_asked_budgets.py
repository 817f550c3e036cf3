"""A budget that a test names and that does not exist ends the run before a server starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

EAGER = "load.goodput(candidate, slo=Slo(ttft_s=1), rate=5, requests=10)"


def suite(project: Project, asked: str) -> None:
    project.suite(f"""
        from pytest_llmperf import Slo
        def test_it(candidate, load, budget):
            assert {EAGER} >= {asked}
    """)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("budget.latency.goodputt", "budget.latency.goodputt: unknown budget"),
        ('budget["latency"]["goodputt"]', "budget.latency.goodputt: unknown budget"),
        ("budget.latancy.ttft_p95[1]", "budget.latancy: unknown suite; did you mean latency?"),
    ],
)
@pytest.mark.parametrize("arguments", [(), ("--llmperf-plan",)], ids=["run", "plan"])
def test_an_unknown_budget_is_found_before_a_server_starts(
    project: Project, asked: str, why: str, arguments: tuple[str, ...]
) -> None:
    suite(project, asked)
    result = project.run(*arguments)
    assert result.code == 4, result.text
    assert result.lines("test_gate.py::test_it[distill]", why), result.text
    assert project.starts == []


def test_all_unknown_budgets_are_named_at_once(project: Project) -> None:
    lines = "\n".join(
        f"        def test_{n}(candidate, accuracy, budget):\n"
        f"            assert accuracy(candidate) >= budget.accuracy.floor{n}"
        for n in range(7)
    )
    project.suite("\n" + lines)
    result = project.run()
    assert result.code == 4, result.text
    assert [bool(result.lines(f"budget.accuracy.floor{n}: unknown budget")) for n in range(7)] == [
        True
    ] * 5 + [False] * 2
    assert result.lines("and 2 more")
    assert project.starts == []


def test_a_budget_of_ones_own_is_none_of_ours(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.shrink(items=40)
    project.suite("""
        import pytest
        from types import SimpleNamespace
        @pytest.fixture
        def budget():
            return SimpleNamespace(mine=SimpleNamespace(floor=0.3))
        def test_it(candidate, accuracy, budget):
            assert accuracy(candidate) >= budget.mine.floor
    """)
    assert project.run().code == 0
