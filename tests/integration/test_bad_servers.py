"""A server that cannot be had: the cause in one line, what to do about it, and nothing is left."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.serving import ports

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

SUITE = """
    def test_ask(candidate, stream):
        assert stream(candidate, "1 + 1?").ok
"""
ROWS = """
    [profile.test.model.no-weights]
    extends = "base"
    weights = "./nowhere"
    [profile.test.model.no-tensors]
    extends = "base"
    arguments = []
    [profile.test.model.plain-weights]
    extends = "base"
    quantization = "awq"
    [profile.test.model.too-long]
    extends = "base"
    max_model_len = 4096
    [profile.test.model.no-interpreter]
    extends = "base"
    engine_python = "/nowhere/python"
    [profile.test.model.no-engine]
    extends = "base"
    engine_python = "{python}"
    [profile.test.model.silent-python]
    extends = "base"
    engine_python = "./silent"
    [profile.test.model.other-program]
    extends = "base"
    engine_python = "./number"
    [profile.test.model.empty-weights]
    extends = "base"
    weights = "./empty-weights"
    arguments = []
    [profile.test.model.odd-index]
    extends = "base"
    weights = "./odd-index"
    arguments = []
    [profile.test.model.odd-config]
    extends = "base"
    weights = "./odd-config"
    [profile.test.model.no-tokenizer]
    extends = "base"
    weights = "./no-tokenizer"
    [profile.test.model.not-a-number]
    extends = "base"
    [profile.test.model.not-a-number.environment]
    FAKE_ENGINE_NAN = "1"
    [profile.test.model.not-ready]
    extends = "base"
    ready_timeout = "1 s"
    [profile.test.model.not-ready.environment]
    FAKE_ENGINE_NEVER_READY = "1"
    [profile.test.model.taken-port]
    extends = "base"
    [profile.test.model.taken-port.environment]
    FAKE_ENGINE_FAIL = "OSError: [Errno 98] Address already in use"
    [profile.test.model.engine-says-no]
    extends = "base"
    [profile.test.model.engine-says-no.environment]
    FAKE_ENGINE_FAIL = "Value error, Cannot find the config file for awq"
