"""However pytest ends, by itself or by a signal: no process of the run stays, and every row was started once.

What does not depend on the engine is tried on the fake one alone.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.lifecycle.conftest import Scenario

ASK = 'assert stream(candidate, "1 + 1?").ok'
HALT = """
    def test_halt(candidate, halt):
        halt()
"""


def test_a_failed_test_leaves_nothing(either_for_the_page: Scenario) -> None:
    scenario = either_for_the_page
    project = scenario.project
    project.suite(f"""
        def test_fails(candidate, stream):
            {ASK}
            assert 1 == 2
    """)
    result = project.run(timeout_s=scenario.run_within_s)
    assert result.code == 1
    scenario.note("a failed test", result, project.ending(result.ended))


def test_the_first_failure_of_an_impatient_run_leaves_nothing(either_for_the_page: Scenario) -> None:
    scenario = either_for_the_page
    project = scenario.project
    project.suite(f"""
        def test_fails(candidate, stream):
            {ASK}
            assert 1 == 2
        def test_never_comes(candidate, stream):
            {ASK}
    """)
    result = project.run("-x", timeout_s=scenario.run_within_s)
    assert result.code == 1
    assert not result.lines("passed")
    scenario.note("a failed test with -x", result, project.ending(result.ended))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 2), (signal.SIGTERM, -15)], ids=["SIGINT", "SIGTERM"]
)
def test_a_run_ended_by_a_signal_leaves_nothing(either: Scenario, number: signal.Signals, code: int) -> None:
    project = either.project
    project.suite(HALT)
    running = project.start()
    either.told(running)
    running.send(number)
    sent = time.monotonic()
    result = running.wait()
    assert result.code == code, result.text
    either.note(f"{number.name} to pytest in a test", result, project.ending(sent), "the signal")


def test_a_run_interrupted_while_it_waits_for_a_frozen_server_leaves_nothing(scenario: Scenario) -> None:
    project = scenario.project
    project.suite(f"""
        import os, signal
        def test_waits(candidate, stream, tell):
            os.kill(candidate.server.root_pid, signal.SIGSTOP)
            tell()
            {ASK}
    """)
    running = project.start()
    scenario.told(running)
    running.send(signal.SIGINT)
    sent = time.monotonic()
    result = running.wait()
    assert result.code == 2, result.text
    scenario.note(
        "SIGINT to pytest while it waits for a frozen server", result, project.ending(sent), "the signal"
    )


def test_a_frozen_server_ends_with_its_run(scenario: Scenario) -> None:
    project = scenario.project
    project.suite(f"""
        import os, signal
        def test_freezes(candidate, stream):
            {ASK}
            os.kill(candidate.server.root_pid, signal.SIGSTOP)
            assert candidate.name
    """)
    result = project.run()
    assert result.code == 0, result.text
    scenario.note("SIGSTOP of the API process, then a normal end", result, project.ending(result.ended))


def test_a_run_killed_while_its_server_starts_leaves_nothing(scenario: Scenario) -> None:
    project = scenario.project
    project.catalog({"distill": {"START_S": 60, "IGNORE_TERM": 1}})
    project.suite(HALT)
    running = project.start()
    scenario.eventually(
        lambda: len(project.alive()) >= 6, "pytest, keeper and guard, and three processes of the engine"
    )
    running.send(signal.SIGKILL)
    killed = time.monotonic()
    result = running.wait()
    scenario.note("SIGKILL of pytest while a server starts", result, project.ending(killed), "the signal")


def test_the_directory_of_a_killed_run_goes_with_the_next_run(scenario: Scenario) -> None:
    project = scenario.project
    project.suite(HALT)
    running = project.start()
    scenario.told(running)
    [left] = project.path.glob("tmp/llmperf-*/owner.lock")
    running.send(signal.SIGKILL)
    running.wait()
    scenario.eventually(lambda: not project.alive(), "the end of everything that the run had")
    project.suite(f"def test_asks(candidate, stream): {ASK}")
    assert project.run().code == 0
    assert not left.parent.exists()
    assert not list(project.path.glob("tmp/llmperf-*/owner.lock"))


def test_three_workers_share_one_server(either: Scenario) -> None:
    project = either.project
    project.suite("""
        import os, pytest
        from pathlib import Path
        @pytest.mark.parametrize("number", range(6))
        def test_ask(candidate, stream, number):
            assert stream(candidate, "1 + 1?").ok
            Path("worker-" + os.environ["PYTEST_XDIST_WORKER"]).touch()
    """)
    result = project.run_with_workers(3, timeout_s=either.run_within_s)
    assert result.code == 0, result.text
    assert len(list(project.path.glob("worker-*"))) == 3, "all three workers asked"
    assert project.starts == ["distill"]
    either.note("-n 3, normal end", result, project.ending(result.ended))


def test_a_crashed_worker_leaves_nothing_and_costs_no_second_start(either: Scenario) -> None:
    project = either.project
    project.suite("""
        import os, pytest, time
        from pathlib import Path
        @pytest.mark.parametrize("number", range(8))
        def test_ask(candidate, stream, number):
            assert stream(candidate, "1 + 1?").ok
            Path("worker-" + os.environ["PYTEST_XDIST_WORKER"]).touch()
            # The first crashes when the other worker has asked; that one waits for the first one's replacement.
            others, deadline = {0: 2, 1: 1}.get(number, 3), time.monotonic() + 300
            while len(list(Path().glob("worker-*"))) < others:
                assert time.monotonic() < deadline, "the other workers did not come"
                time.sleep(0.02)
            if number == 0:
                os._exit(7)
    """)
    result = project.run_with_workers(2, timeout_s=either.run_within_s)
    assert result.code == 1, result.text
    assert result.lines("crashed while running", "test_ask")
    assert result.lines("1 failed, 7 passed")
    assert project.starts == ["distill"]
    either.note("-n 2, one worker crashes", result, project.ending(result.ended))


def test_a_killed_controller_of_workers_leaves_nothing(scenario: Scenario) -> None:
    project = scenario.project
    project.suite(HALT)
    running = project.start("-p", "xdist", "-n", "2")
    scenario.told(running)
    running.send(signal.SIGKILL)
    killed = time.monotonic()
    ending = project.ending(killed)
    scenario.note("-n 2, SIGKILL of the controlling pytest", running.wait(), ending, "the signal")


def test_two_runs_at_once_share_nothing_and_leave_nothing(either_for_the_page: Scenario) -> None:
    scenario = either_for_the_page
    project = scenario.project
    project.suite("""
        import os, time
        from pathlib import Path
        def test_meet(candidate, stream):
            assert stream(candidate, "1 + 1?").ok
            Path(f"run-{os.getpid()}").touch()
            deadline = time.monotonic() + 300
            while len(list(Path().glob("run-*"))) < 2:
                assert time.monotonic() < deadline, "the other run did not come"
                time.sleep(0.02)
            assert stream(candidate, "1 + 1?").ok
    """)
    results = [running.wait(scenario.run_within_s) for running in [project.start(), project.start()]]
    assert [result.code for result in results] == [0, 0], results[0].text + results[1].text
    assert len(set(project.ports)) == 2
    ending = project.ending(max(result.ended for result in results))
    scenario.note("two runs at once (a start each)", results[0], ending)


def test_a_second_run_is_not_disturbed_by_the_end_of_the_first(scenario: Scenario) -> None:
    project = scenario.project
    project.suite(f"""
        import os
        def test_halt(candidate, stream, halt):
            halt()
            {ASK}
    """)
    first = project.start()
    scenario.told(first)
    (project.path / "servers.json").unlink()
    second = project.start()
    scenario.told(second)
    first.send(signal.SIGKILL)
    first.wait()
    scenario.eventually(lambda: len(project.alive()) == 6, "the end of everything that the first run had")
    project.go()
    result = second.wait()
    assert result.code == 0, result.text
    scenario.note("two runs at once, one killed", result, project.ending(result.ended))
