"""A test asks for loads of its own: they are sent, planned, named and recorded as asked for, beside the profile's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

pytestmark = pytest.mark.slow

SUITE = """
    def test_usual(candidate, baseline, load):
        assert load.interleaved(candidate, baseline, concurrency=2).e2el.ratio <= 100

    def test_long(candidate, baseline, load):
        pair = load.interleaved(
            candidate, baseline, concurrency=2, prompt_tokens=200, answer_tokens=12, rounds=6
        )
        assert pair.e2el.ratio <= 100

    def test_few(candidate, load):
        assert load(candidate, concurrency=1, rounds=4).ttft.p50 <= 1000
"""
LONG = "E2EL at 2, 200 → 12 tokens ratio"


def test_a_load_of_its_own_is_measured_named_and_recorded_beside_the_profiles(project: Project) -> None:
    project.shrink(rounds=5, prompt_tokens=20, answer_tokens=8)
    project.suite(SUITE)
    result, verdicts = project.judged()
    assert result.code == 1, result.text
    assert {one["metric"]: one["detail"].split("; ")[0] for one in verdicts if one["status"] == "PASS"} == {
        "E2EL at 2 ratio": "5 rounds",
        LONG: "6 rounds",
    }
    assert result.lines("rounds=4, need a whole number, 5 or more")
    loads = [one for one in project.record()["load"] if one["row"] == "distill"]
    shapes = {(one["workload"]["input_tokens"], one["workload"]["output_tokens"]): one for one in loads}
    assert {shape: len(one["rounds"]) for shape, one in shapes.items()} == {(20, 8): 5, (200, 12): 6}
    assert {one["output_tokens"] for one in shapes[200, 12]["rounds"]} == {3 * 12}
    planned = project.run("--llmperf-plan", "-k", "usual or long")
    assert planned.lines(LONG.removesuffix(" ratio"), "1 start"), planned.text
