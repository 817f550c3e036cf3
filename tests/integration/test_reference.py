"""A run against the record that somebody promoted: green, worse, missing, vanished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.cli import main

if TYPE_CHECKING:
    from tests.integration.conftest import Project

FLOOR = """
    def test_floor(candidate, accuracy):
        assert accuracy(candidate) >= 0.2
"""
COMPARED = ("--llmperf-record", "record.json", "--llmperf-full", "--llmperf-reference")


def test_a_run_is_compared_with_what_was_promoted(project: Project, solver: str) -> None:
    project.shrink(items=60)
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite(FLOOR)
    result = project.run(*COMPARED)
    assert result.code == 1, result.text
    assert result.lines("llmperf: no reference of this profile", "pytest-llmperf promote")

    references = project.path / "llmperf-references"
    assert main(["promote", str(project.path / "record.json"), "--to", str(references)]) == 0
    result = project.run(*COMPARED)
    assert result.code == 0, result.text
    assert result.lines("distill: embedded accuracy", "no difference shown", "0 gained, 0 lost")

    project.catalog({"distill": {"ANSWERS": solver, "RIGHT_PERCENT": 50}})
    result = project.run(*COMPARED)
    assert result.code == 1, result.text
    assert result.lines("distill: embedded accuracy", "worse", "0 gained")
    assert result.lines("llmperf: 1 PASS"), "its own gate is green"


def test_a_comparison_without_a_record_is_refused_at_once(project: Project) -> None:
    project.suite(FLOOR)
    result = project.run("--llmperf-reference")
    assert result.code == 4
    assert result.lines("--llmperf-reference", "--llmperf-record")
    assert project.starts == []
