"""Acceptance length of speculative decoding as a suite writes it: in a run, its plan, mutation test and record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

pytestmark = pytest.mark.slow

SUITE = """
    def test_a_step_yields_enough(candidate, load, budget):
        assert load(candidate, concurrency=4).acceptance_length >= budget.speculation.acceptance_length[4]

    def test_it_accepts_as_much_as_the_baseline(candidate, baseline, load):
        assert load.interleaved(candidate, baseline, concurrency=4).acceptance_length.ratio >= 0.8

    def test_on_a_schedule(candidate, load):
        assert load.open_loop(candidate, rate=200, requests=120).acceptance_rate >= 0.2
"""
BUDGETS = '[test.any.speculation]\nacceptance_length = { 4 = "1.5 tok/step" }\n'


@pytest.fixture(scope="module")
def run(shared_project: Project) -> tuple[Result, list[dict[str, Any]]]:
    shared_project.catalog(
        {
            "never": {"ACCEPTS": 0.0, "DRAFTS": "request"},
            "plain": {},
            "math": {"ACCEPTS": 2.5},
        }
    )
    shared_project.shrink(rounds=8, prompt_tokens=24, answer_tokens=12)
    with (shared_project.path / "conftest.py").open("a") as conftest:
        conftest.write("from pytest_llmperf.load import run\nrun.LATE_ABOVE_S = 60.0\n")
    shared_project.write("budgets.toml", BUDGETS)
    shared_project.suite(SUITE)
    return shared_project.judged("--model", "never", "--model", "plain", timeout_s=120)


def test_a_draft_that_never_matches_fails_and_no_speculation_is_invalid(
    run: tuple[Result, list[dict[str, Any]]],
) -> None:
    result, verdicts = run
    by_row = [[verdict["status"] for verdict in verdicts[n : n + 3]] for n in (0, 3)]
    assert sorted(by_row) == [["FAIL"] * 3, ["INVALID"] * 3], result.text
    assert result.lines("plain: ", "do not tell their draft tokens"), result.text


def test_the_record_has_the_totals_of_every_round(
    run: tuple[Result, list[dict[str, Any]]], shared_project: Project
) -> None:
    del run
    rounds = [
        one for load in shared_project.record()["load"] for one in load["rounds"] if load["row"] == "math"
    ]
    assert rounds
    for one in rounds:
        tokens, steps = one["totals"]["acceptance_length"]
        assert tokens > steps > 0


def test_plan_and_mutation_test_know_the_gate(
    run: tuple[Result, list[dict[str, Any]]], shared_project: Project
) -> None:
    del run
    planned = shared_project.run("--llmperf-plan")
    assert planned.code == 0, planned.text
    assert planned.lines("acceptance length at 4", "≥"), planned.text
    mutated = shared_project.run("--llmperf-mutation-test", "record.json")
    assert mutated.lines("acceptance length at 4"), mutated.text
