"""Every page is followed; what cannot be run is at least valid."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from contrib.claims.__main__ import main as claims
from pytest_llmperf import cli
from pytest_llmperf.config.catalog import load_catalog
from pytest_llmperf.record.store import read_record
from pytest_llmperf.serving import ports

if TYPE_CHECKING:
    from tests.integration.conftest import Project
    from tests.integration.docs.conftest import Block, Reader

ROOT = Path(__file__).resolve().parents[3]
HOW_TO = ROOT / "docs" / "how-to"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(HOW_TO.glob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.fixture
def staging(project: Project, eventually: Callable[..., Any], solver: str) -> Iterator[dict[str, str]]:
    """Two servers that somebody else runs, the newer of which is a bit faster."""
    with ExitStack() as running:
        urls = {}
        for written, tpot_s in (("http://127.0.0.1:8000", "0.006"), ("http://127.0.0.1:8001", "0.009")):
            lock = running.enter_context(ports.reserve())
            knobs = {"FAKE_ENGINE_ANSWERS": solver, "FAKE_ENGINE_TPOT_S": tpot_s}
            key = {"VLLM_API_KEY": "secret", "FAKE_ENGINE_INTERPRETER": sys.executable}
            command = [str(project.engine), "-m", "vllm.entrypoints.openai.api_server"]
            server = subprocess.Popen(
                [*command, "--port", str(lock.port), "--served-model-name", "assistant"],
                env=os.environ | knobs | key,
                stdout=subprocess.DEVNULL,
            )
            running.callback(server.wait, 10)
            running.callback(server.terminate)
            urls[written] = f"http://127.0.0.1:{lock.port}"
            eventually(lambda url=urls[written]: _answers(url), "a server that runs already")
        yield urls


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/health", timeout=1).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


@pytest.mark.parametrize("name", ["quantisation", "engine-upgrade", "prompt-change"])
def test_a_guide_can_be_followed(reader: Reader, name: str, solver: str) -> None:
    reader.project.catalog({"distill": {"ANSWERS": solver}})  # for a page that begins without a catalogue
    reader.project.shrink(rounds=18)  # ratios stop after 8 where these decide; a busy machine needs more
    results = reader.follow(HOW_TO / f"{name}.md")
    assert any(result.lines("llmperf:", "PASS") for result in results)


def test_the_guide_to_speculation_can_be_followed(reader: Reader, solver: str) -> None:
    reader.project.catalog({"distill": {"ANSWERS": solver}})
    reader.project.shrink(rounds=8)
    reader.knobs = {"ngram": {"ACCEPTS": "2.5", "DRAFTS": "request"}}
    [result] = reader.follow(HOW_TO / "speculative-decoding.md")
    assert result.lines("acceptance length at 8", "PASS"), result.text


def test_the_guide_to_prefix_caches_can_be_followed(reader: Reader, solver: str) -> None:
    reader.project.catalog({"distill": {"ANSWERS": solver}})
    reader.project.shrink(answer_tokens=4)
    reader.knobs = {"old": {"PREFIX_CACHE": "blocks"}, "new": {"PREFIX_CACHE": "blocks usage"}}
    # The stand-in answers in milliseconds, and a busy machine sends as late.
    with (reader.project.path / "conftest.py").open("a") as conftest:
        conftest.write("from pytest_llmperf.load import run\nrun.LATE_ABOVE_S = 60.0\n")
    result, recorded = reader.follow(HOW_TO / "prefix-caches.md")
    assert result.lines("cached share at 8", "turn 2 of 3", "PASS"), result.text
    for metric in ("cached share", "TTFT"):
        assert recorded.lines(f"{metric} at sessions.jsonl, 2 sessions, turn 2 of 2", "PASS"), recorded.text


def test_the_guide_to_adapters_can_be_followed(reader: Reader, solver: str) -> None:
    reader.project.catalog({"distill": {"ANSWERS": solver}})
    reader.project.shrink(items=120, rounds=18, answer_tokens=4)
    results = reader.follow(HOW_TO / "adapters.md")
    assert all(result.lines("TPOT at 2 on one server ratio", "PASS") for result in results), results[-1].text
    assert reader.project.starts == ["base"] * 3


def test_the_guide_to_shards_can_be_followed(reader: Reader, solver: str) -> None:
    reader.project.catalog({"distill": {"ANSWERS": solver}, "math": {"ANSWERS": solver}})
    reader.project.drawn = True  # the page gives the seed
    for name in ("answers", "startup"):
        gate = {"answers": "answers(candidate).boxed >= 0.1", "startup": "startup(candidate).ready <= 100"}
        reader.project.suite(
            f"def test_{name}(candidate, {name}):\n    assert {gate[name]}\n", f"suites/test_{name}.py"
        )
    results = reader.follow(HOW_TO / "shards.md")
    assert all(result.lines("llmperf: 1 PASS") for result in results), results[-1].text
    assert read_record(reader.project.path / "night.json").outcome.green


def test_the_guide_to_several_candidates_can_be_followed(reader: Reader, solver: str) -> None:
    rows = ("old", "new-fp8", "new-awq", "new-int4")
    reader.project.catalog({row: {"ANSWERS": solver} for row in rows})
    reader.project.shrink(items=40)
    reader.project.suite(
        "def test_floor(candidate, accuracy):\n    assert accuracy(candidate) >= 0.3\n",
        "suites/test_floor.py",
    )
    [result] = reader.follow(HOW_TO / "several-candidates.md")
    for row in rows[1:]:
        assert result.lines(f"{row}: 1 PASS"), result.text


def test_the_guide_to_a_running_server_can_be_followed(reader: Reader, staging: dict[str, str]) -> None:
    reader.urls = staging
    [result] = reader.follow(HOW_TO / "running-server.md")
    assert result.lines("llmperf: 2 PASS")
    assert reader.project.starts == []


def test_the_guide_to_several_hosts_can_be_followed(reader: Reader, staging: dict[str, str]) -> None:
    reader.urls = staging
    judged, outside = reader.follow(HOW_TO / "several-hosts.md")
    assert judged.lines("llmperf: 2 PASS")
    assert outside.lines("llmperf: 2 INVALID"), outside.text
    assert outside.lines("INVALID: peak not our process: nothing was measured"), outside.text
    assert outside.lines("INVALID: time to ready: nothing was measured"), outside.text
    assert reader.project.starts == []


def test_the_guide_to_tasks_can_be_followed(reader: Reader) -> None:
    capitals = {"France": "Paris", "Japan": "Tokyo", "Kenya": "Nairobi", "Peru": "Lima", "Norway": "Oslo"}
    answers = reader.project.answers(f"""
        CAPITALS = {capitals!r}
        def answer(request):
            known = (capital for country, capital in CAPITALS.items() if country in request["text"])
            return f"Let me think.\\nIt is {{next(known, 'unknown')}}."
    """)
    reader.project.catalog({"distill": {"ANSWERS": answers}})
    [result] = reader.follow(HOW_TO / "own-task.md")
    assert result.lines("capitals accuracy", "100.0 %", "PASS")


def test_the_guide_to_kinds_of_gates_can_be_followed(reader: Reader, solver: str) -> None:
    reader.project.catalog({"distill": {"ANSWERS": solver}})
    judged, tested = reader.follow(HOW_TO / "own-gate.md")
    assert judged.lines("time of a short answer", "PASS"), judged.text
    assert tested.lines("test_worst.py::test_a_short_answer_never_takes_long", "no claim"), tested.text


def test_the_guide_to_references_can_be_followed(reader: Reader, solver: str) -> None:
    reader.project.catalog({"distill": {"ANSWERS": solver}})
    reader.project.suite("""
        def test_enough_answers_are_right(candidate, accuracy):
            assert accuracy(candidate) >= 0.6
    """)
    assert len(reader.follow(HOW_TO / "references.md")) == 3
    assert list((reader.project.path / "llmperf-references").rglob("*.json"))


def test_the_guide_to_published_figures_can_be_followed(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(reader.project.path)
    reader.follow(HOW_TO / "published-figures.md")
    capsys.readouterr()
    assert claims(["card.toml", "--device", "T4"]) == 0
    said = capsys.readouterr().out
    assert "2 physically impossible, 1 not testable here" in said
    assert "138 % of that" in said


def test_the_tutorial_can_be_followed(reader: Reader) -> None:
    shutil.copytree(
        ROOT / "suites", reader.project.path / "suites", ignore=shutil.ignore_patterns("__pycache__")
    )
    reader.project.write("pytest.ini", "[pytest]\nllmperf_models = suites/models.toml\n")
    reader.knobs = {"distill-damaged": {"RIGHT_PERCENT": "60"}}
    catalogue = reader.project.path / "suites" / "models.toml"
    catalogue.write_text(reader.served_by_the_stand_in(catalogue), encoding="utf-8")
    red, green, plan, result = reader.follow(ROOT / "docs" / "tutorial.md")
    assert red.lines("llmperf: 2 FAIL")
    assert green.lines("llmperf: 2 PASS")
    assert plan.lines("accuracy")
    assert result.lines("llmperf: 2 caught"), result.text


def test_what_init_writes_is_green_at_once_and_its_broken_row_red(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = reader.project
    (project.path / "pytest.ini").unlink()
    monkeypatch.chdir(project.path)
    assert cli.main(["init"]) == 0
    reader.knobs = {"broken": {"RIGHT_PERCENT": "50"}}
    catalogue = project.path / "suites" / "models.toml"
    catalogue.write_text(reader.served_by_the_stand_in(catalogue), encoding="utf-8")
    # Speed takes a while, and is looked at in the guides; here it is enough that the gate is there.
    assert len(project.run("--collect-only", "-q").lines("test_tokens_come_as_fast[")) == 2
    green = project.run("-k", "not tokens")
    assert green.code == 0, green.text
    assert green.lines("llmperf: 3 PASS")
    red = project.run("--model", "broken", "-k", "answers_are_right")
    assert red.code == 1, red.text
    assert red.lines("FAIL: embedded accuracy")


def test_the_suite_in_the_readme_runs_as_it_stands(reader: Reader, solver: str) -> None:
    speed = {"ANSWERS": solver, "TPOT_S": "0.006"}
    reader.project.catalog({"distill": {**speed}, "math": {**speed, "TPOT_S": "0.009"}})
    reader.project.write("budgets.toml", '[test.any.latency]\nttft_p95 = { 1 = "60 s", 8 = "60 s" }\n')
    reader.follow(ROOT / "README.md")
    _, verdicts = reader.project.judged("test_my_gate.py")
    # A p95 needs more samples than a test has time for; that it is asked for is seen by its verdict.
    assert [verdict["status"] for verdict in verdicts] == ["INVALID", "INVALID", "PASS", "PASS"]


def test_the_asserts_of_the_fixtures_page_are_gates(reader: Reader, page_blocks: Any) -> None:
    """Each by itself, planned: a test runs up to its comparison, and nothing is started."""
    [block] = [one for one in page_blocks(ROOT / "docs" / "fixtures.md") if one.language == "python"]
    asserts = [ast.unparse(one) for one in ast.parse(block.text).body if isinstance(one, ast.Assert)]
    assert len(asserts) >= 5
    reader.project.catalog()
    fixtures = "candidate, baseline, accuracy, answers, perplexity, load, memory, budget, stream"
    fixtures += ", summaries, recall, startup, fidelity, consistency, flips, structured, tool_calls"
    reader.project.suite(
        "from pytest_llmperf import *\n"
        + "".join(f"def test_{n}({fixtures}):\n    {line}\n" for n, line in enumerate(asserts))
    )
    result = reader.project.run("--llmperf-plan")
    assert result.code == 0, result.text
    assert result.lines(f"llmperf: {len(asserts)} gates; 0 tests"), result.text


def test_the_catalogue_for_several_gpus_counts_them(tmp_path: Path, page_blocks: Any) -> None:
    [block] = [one for one in page_blocks(HOW_TO / "several-gpus.md") if one.file]
    path = tmp_path / "models.toml"
    path.write_text(block.text)
    models = load_catalog(path).profile("large").models
    assert {name: model.gpus for name, model in models.items()} == {"tp2": 2, "tp4": 4}


def test_the_nightly_job_of_the_guide_is_the_one_in_the_repository(page_blocks: Any) -> None:
    [block] = [one for one in page_blocks(HOW_TO / "nightly-ci.md") if one.language == "yaml"]
    assert block.text == (ROOT / ".github" / "workflows" / "nightly-gpu.yml").read_text(encoding="utf-8")


@every_page
def test_every_option_that_a_page_types_exists(page: Path, page_blocks: Any, options: set[str]) -> None:
    for block in page_blocks(page):
        for command in _commands(block):
            typed = {
                word.split("=")[0]
                for word in shlex.split(command)
                if word.startswith(("--llmperf", "--model"))
            }
            assert typed <= options, f"{block.where}: {command}"
    named = set(re.findall(r"`(--llmperf-[a-z-]+)", page.read_text(encoding="utf-8")))
    assert named <= options, page.name


def _commands(block: Block) -> list[str]:
    if block.language == "console":
        return [command for command, _ in block.commands]
    # An indented block, as in the README: commands only.
    lines = [line.split("   #")[0] for line in block.text.splitlines()]
    return [line for line in lines if line.startswith(("pytest ", "tox ", "python ", "pip "))]


@every_page
def test_every_block_of_a_page_can_be_read(page: Path, page_blocks: Any) -> None:
    for block in page_blocks(page):
        match block.language:
            case "python" | "py":
                ast.parse(block.text, block.where)
            case "toml":
                tomllib.loads(block.text)
            case "bash":
                subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
            case "" | "console" | "yaml" | "{toctree}" | "text":
                pass
            case other:
                pytest.fail(f"{block.where}: no test reads {other}")


def test_every_guide_that_types_commands_is_followed_by_a_test(page_blocks: Any) -> None:
    typing = {
        page.stem
        for page in HOW_TO.glob("*.md")
        if any(block.language == "console" and block.is_run for block in page_blocks(page))
    }
    source = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in typing if name not in source} == set()
