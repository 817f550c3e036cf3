"""Tests that only mean something in one profile: left out of the others' runs, and told; never by a slip of the pen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    import pytest

    @pytest.mark.llmperf_profile("gpu")
    def test_elsewhere(candidate, startup):
        assert startup(candidate).ready <= 0.001

    @pytest.mark.llmperf_profile("gpu", "test")
    def test_in_both(candidate, startup):
        assert startup(candidate).ready <= 100

    def test_everywhere(candidate, startup):
        assert startup(candidate).ready <= 100
"""
GPU = """
    [profile.gpu]
    candidate = "other"
    baseline = "other"
    task = "gsm8k"
    [profile.gpu.model.other]
    weights = "./weights"
"""


def test_a_test_for_another_profile_is_left_out_and_the_run_says_so(project: Project) -> None:
    project.catalog(rows=GPU)
    project.suite(SUITE)
    result, verdicts = project.judged("--llmperf-profile", "test")
    assert result.code == 0, result.text
    assert len(verdicts) == 2
    assert result.lines("llmperf: 1 test is for the profile gpu only, and not part of this run of test")
    assert result.lines("2 passed, 1 deselected"), result.text
    planned = project.run("--llmperf-profile", "test", "--llmperf-plan")
    assert planned.lines("llmperf: 2 gates"), planned.text


def test_a_profile_that_nobody_has_is_a_mistake(project: Project) -> None:
    project.catalog(rows=GPU)
    project.suite(SUITE.replace('"gpu", "test"', '"gpuu"'))
    result = project.run("--llmperf-profile", "test")
    assert result.code == 4, result.text
    assert result.lines("@pytest.mark.llmperf_profile('gpuu'): no such profile; did you mean gpu?"), (
        result.text
    )
    project.suite(SUITE.replace('("gpu", "test")', ""))
    result = project.run("--llmperf-profile", "test")
    assert result.code == 4, result.text
    assert result.lines('write @pytest.mark.llmperf_profile("gpu")'), result.text
    assert project.starts == []


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ('("gpuu")', "@pytest.mark.llmperf_profile('gpuu'): no such profile; did you mean gpu?"),
        ("()", 'write @pytest.mark.llmperf_profile("gpu")'),
    ],
)
def test_a_mistake_in_a_worker_is_no_internal_error(project: Project, mark: str, said: str) -> None:
    project.catalog(rows=GPU)
    project.suite(SUITE.replace('("gpu", "test")', mark))
    result = project.run_with_workers(2, "--llmperf-profile", "test")
    assert result.code == 1, result.text
    assert result.lines("INVALID as a whole: ", said), result.text
    assert not result.lines("INTERNALERROR"), result.text
