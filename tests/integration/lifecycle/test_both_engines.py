"""However a run ends, nothing of it stays: on a fake process tree, and the same on real vLLM."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from typing import TYPE_CHECKING, Any

from pytest_llmperf.serving import processes

if TYPE_CHECKING:
    from tests.integration.lifecycle.conftest import Scenario

ASK_BOTH = """
    def test_both(candidate, baseline, stream):
        assert stream(candidate, "1 + 1?").ok
        assert stream(baseline, "1 + 1?").ok
"""
HALT = """
    def test_halt(candidate, halt):
        halt()
"""
ASK_LONG = """
    def test_ask(candidate, stream, tell):
        tell()
        answer = stream(candidate, "1 + 1?", max_tokens=1500, ignore_eos=True)
        assert answer.ok, answer.error
"""


def test_a_normal_end_leaves_nothing(either: Scenario) -> None:
    project = either.project
    project.suite(ASK_BOTH)
    result = project.run(timeout_s=either.run_within_s)
    assert result.code == 0, result.text
    assert sorted(project.starts) == ["distill", "math"]
    either.note("normal end", result, project.ending(result.ended))


def test_a_run_ended_by_sigkill_leaves_nothing(either: Scenario) -> None:
    project = either.project
    project.suite(HALT)
    running = project.start()
    either.told(running)
    running.send(signal.SIGKILL)
    killed = time.monotonic()
    result = running.wait()
    assert result.code == -signal.SIGKILL
    either.note("SIGKILL of pytest in a test", result, project.ending(killed), "the signal")


def test_an_api_process_ended_by_sigkill_leaves_none_of_its_family(either_for_the_page: Scenario) -> None:
    # On real vLLM with a lease and without a run: tests/serving/test_real_vllm.py.
    either = either_for_the_page
    project = either.project
    project.suite(HALT)
    running = project.start()
    [server] = either.told(running)
    api = server["pid"]
    family = [processes.read(pid) for pid in processes.tree(api)]
    assert len(family) >= 2, "an API process alone can leave no orphan"
    os.kill(api, signal.SIGKILL)
    killed = time.monotonic()

    def orphans_are_gone() -> bool:
        return not any(one is not None and processes.is_running(one.key) for one in family)

    either.eventually(orphans_are_gone, "the end of the engine whose API process was killed")
    orphans_s = time.monotonic() - killed
    project.go()
    result = running.wait()
    ending = project.ending(result.ended)
    what = f"SIGKILL of the API process (its orphans were gone after {orphans_s:.2f} s)"
    either.note(what, result, ending)
    assert project.starts == ["distill"], "nobody asked for the server again"


def test_a_frozen_api_process_does_not_survive_a_killed_run(either_for_the_page: Scenario) -> None:
    # On real vLLM with a lease and without a run: tests/serving/test_real_vllm.py.
    either = either_for_the_page
    project = either.project
    project.suite(HALT)
    running = project.start()
    [server] = either.told(running)
    os.kill(server["pid"], signal.SIGSTOP)
    running.send(signal.SIGKILL)
    killed = time.monotonic()
    ending = project.ending(killed)
    either.note("SIGSTOP of the API process, then SIGKILL of pytest", running.wait(), ending, "the signal")


def test_an_engine_that_dies_during_a_request_is_named_and_leaves_nothing(either: Scenario) -> None:
    project = either.project
    project.catalog({"distill": {"TPOT_S": 0.05}})
    project.suite(ASK_LONG)
    running = project.start()
    [server] = either.told(running)
    either.eventually(lambda: _requests_running(server) >= 1, "a request in progress", 30.0)
    if either.is_fake:
        # What vLLM's API process does when its engine was killed: it says so and exits.
        _obey(server, "exit")
    else:
        os.kill(_engine_core(server["pid"]), signal.SIGKILL)
    result = running.wait()
    assert result.code == 1
    assert result.lines("the server of distill died during the run"), result.text
    assert result.lines("INVALID"), result.text
    either.note("the engine core killed during a request", result, project.ending(result.ended))


def _requests_running(server: dict[str, Any]) -> float:
    with urllib.request.urlopen(f"{server['url']}/metrics", timeout=5) as response:
        lines: list[str] = response.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running"))


def _obey(server: dict[str, Any], order: str) -> None:
    request = urllib.request.Request(
        f"{server['url']}/fake/{order}", data=b"{}", headers={"Authorization": f"Bearer {server['key']}"}
    )
    urllib.request.urlopen(request, timeout=5).close()


def _engine_core(api: int) -> int:
    """The process that vLLM calls EngineCore (the kernel keeps 15 characters of the name)."""
    below = [process for process in processes.descendants(api) if "EngineCor" in process.name]
    assert below, [process.name for process in processes.descendants(api)]
    return below[0].pid