"""
# row: words of the one line that says why
CAUSES = {
    "no-weights": ["there is no directory", "nowhere"],
    "no-tensors": ["holds no weights"],
    "plain-weights": ["quantization = 'awq'", "plain weights"],
    "too-long": ["max_model_len = 4096", "2048"],
    "no-interpreter": ["/nowhere/python"],
    "no-engine": ["has no vLLM"],
    "silent-python": ["silent", "it printed nothing"],
    "other-program": ["number", "it printed '42' and no version"],
    "empty-weights": ["empty-weights/model.safetensors is empty"],
    "odd-index": ["model.safetensors.index.json is no index", "weight_map is a list"],
    "odd-config": ["odd-config/config.json is a web page"],
    "no-tokenizer": ["no-tokenizer holds no tokenizer"],
    "not-a-number": ["the weights produce NaN or infinity"],
    "not-ready": ["not ready after 1 s"],
    "taken-port": ["port was taken"],
    "engine-says-no": ["did not start", "awq"],
}


@pytest.fixture(scope="module")
def started(shared_project: Project) -> Result:
    """One run over all rows."""
    shared_project.catalog(rows=ROWS.replace("{python}", _bare_python(shared_project)))
    _spoil(shared_project.path)
    shared_project.suite(SUITE)
    return shared_project.run(*(f"--model={row}" for row in CAUSES))


def _spoil(path: Path) -> None:
    """Copies of the weights with a fault each, and programs that are no interpreter."""
    for name in ("empty-weights", "odd-index", "odd-config", "no-tokenizer"):
        shutil.copytree(path / "weights", path / name)
    (path / "empty-weights" / "model.safetensors").write_bytes(b"")
    (path / "odd-index" / "model.safetensors").write_bytes(b"")
    (path / "odd-index" / "model.safetensors.index.json").write_text('{"weight_map": [1]}')
    (path / "odd-config" / "config.json").write_text("<html>")
    (path / "no-tokenizer" / "tokenizer.json").unlink()
    for name, line in (("silent", "exit 0"), ("number", "echo 42")):
        (path / name).write_text(f"#!/bin/sh\n{line}\n")
        (path / name).chmod(0o755)


def _bare_python(project: Project) -> str:
    """An interpreter that sees no installed package."""
    script = project.write("bare_python", f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n')
    script.chmod(0o755)
    return str(script)


@pytest.mark.parametrize("row", CAUSES)
def test_a_start_that_fails_says_why_in_one_line(started: Result, row: str) -> None:
    assert len(started.lines(f"INVALID test_gate.py::test_ask[{row}]", row)) == 1, started.text
    told = [line for line in started.lines(*CAUSES[row]) if line.startswith(row)]
    assert told, started.text


def test_starts_that_fail_are_red_and_told_without_a_traceback(started: Result) -> None:
    assert started.code == 1
    assert started.noise == []
    assert started.lines(f"{len(CAUSES)} failed")
    assert started.lines(f"llmperf: {len(CAUSES)} INVALID")


def test_starts_that_fail_say_what_to_do(started: Result) -> None:
    assert len(started.lines("what to do:")) == len(CAUSES)


def test_only_what_could_start_was_tried(started: Result, shared_project: Project) -> None:
    starts = shared_project.starts
    assert sorted(set(starts)) == ["engine-says-no", "not-a-number", "not-ready", "taken-port"]
    assert starts.count("engine-says-no") == 1


def test_starts_that_fail_leave_nothing(started: Result, shared_project: Project) -> None:
    ending = shared_project.ending(started.ended)
    assert (ending.processes_left, ending.ports_free) == (0, True)


def test_a_start_that_fails_is_not_repeated_for_every_test(project: Project) -> None:
    project.catalog({"distill": {"FAIL": "RuntimeError: planted"}})
    project.suite("""
        import pytest
        @pytest.mark.parametrize("number", range(3))
        def test_ask(candidate, stream, number):
            assert stream(candidate, "1 + 1?").ok
    """)
    result = project.run()
    assert result.lines("3 failed")
    assert project.starts == ["distill"]


# -- servers that already run


@pytest.fixture
def url(project: Project, eventually: Callable[..., Any]) -> Iterator[str]:
    """A server of somebody else's that serves ``distill`` for the key ``right``."""
    with ports.reserve() as lock:
        environment = os.environ | {"VLLM_API_KEY": "right", "FAKE_ENGINE_INTERPRETER": sys.executable}
        command = [str(project.engine), "-m", "vllm.entrypoints.openai.api_server"]
        server = subprocess.Popen(
            [*command, "--port", str(lock.port), "--served-model-name", "distill"],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{lock.port}"
        eventually(lambda: _answers(url), "a server that runs already")
        yield url
        assert server.poll() is None, "a server that we did not start is not ours to end"
        server.terminate()
        server.wait(10)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/health", timeout=1).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def test_a_server_that_runs_already_is_used_and_left_alone(project: Project, url: str) -> None:
    project.suite(SUITE)
    result = project.run("--llmperf-base-url", f"{url}/v1", environment={"LLMPERF_API_KEY": "right"})
    assert result.code == 0, result.text
    assert project.starts == []


def test_what_only_a_start_shows_is_left_out_of_a_run_on_a_running_server_and_told(
    project: Project, url: str
) -> None:
    project.suite("""
        import pytest

        def test_ask(candidate, stream):
            assert stream(candidate, "1 + 1?").ok

        @pytest.mark.llmperf_started
        def test_memory(candidate, memory):
            assert memory(candidate).peak <= 1e12

        @pytest.mark.llmperf_started
        def test_less_memory(candidate, baseline, memory):
            assert memory(candidate).peak <= memory(baseline).peak * 9
    """)
    key = {"LLMPERF_API_KEY": "right"}
    result = project.run("--llmperf-base-url", f"distill={url}", environment=key)
    assert result.code == 0, result.text
    assert result.lines(
        "llmperf: 2 tests are for servers that the run starts, and not part of this run: memory"
    )
    assert result.lines("1 passed, 2 deselected"), result.text
    assert project.starts == []
    alone = project.run("--llmperf-base-url", f"distill={url}", "-k", "memory", environment=key)
    assert alone.code == 5, "a run of nothing else has shown nothing"
    planned = project.run("--llmperf-base-url", f"math={url}", "--llmperf-plan", environment=key)
    assert planned.lines("llmperf: 1 test is for servers that the run starts"), planned.text


def test_a_wrong_address_key_or_model_is_named(project: Project, url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    rows = {
        "dead": (dead, "RIGHT"),
        "refused": (url, "WRONG"),
        "other": (url, "RIGHT"),
        "unset": (url, "UNSET"),
    }
    project.catalog(
        rows="".join(
            f'[profile.test.model.{row}]\nengine = "url"\nbase_url = "{address}"\napi_key_env = "{key}"\n'
            for row, (address, key) in rows.items()
        )
    )
    project.suite(SUITE)
    keys = {"RIGHT": "right", "WRONG": "wrong"}
    result = project.run(*(f"--model={row}" for row in rows), environment=keys)
    assert result.code == 1, result.text
    assert result.noise == []
    assert result.lines("dead: nothing answers at", dead)
    assert result.lines("refused: the server at", url, "refuses the key in WRONG")
    assert result.lines("other: the server at", url, "serves distill, not other")
    assert result.lines("unset: the API key is wanted from UNSET, which is not set")
    assert result.lines("4 failed")
    assert "wrong" not in result.text.split(), "a key is never shown"
    assert project.starts == []
