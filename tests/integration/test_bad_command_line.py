"""A mistake on the command line or in a catalogue: one line, exit code 4, nothing started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    def test_floor(candidate, accuracy, budget):
        assert accuracy(candidate) >= budget.accuracy.floor
"""
# name: arguments, more keys of the catalogue's base row, budgets, words of the one line
MISTAKES: dict[str, tuple[list[str], str, str, list[str]]] = {
    "unknown model": (["--model", "distil"], "", "", ["no model 'distil'", "distill"]),
    "unknown baseline": (["--baseline", "maths"], "", "", ["no model 'maths'", "math"]),
    "unknown profile": (["--llmperf-profile", "tset"], "", "", ["no profile 'tset'", "test"]),
    "misspelt key": ([], "max_model_lenn = 5", "", ["models.toml", "max_model_lenn", "max_model_len"]),
    "wrong type": ([], "trust_remote_code = 'yes'", "", ["models.toml", "trust_remote_code", "yes"]),
    "unknown engine": ([], 'engine = "vlm"', "", ["models.toml", "engine", "vlm", "vllm"]),
    "time without a unit": ([], "ready_timeout = '5'", "", ["models.toml", "ready_timeout", "unit"]),
    "not TOML": ([], "this is not TOML", "", ["models.toml", "line"]),
    "misspelt budget": ([], "", "[test.any.accuracy]\nflor = 0.5", ["budgets.toml", "flor", "floor"]),
    "no such catalogue": (["--llmperf-models", "nowhere.toml"], "", "", ["nowhere.toml"]),
    "policy": (
        ["--llmperf-inconclusive", "maybe"],
        "",
        "",
        ["--llmperf-inconclusive", "maybe", "fail, warn or exit"],
    ),
    "address": (
        ["--llmperf-base-url", "localhost:8000"],
        "",
        "",
        ["--llmperf-base-url", "localhost:8000", "http://"],
    ),
    "two starts": (["--llmperf-starts", "2"], "", "", ["--llmperf-starts=2", "at least 3"]),
    "no starts": (["--llmperf-starts", "some"], "", "", ["--llmperf-starts=some", "at least 3"]),
    "wait without a unit": (["--llmperf-gpu-wait", "60"], "", "", ["--llmperf-gpu-wait=60", '"90 s"']),
    "wait in the past": (["--llmperf-gpu-wait=-1s"], "", "", ["--llmperf-gpu-wait=-1s", "0 s or more"]),
    "starts of a running server": (
        ["--llmperf-starts", "3", "--llmperf-base-url", "http://127.0.0.1:9"],
        "",
        "",
        ["--llmperf-starts=3", "distill", "cannot be started anew"],
    ),
    "data directory": (["--llmperf-data", "nowhere"], "", "", ["--llmperf-data", "nowhere"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_started(project: Project, mistake: str) -> None:
    arguments, base, budgets, words = MISTAKES[mistake]
    project.suite(SUITE)
    project.catalog(base=base + "\n")
    if budgets:
        project.write("budgets.toml", budgets)
    result = project.run(*arguments)
    assert result.code == 4, result.text
    assert result.noise == []
    [line] = [line for line in result.text.splitlines() if line.strip()]
    assert all(word in line for word in words), line
    assert project.starts == []


@pytest.mark.parametrize("mistake", ["unknown model", "misspelt key", "policy"])
def test_a_mistake_is_one_line_for_several_workers_as_well(project: Project, mistake: str) -> None:
    arguments, base, _, words = MISTAKES[mistake]
    project.suite(SUITE)
    project.catalog(base=base + "\n")
    result = project.run_with_workers(2, *arguments)
    assert result.code == 4, result.text
    assert result.noise == []
    assert len(result.lines(*words)) == 1, result.text
    assert project.starts == []


def test_a_suite_without_a_catalogue_is_told_how_to_name_one(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\n")
    project.suite(SUITE)
    result = project.run()
    assert result.code != 0
    assert result.noise == []
    assert result.lines("llmperf_models", "--llmperf-models"), result.text
    assert not result.lines("passed")
