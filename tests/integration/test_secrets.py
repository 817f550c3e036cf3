"""Keys, tokens, user names and home directories are planted, and searched for in everything that a run writes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.parquet_reading import read_parquet

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Project, Result

PERSON = "plantedperson"
PLANTED = {
    "HF_TOKEN": "hf_PlantedPlantedPlanted",
    "OPENAI_API_KEY": "sk-planted-planted-planted",
    "GATEWAY_SECRET": "planted-secret-planted",
    "USER": PERSON,
    "LOGNAME": PERSON,
}
ROOT = Path(__file__).resolve().parents[2]
CLAIMS = ROOT / "contrib" / "claims" / "suite"
SHEET = """
title = "What {said} publishes"
source = "an article of {said}"
profile = "gpu"
[model.distill]
weights = "someone/some-model"
[model.distill.config]
model_type = "qwen2"
hidden_size = 1536
intermediate_size = 8960
num_hidden_layers = 28
num_attention_heads = 12
num_key_value_heads = 2
vocab_size = 151936
max_position_embeddings = 131072
tie_word_embeddings = false
torch_dtype = "bfloat16"
[claim.size]
words = "Its weights take 3.0 GB, says {said}"
kind = "size"
model = "distill"
value = "3.0 GB"
tolerance = "5 %"
note = "as {said} has it"
[claim.speed]
words = "It is fast, says {said}"
kind = "speed"
model = "distill"
holds = "at least"
value = "143 tok/s"
note = "a run by {said}"
"""


@pytest.fixture(scope="module")
def ran(
    make_project: Callable[..., Project], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, Result, dict[str, str], str]:
    """A project after a run in which everybody says what must not be written; its environment, and what was said."""
    project = make_project(tmp_path_factory.mktemp("secrets") / "gates")
    home = project.path / "home" / PERSON
    home.mkdir(parents=True)
    secrets = [value for value in PLANTED.values() if value != PERSON]
    said = " ".join([*secrets, f"/data/{PERSON}/x {PERSON}@host", str(home / "models")])
    path = project.answers(f"def answer(request): return {said!r} + ' \\\\boxed{{1}}'")
    project.catalog({"distill": {"ANSWERS": path}})
    project.shrink(items=20)
    # The model says them, a suite asserts on them, the engine's log, a failure's words and a claim hold them.
    project.suite(f"""
        from pytest_llmperf.errors import InfrastructureError
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.9
        def test_breaks(candidate):
            with candidate.server.log.open("a") as log:
                log.write("user plantedperson, " + {said!r} + candidate.server.api_key)
            raise InfrastructureError({said!r} + " for plantedperson " + candidate.server.api_key)
    """)
    project.write("claims/test_claims.py", (CLAIMS / "test_claims.py").read_text(encoding="utf-8"))
    project.write("claims/claims.toml", SHEET.format(said=said))
    environment = PLANTED | {"HOME": str(home), "GITHUB_STEP_SUMMARY": str(project.path / "out/summary.md")}
    environment["PYTHONPATH"] = str(ROOT)
    result = project.run(
        *("--llmperf-record", "out/record.json", "--junit-xml", "out/junit.xml", "-v"),
        *("--llmperf-markdown", "out/s.md", "--llmperf-metrics", "out/m.prom"),
        *("-o", f"cache_dir={project.path / 'cache'}"),
        environment=environment,
        options=("-p", "llmperf", "-p", "llmperf_model", "-p", "contrib.claims.plugin"),
    )
    assert result.code == 1, result.text
    return project, result, environment, said


def found_in(texts: dict[str, bytes], *besides: str) -> list[str]:
    """Which of the planted words stand in which text; ``besides`` are words of one test."""
    return [
        f"{word} in {name}"
        for name, data in texts.items()
        for word in (*PLANTED.values(), *besides)
        if word.encode() in data
    ]


def texts_below(*directories: Path) -> dict[str, bytes]:
    """Every file as it is, and tables as they are read."""
    files = [file for directory in directories for file in directory.rglob("*") if file.is_file()]
    texts = {str(file.relative_to(file.parents[1])): file.read_bytes() for file in files}
    return texts | {
        f"{file.name}, read": str(read_parquet(file.read_bytes())).encode()
        for file in files
        if file.suffix == ".parquet"
    }


def test_nothing_that_is_planted_is_found_in_anything_that_is_written(
    ran: tuple[Project, Result, dict[str, str], str],
) -> None:
    project, _, environment, _ = ran
    texts = texts_below(project.path / "out", project.path / "cache")
    names = {name.rpartition("/")[2] for name in texts}
    assert {"record.json", "record.html", "junit.xml", "s.md", "m.prom", "summary.md"} <= names
    assert any(name.endswith(".parquet") for name in texts)
    assert any(name.endswith(".log") for name in texts)
    assert any("llmperf-answers" in str(path) for path in (project.path / "cache").rglob("*"))
    assert found_in(texts, environment["HOME"]) == []


def test_nothing_that_is_planted_is_found_on_the_terminal(
    ran: tuple[Project, Result, dict[str, str], str],
) -> None:
    _, result, environment, _ = ran
    # What pytest itself says of where it runs names the user; everything else of his does not.
    ours = "\n".join(
        line for line in result.text.splitlines() if not line.startswith(("rootdir", "cachedir"))
    )
    assert "llmperf claims" in ours
    assert found_in({"terminal": ours.encode()}, environment["HOME"]) == []


def test_claims_in_the_record_hold_nothing_that_is_planted(
    ran: tuple[Project, Result, dict[str, str], str],
) -> None:
    project, _, environment, _ = ran
    # Without them in the record, the search through it would show nothing.
    record = (project.path / "out" / "record.json").read_text(encoding="utf-8")
    assert "Its weights take 3.0 GB, says [redacted]" in record
    assert "a run by [redacted]" in record
    for more in ((), ("--markdown",)):
        told = command(project, environment, "claims/claims.toml", *more, module="contrib.claims")
        assert "physically impossible" in told
        assert found_in({f"claims {more}": told.encode()}, environment["HOME"]) == []


def test_a_reference_holds_nothing_that_is_planted_and_neither_do_the_commands_that_read_it(
    ran: tuple[Project, Result, dict[str, str], str],
) -> None:
    project, _, environment, said = ran
    # A red run is no reference: the same answers under a gate that they keep.
    project.suite(
        "def test_limit(candidate, accuracy):\n    assert accuracy(candidate) <= 0.9", "test_limit.py"
    )
    green = project.run(
        *("test_limit.py", "--llmperf-record", "out/green.json"),
        environment=environment,
        options=("-p", "llmperf", "-p", "llmperf_model"),
    )
    assert green.code == 0, green.text
    told = command(
        project, environment, "promote", "out/green.json", "--to", "golden", "--note", f"by {said}"
    )
    texts = texts_below(project.path / "golden")
    assert {name.rpartition("/")[2] for name in texts} >= {"record.json", "green.answers.parquet"}
    assert b"by [redacted]" in next(data for name, data in texts.items() if name.endswith("record.json"))
    shutil.copytree(project.path / "out", project.path / "again")
    for arguments in (
        ("show", "out/record.json"),
        ("compare", "out/record.json", "again/record.json"),
        ("history", "out"),
        ("report", "out/record.json", "--out", "golden/page.html", "--references", "golden"),
    ):
        told += command(project, environment, *arguments)
    texts = texts_below(project.path / "golden") | {"terminal": told.encode()}
    assert any(name.endswith("page.html") for name in texts)
    assert found_in(texts, environment["HOME"]) == []


def command(
    project: Project, environment: dict[str, str], *arguments: str, module: str = "pytest_llmperf"
) -> str:
    """Standard output and error of a command, run as this user."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=project.path,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout + done.stderr
