"""A planted slowness is found and named, and equal servers pass: the whole path, with a server of known speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    def test_tokens_come_as_fast_as_the_baselines(candidate, baseline, load):
        assert load.interleaved(candidate, baseline, concurrency=2).tpot.ratio <= 1.10
"""
TPOT_S = 0.02


@pytest.mark.slow
def test_a_candidate_that_is_a_third_slower_fails_and_is_named(project: Project) -> None:
    project.catalog({"distill": {"TPOT_S": 1.3 * TPOT_S}, "math": {"TPOT_S": TPOT_S}})
    project.suite(SUITE)
    result, [verdict] = project.judged()
    assert result.code == 1, result.text
    assert result.lines("FAILED", "FAIL: TPOT at 2 ratio 1.")
    assert verdict["status"] == "FAIL"
    assert 1.2 < verdict["observed"] < 1.4
    assert verdict["interval"][0] > 1.10
    assert verdict["baseline"] < verdict["candidate"]


@pytest.mark.slow
def test_equally_fast_servers_pass(project: Project) -> None:
    project.catalog({"distill": {"TPOT_S": TPOT_S}, "math": {"TPOT_S": TPOT_S}})
    project.suite(SUITE)
    result, [verdict] = project.judged()
    assert result.code == 0, result.text
    assert verdict["status"] == "PASS"
    assert 0.9 < verdict["observed"] < 1.1
