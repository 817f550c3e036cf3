"""An engine that another package adds: one file and its entry point, with nothing of this package changed."""

from __future__ import annotations

import json
import os
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "own-engine.md"
ROWS = """
    [profile.test.model.echo]
    engine = "echo"
    weights = "embedded:tiny-math"
    gpus = 0
    max_model_len = 2048
    sampling = { max_tokens = 64 }
    [profile.test.model.other]
    extends = "echo"
    environment = { ECHO_ANSWER = "It is 41." }
    [profile.test.model.silent]
    extends = "echo"
    environment = { ECHO_ANSWER = "" }
"""
CONFTEST = """
    from pytest_llmperf import DataFile, Item, Task

    def pytest_llmperf_tasks(config):
        def item(row, i):
            return Item(f"always-{i}", row["q"], "42")
        return [Task("always", DataFile(path="always.jsonl", fetch="none", item=item))]
"""
GATE = """
    def test_answers_are_right(candidate, accuracy):
        assert accuracy(candidate, "always") >= 0.8

    def test_it_starts_soon(candidate, startup):
        assert startup(candidate).milestones.weights_loaded_s == 0.5
        assert startup(candidate).ready <= 60
"""


@pytest.fixture
def installed(project: Project, page_blocks: Callable[..., Any]) -> dict[str, str]:
    """The page's engine as pip would install it, in a directory elsewhere; returns the environment that finds it."""
    files = {block.file: block.text for block in page_blocks(PAGE) if block.file}
    site = project.path.parent / "site"
    about = site / "echo_engine-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "echo_engine.py").write_text(files["echo_engine.py"], encoding="utf-8")
    [(group, entries)] = tomllib.loads(files["pyproject.toml"])["project"]["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-engine\nVersion: 1.0\n")
    project.catalog(rows=ROWS)
    project.write("conftest.py", textwrap.dedent(CONFTEST))
    project.write(
        "always.jsonl",
        "".join(json.dumps({"q": f"What is 42, for the {n}th time?"}) + "\n" for n in range(40)),
    )
    project.suite(GATE)
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))}


def test_a_gate_on_an_engine_from_elsewhere_is_green_and_its_regression_red(
    project: Project, installed: dict[str, str]
) -> None:
    models = ("--model", "echo", "--baseline", "other", "--llmperf-data", ".")
    result, verdicts = project.judged(*models, environment=installed)
    assert result.code == 0, result.text
    assert [verdict["status"] for verdict in verdicts] == ["PASS", "PASS"]
    [server] = project.record()["servers"]
    assert (server["engine"], server["milestones"]["weights_loaded_s"]) == ("echo 1.0", 0.5)
    red = project.run("--model", "other", "--baseline", "echo", "--llmperf-data", ".", environment=installed)
    assert red.code == 1
    assert red.lines("FAIL", "always accuracy"), red.text


def test_a_failed_start_is_explained_by_the_engines_own_table(
    project: Project, installed: dict[str, str]
) -> None:
    result = project.run(
        "--model", "silent", "--baseline", "echo", "--llmperf-data", ".", environment=installed
    )
    assert result.lines("silent did not start: the echo engine has no answer: no words to say"), result.text
    assert result.lines("set ECHO_ANSWER in the environment of silent")


def test_an_engine_that_no_package_announces_is_a_mistake_in_the_catalogue(
    project: Project, installed: dict[str, str]
) -> None:
    result = project.run("--model", "echo")
    assert result.code == 4
    assert result.lines('engine = "echo": must be one of vllm, transformers, url'), result.text
