"""Perplexity as suites write it: measured once, judged against a number and against the baseline, in the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    def test_it_is_as_low_as_the_baselines(candidate, baseline, perplexity):
        assert perplexity(candidate) <= perplexity(baseline) * 1.05

    def test_it_is_low(candidate, perplexity):
        assert perplexity(candidate) <= 3.5
"""


def test_the_same_texts_pass_and_a_more_surprised_model_fails(project: Project) -> None:
    project.catalog({"worse": {"SURPRISE": 1.3}})
    project.suite(SUITE)
    result, verdicts = project.judged()
    assert result.code == 0, result.text
    assert [one["status"] for one in verdicts] == ["PASS", "PASS"]
    assert [one["row"] for one in project.record()["perplexity"]] == ["distill", "math"]
    assert project.record()["perplexity"][0]["documents"] == 40
    result, verdicts = project.judged("--model", "worse")
    assert result.code == 1, result.text
    assert [one["status"] for one in verdicts] == ["FAIL", "FAIL"]
    assert result.lines("embedded perplexity is ", "% above the baseline", "at most 5 % is allowed"), (
        result.text
    )


def test_a_server_that_cannot_tell_makes_it_invalid_and_never_green(project: Project) -> None:
    project.catalog({"distill": {"SURPRISE": -1}})
    project.suite(SUITE)
    result, verdicts = project.judged()
    assert result.code == 1, result.text
    assert result.noise == []
    assert [one["status"] for one in verdicts] == ["INVALID", "INVALID"]
    assert result.lines("nothing was measured", "no log probability"), result.text


def test_a_plan_and_a_mutation_test_know_it(project: Project) -> None:
    project.suite(SUITE)
    planned = project.run("--llmperf-plan")
    assert planned.code == 0, planned.text
    assert planned.lines("embedded perplexity ratio", "40"), planned.text
    project.judged()
    tested = project.run("--llmperf-mutation-test=record.json")
    assert tested.code == 0, tested.text
    assert tested.lines("embedded perplexity ratio"), tested.text


def test_unknown_texts_are_named(project: Project) -> None:
    project.suite("def test_it(candidate, perplexity):\n    assert perplexity(candidate, 'c5') <= 3.0")
    result = project.run()
    assert result.code == 1, result.text
    assert result.lines("no texts 'c5'; known: c4, embedded"), result.text
    assert project.starts == []


def test_too_many_lost_texts_say_why_the_first_was_lost(project: Project) -> None:
    project.catalog({"distill": {"FAIL_SCORES": 4}})
    project.suite(SUITE)
    result, verdicts = project.judged()
    assert result.code == 1, result.text
    assert [one["status"] for one in verdicts] == ["INVALID", "INVALID"]
    assert '; the first: candidate: HTTP 400: {"error": {"message": "planted' in str(verdicts[0]["why"])
    assert '; the first: HTTP 400: {"error": {"message": "planted' in str(verdicts[1]["why"])
