"""Flips: answers that are right on one side only, which a margin between two shares does not see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    from pytest_llmperf import points

    def test_few_answers_change(candidate, baseline, flips):
        assert flips(candidate, baseline) <= 0.05

    def test_not_worse(candidate, baseline, accuracy):
        assert accuracy(candidate) >= accuracy(baseline) - points(10)
"""


@pytest.fixture
def shifted(project: Project, solver: str) -> Project:
    """Both rows are right on nine answers of ten; ``distill`` is wrong on others than ``math``."""
    script = Path(solver).read_text(encoding="utf-8")
    rule = "zlib.crc32(question.encode()) % 100 < PERCENT"
    assert rule in script
    answers = project.answers(script.replace(rule, "zlib.crc32(question.encode()) % 10 != PERCENT"))
    project.catalog(
        {
            row: {"ANSWERS": answers, "RIGHT_PERCENT": wrong}
            for row, wrong in {"distill": 1, "math": 2}.items()
        }
    )
    project.shrink(items=300)
    project.suite(SUITE)
    return project


def test_equal_accuracy_with_other_answers_right_is_seen_by_flips_alone(shifted: Project) -> None:
    result, [few, margin] = shifted.judged()
    assert result.code == 1, result.text
    assert (few["status"], few["metric"]) == ("FAIL", "embedded flips")
    assert margin["status"] == "PASS"
    share, (low, high) = margin["flips"], margin["flips_interval"]
    assert 0.1 < low < share < high < 0.3
    assert result.lines("flips (one side right, the other not): embedded accuracy"), result.text
    kept = shifted.record()["verdicts"][1]
    assert (kept["flips"], kept["flips_interval"]) == (share, [low, high])
    page = (shifted.path / "record.html").read_text(encoding="utf-8")
    assert "flips: 2" in page or "flips: 1" in page


def test_flips_are_planned_and_mutated_and_a_model_has_none_against_itself(shifted: Project) -> None:
    planned = shifted.run("--llmperf-plan")
    assert planned.lines("embedded flips"), planned.text
    result, [few, _] = shifted.judged("--model", "math", "--llmperf-full")
    assert (few["status"], few["observed"], few["method"]) == ("PASS", 0.0, "Clopper-Pearson"), result.text
    tested = shifted.run("--llmperf-mutation-test=record.json")
    assert tested.lines("embedded flips", "300", "PASS", "pts"), tested.text
    planned = shifted.run("--llmperf-plan", "--llmperf-full")
    assert planned.lines("embedded flips"), planned.text
