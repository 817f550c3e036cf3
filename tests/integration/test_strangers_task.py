"""A task that somebody else wrote in one file: with a budget of its own, a score in place of right or wrong, and items
in groups."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

GROUPS, EACH = 40, 3
TASK = f"""
    from pytest_llmperf import Grade, Item, Outcome, Task

    class Poems:
        sha256 = None
        def items(self, data_dir):
            return [
                Item(f"poem-{{n}}", f"Write poem {{n}}.", f"{{n // {EACH} % 10 / 10}}", group=f"poet {{n // {EACH}}}")
                for n in range({GROUPS * EACH})
            ]
        def describe(self):
            return "poems"

    def critic(text, gold, **_):
        return Grade(Outcome.INFRA, "no reply") if text is None else Grade(Outcome.CORRECT, score=float(gold))

    def pytest_llmperf_tasks(config):
        return [Task(name="poems", source=Poems(), grader=critic)]
"""
SUITE = """
    from pytest_llmperf import points
    def test_score(candidate, score, budget):
        assert score(candidate, "poems") >= budget.poems.score
    def test_score_not_worse(candidate, baseline, score):
        assert score(candidate, "poems") >= score(baseline, "poems") - points(10)
    def test_accuracy(candidate, accuracy, budget):
        assert accuracy(candidate, "poems") >= budget.poems.accuracy
"""


@pytest.fixture(scope="module")
def run(shared_project: Project) -> tuple[Result, dict[str, dict[str, object]]]:
    shared_project.catalog()
    shared_project.suite(TASK, "elsewhere/poems.py")
    shared_project.suite(SUITE)
    shared_project.write("budgets.toml", '[test.any.poems]\nscore = 0.3\naccuracy = "80 %"\n')
    path = os.pathsep.join(
        filter(None, [str(shared_project.path / "elsewhere"), os.environ.get("PYTHONPATH")])
    )
    result, verdicts = shared_project.judged("-p", "poems", environment={"PYTHONPATH": path})
    return result, {str(verdict["metric"]): verdict for verdict in verdicts}


def test_it_is_gated_by_its_score_and_its_own_budget(
    run: tuple[Result, dict[str, dict[str, object]]],
) -> None:
    result, verdicts = run
    assert result.code == 0, result.text
    assert set(verdicts) == {"poems score", "poems score difference", "poems accuracy"}
    assert verdicts["poems score"]["observed"] == pytest.approx(0.45)
    assert verdicts["poems score"]["bound"] == 0.3


def test_its_groups_are_the_sample(run: tuple[Result, dict[str, dict[str, object]]]) -> None:
    _, verdicts = run
    assert {verdict["n"] for verdict in verdicts.values()} == {GROUPS}
