"""What a right answer costs, as suites write it: a model that talks longer is dearer, and the gate says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    def test_tokens(candidate, baseline, answers):
        assert answers(candidate).tokens_per_correct <= answers(baseline).tokens_per_correct * 1.2

    def test_seconds(candidate, answers):
        assert answers(candidate).seconds_per_correct <= 60.0
"""
TALKS = """
    import os, runpy
    solved = runpy.run_path({solver!r})["answer"]
    def answer(request):
        return "well " * int(os.environ.get("FAKE_ENGINE_WELL", "0")) + solved(request)
"""


def prepare(project: Project, solver: str) -> None:
    said = {"ANSWERS": project.answers(TALKS.format(solver=solver))}
    project.catalog({"distill": said, "math": said, "talks": {**said, "WELL": 4}})
    project.shrink(items=400, cost_items=300)
    project.suite(SUITE)


def test_an_equal_model_passes_and_one_that_talks_longer_fails_by_tokens(
    project: Project, solver: str
) -> None:
    prepare(project, solver)
    result, verdicts = project.judged()
    assert result.code == 0, result.text
    assert [(one["metric"], one["n"]) for one in verdicts] == [
        ("tokens per correct embedded answer ratio", 300),
        ("seconds per correct embedded answer", 300),
    ]
    assert (verdicts[0]["observed"], verdicts[0]["level_unit"]) == (1.0, "tokens")
    result, verdicts = project.judged("--model", "talks")
    assert [one["status"] for one in verdicts] == ["FAIL", "PASS"]
    assert verdicts[0]["observed"] > 1.5
    [record] = [one for one in project.record()["answers"] if one["row"] == "talks"]
    assert verdicts[0]["candidate"] == record["tokens_per_correct"]["value"]


def test_a_plan_and_a_mutation_test_know_it(project: Project, solver: str) -> None:
    prepare(project, solver)
    planned = project.run("--llmperf-plan")
    assert planned.code == 0, planned.text
    assert planned.lines("tokens per correct embedded answer ratio", "300 items", "not planned"), planned.text
    project.judged()
    tested = project.run("--llmperf-mutation-test=record.json")
    assert tested.code == 0, tested.text
    assert tested.lines("tokens per correct embedded answer ratio"), tested.text


FROZEN = """
    import time
    import pytest

    @pytest.mark.parametrize("name", ["monotonic", "perf_counter"])
    def test_seconds(candidate, answers, monkeypatch, name):
        monkeypatch.setattr(time, name, lambda: 1.0)
        assert answers(candidate).seconds_per_correct <= 60.0

    def test_accuracy(candidate, accuracy, monkeypatch):
        monkeypatch.setattr(time, "monotonic", lambda: 1.0)
        assert accuracy(candidate) >= 0.5
"""


def test_nothing_is_evaluated_under_a_clock_that_a_test_replaces(project: Project, solver: str) -> None:
    prepare(project, solver)
    project.suite(FROZEN)
    result, verdicts = project.judged()
    assert [one["status"] for one in verdicts] == ["INVALID"] * 3, result.text
    assert result.code == 1
    assert result.lines("is not the machine's clock"), result.text
    assert not result.noise
