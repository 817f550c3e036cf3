"""A run against the record that somebody promoted: green, worse, missing, vanished."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
    assert result.lines("no reference of this profile", " in llmperf-references; make one")

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


def test_the_place_of_references_is_configured_once_for_runs_pages_and_commands(
    project: Project, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.shrink(items=60)
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite(FLOOR)
    with (project.path / "pytest.ini").open("a") as ini:
        ini.write("llmperf_references = golden\n")
    result = project.run("--llmperf-record", "first.json", "--llmperf-full")
    assert result.code == 0, result.text
    assert "promoted reference" not in (project.path / "first.html").read_text(encoding="utf-8")

    (project.path / "below").mkdir()
    monkeypatch.chdir(project.path / "below")
    assert main(["promote", "../first.json", "--note", "release 3"]) == 0
    assert len(list((project.path / "golden").glob("*/record.json"))) == 1
    assert not list(project.path.glob("**/llmperf-references"))

    result = project.run("--llmperf-record", "record.json", "--llmperf-full")
    assert result.code == 0, result.text
    assert not result.lines("compared with the reference"), "nobody asked for that"
    page = (project.path / "record.html").read_text(encoding="utf-8")
    assert "Beside the candidate stands the promoted reference" in page
    assert "0 gained, 0 lost" in page
    result = project.run(*COMPARED)
    assert result.lines("compared with the reference", "(release 3)")
    result = project.run(
        "--llmperf-record", "record.json", "--llmperf-reference", "-o", "llmperf_references=elsewhere"
    )
    assert result.code == 1, result.text
    assert result.lines("no reference of this profile", " in elsewhere; make one")


def test_a_path_after_the_option_is_what_is_run_and_not_where_references_lie(project: Project) -> None:
    project.suite(FLOOR)
    result = project.run("--llmperf-record", "record.json", "--llmperf-reference", "no_such_suite/")
    assert result.code == 4, result.text
    assert result.lines("file or directory not found: no_such_suite/")
    result = project.run("--llmperf-record", "record.json", "--llmperf-reference=golden")
    assert result.code == 4, result.text
    assert result.lines("--llmperf-reference", "golden")
    assert project.starts == []


def test_a_comparison_without_a_record_is_refused_at_once(project: Project) -> None:
    project.suite(FLOOR)
    result = project.run("--llmperf-reference")
    assert result.code == 4
    assert result.lines("--llmperf-reference", "--llmperf-record")
    assert project.starts == []
