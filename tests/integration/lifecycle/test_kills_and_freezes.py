"""Kills and freezes of any part, alone and together, at any moment: told in time, and nothing stays."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.serving import processes

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Running
    from tests.integration.lifecycle.conftest import Scenario

HALT = """
    def test_halt(candidate, halt):
        halt()
"""
EVALUATE = """
    def test_evaluate(candidate, accuracy, tell):
        tell()
        assert accuracy(candidate) >= 0.0001
"""
LOAD = """
    def test_load(candidate, load, tell):
        tell()
        assert load(candidate, concurrency=4).ttft.p50 <= 1000
"""
CTRL_C_S = 2.0
SLOW = """
    def answer(request):
        \"\"\"Slow, but for the generation that belongs to being ready.\"\"\"
        warm = (request.get("max_tokens") or 99) <= 8
        return {"text": "The answer is 42.", "ttft_s": 0 if warm else 30}
"""


def keeper_of(api: int) -> int:
    """The process that started the API process."""
    process = processes.read(api)
    assert process is not None
    return process.parent


def kill_all(*pids: int) -> float:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def keepers(project: Project) -> list[int]:
    return [
        pid
        for pid in project.alive()
        if b"serving.keeper" in (processes.PROC / str(pid) / "cmdline").read_bytes()
    ]


def requests_run(scenario: Scenario, running: Running, url: str) -> None:
    """Wait until the server has requests in flight."""
    import urllib.request

    def are_running() -> bool:
        if running.process.poll() is not None:
            pytest.fail(running.output.read_text())
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as response:
            text: str = response.read().decode()
        return bool(re.search(r"^vllm:num_requests_running\S* [1-9]", text, re.MULTILINE))

    scenario.eventually(are_running, "requests in flight", 60.0)


def test_keeper_pytest_and_api_process_killed_at_once_leave_nothing(either_for_the_page: Scenario) -> None:
    scenario = either_for_the_page
    project = scenario.project
    project.suite(HALT)
    running = project.start()
    [server] = scenario.told(running)
    killed = kill_all(keeper_of(server["pid"]), running.process.pid, server["pid"])
    ending = project.ending(killed)
    scenario.note("SIGKILL of keeper, pytest and API process at once", running.wait(), ending, "the signal")


@pytest.mark.parametrize(("suite", "where"), [(EVALUATE, "an evaluation"), (LOAD, "a load")])
def test_a_killed_keeper_is_told_in_seconds(either_for_the_page: Scenario, suite: str, where: str) -> None:
    scenario = either_for_the_page
    project = scenario.project
    if scenario.is_fake:
        project.catalog({"distill": {"ANSWERS": project.answers(SLOW)}})
    project.suite(suite)
    running = project.start()
    [server] = scenario.told(running)
    requests_run(scenario, running, server["url"])
    killed = kill_all(keeper_of(server["pid"]))
    result = running.wait(scenario.ready_within_s)
    assert result.code == 1, result.text
    assert result.lines("INVALID"), result.text
    assert result.ended - killed < 30, result.text
    told_s = result.ended - killed
    what = f"SIGKILL of the keeper in {where} (the run ended after {told_s:.1f} s)"
    scenario.note(what, result, project.ending(result.ended))


def test_an_api_process_that_was_told_to_end_in_an_evaluation_is_told_in_seconds(
    either_for_the_page: Scenario,
) -> None:
    scenario = either_for_the_page
    project = scenario.project
    if scenario.is_fake:
        project.catalog({"distill": {"ANSWERS": project.answers(SLOW)}})
    project.suite(EVALUATE)
    running = project.start()
    [server] = scenario.told(running)
    requests_run(scenario, running, server["url"])
    os.kill(server["pid"], signal.SIGTERM)
    sent = time.monotonic()
    result = running.wait(scenario.ready_within_s)
    assert result.code == 1, result.text
    assert result.ended - sent < 30, result.text
    told_s = result.ended - sent
    what = f"SIGTERM to the API process in an evaluation (the run ended after {told_s:.1f} s)"
    scenario.note(what, result, project.ending(result.ended))


def test_a_server_frozen_for_good_is_told_once_within_ninety_seconds(either_for_the_page: Scenario) -> None:
    """With the limit as it is shipped on real vLLM, and a short one on the stand-in."""
    scenario = either_for_the_page
    project = scenario.project
    if scenario.is_fake:
        catalogue = project.path / "models.toml"
        text = catalogue.read_text(encoding="utf-8")
        catalogue.write_text(text.replace("[profile.test]\n", '[profile.test]\nsilence_limit = "2 s"\n', 1))
    project.suite("""
        import os, signal
        def test_freezes(candidate, stream, tell):
            os.kill(candidate.server.root_pid, signal.SIGSTOP)
            tell()
            assert stream(candidate, "1 + 1?").ok
        def test_answers(candidate, accuracy):
            assert accuracy(candidate) >= 0.01
        def test_again(candidate, stream):
            assert stream(candidate, "1 + 1?").ok
    """)
    running = project.start()
    scenario.told(running)
    frozen = time.monotonic()
    result = running.wait(2 * scenario.ready_within_s)
    assert result.code == 1, result.text
    assert len(result.lines("INVALID test_gate.py", "the server of distill died during the run: ")) == 3, (
        result.text
    )
    assert project.starts == ["distill"]
    told_s = result.ended - frozen
    assert told_s < 90
    what = f"SIGSTOP of the API process for good, three tests (the run ended after {told_s:.0f} s)"
    scenario.note(what, result, project.ending(result.ended))


def test_an_engine_core_killed_between_two_tests_is_told_and_its_memory_not_judged(
    either_for_the_page: Scenario,
) -> None:
    scenario = either_for_the_page
    project = scenario.project
    project.suite("""
        import os, signal
        from pytest_llmperf.serving import processes
        def test_before(candidate, stream):
            assert stream(candidate, "1 + 1?").ok
            api = candidate.server.root_pid
            core = next(p for p in processes.descendants(api) if p.name.startswith("VLLM::Engine") or p.parent == api)
            os.kill(core.pid, signal.SIGKILL)
            if not candidate.death(wait_s=20):
                os.kill(api, signal.SIGKILL)  # the stand-in's API process does not look after its engine
                assert candidate.death(wait_s=20)
        def test_memory(candidate, memory):
            assert memory(candidate).peak <= 1e12
    """)
    result = project.run("-rA", timeout_s=2 * scenario.run_within_s)
    assert result.code == 1, result.text
    assert result.lines("INVALID", "peak memory") or result.lines("INVALID", "memory"), result.text
    assert result.lines("llmperf: the server of distill was started again"), result.text
    scenario.note(
        "the engine core killed between two tests, then memory().peak", result, project.ending(result.ended)
    )


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_both_sides_start_ends_everything_in_two_seconds(scenario: Scenario, times: int) -> None:
    project = scenario.project
    project.catalog({name: {"START_S": 60, "IGNORE_TERM": 1} for name in ("distill", "math")})
    project.suite(
        "def test_both(candidate, baseline, memory): memory(candidate).peak / memory(baseline).peak"
    )
    running = project.start()
    scenario.eventually(lambda: len(project.starts) == 2, "two engines that start", 30.0)
    running.send(signal.SIGINT)
    sent = time.monotonic()
    if times == 2:
        time.sleep(0.1)  # the second one comes while the first is dealt with
        running.send(signal.SIGINT)
    result = running.wait()
    ending = project.ending(sent)
    assert ending.seconds < CTRL_C_S + 1.0, result.text  # the machine of a test is busy
    what = "SIGINT" if times == 1 else "SIGINT twice"
    scenario.note(f"{what} while both sides start", result, ending, "the signal")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_run_ended_while_its_keeper_starts_leaves_nothing(
    scenario: Scenario, number: signal.Signals
) -> None:
    project = scenario.project
    project.catalog({"distill": {"START_S": 60}})
    project.suite(HALT)
    running = project.start()
    scenario.eventually(lambda: keepers(project), "a keeper", 30.0)
    running.send(number)
    sent = time.monotonic()
    result = running.wait()
    ending = project.ending(sent)
    assert ending.seconds < CTRL_C_S + 1.0, result.text
    scenario.note(f"{number.name} to pytest while the keeper starts", result, ending, "the signal")


@pytest.mark.parametrize(
    ("suite", "where", "sizes"),
    [
        (EVALUATE, "an evaluation", {}),
        (LOAD, "a load", {}),
        (LOAD, "a load of three worker processes", {"workers": 3}),
    ],
)
def test_ctrl_c_in_a_measurement_ends_everything_in_two_seconds(
    scenario: Scenario, suite: str, where: str, sizes: dict[str, int]
) -> None:
    project = scenario.project
    project.catalog({"distill": {"ANSWERS": project.answers(SLOW), "IGNORE_TERM": 1}})
    project.suite(suite)
    project.shrink(**sizes)
    running = project.start()
    [server] = scenario.told(running)
    requests_run(scenario, running, server["url"])
    running.send(signal.SIGINT)
    sent = time.monotonic()
    result = running.wait()
    ending = project.ending(sent)
    assert ending.seconds < CTRL_C_S + 1.0, result.text
    scenario.note(f"SIGINT to pytest in {where}", result, ending, "the signal")


def test_a_stopped_keeper_makes_the_run_red_and_its_server_ends(either_for_the_page: Scenario) -> None:
    scenario = either_for_the_page
    project = scenario.project
    project.suite("""
        import os, signal
        def test_stops(candidate, stream):
            assert stream(candidate, "1 + 1?").ok
            os.kill(candidate.server.keeper_pid, signal.SIGSTOP)
    """)
    result = project.run(timeout_s=scenario.run_within_s)
    assert result.code == 1, result.text
    assert result.lines("NOT CLEAN: distill: its keeper was stopped (SIGSTOP)"), result.text
    ending = project.ending(result.ended)
    assert not list(project.path.glob("tmp/llmperf-*/owner.lock"))
    scenario.note("SIGSTOP of the keeper, then a normal end", result, ending)


def test_a_keeper_that_is_stopped_when_its_run_is_killed_still_ends_its_server(scenario: Scenario) -> None:
    project = scenario.project
    project.suite(HALT)
    running = project.start()
    [server] = scenario.told(running)
    os.kill(keeper_of(server["pid"]), signal.SIGSTOP)
    killed = kill_all(running.process.pid)
    ending = project.ending(killed)
    scenario.note("SIGSTOP of the keeper, then SIGKILL of pytest", running.wait(), ending, "the signal")


def test_load_workers_end_with_a_killed_run(scenario: Scenario) -> None:
    project = scenario.project
    project.catalog({"distill": {"ANSWERS": project.answers(SLOW)}})
    project.suite(LOAD)
    project.shrink(workers=2)
    running = project.start()
    [server] = scenario.told(running)
    requests_run(scenario, running, server["url"])
    workers = [p.pid for p in processes.descendants(running.process.pid) if not p.is_over]
    if workers:
        os.kill(workers[0], signal.SIGSTOP)
    killed = kill_all(running.process.pid)
    ending = project.ending(killed)
    scenario.note("SIGKILL of pytest in a load, a worker of it stopped", running.wait(), ending, "the signal")
