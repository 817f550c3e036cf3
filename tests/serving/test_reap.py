"""What a keeper leaves that was itself killed is found and ended, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.serving import processes
from pytest_llmperf.serving.lease import acquire
from pytest_llmperf.serving.processes import ProcessKey
from pytest_llmperf.serving.reap import leftovers, reap
from pytest_llmperf.serving.state import KeeperState

if TYPE_CHECKING:
    from tests.serving.conftest import Run

Eventually = Callable[..., Any]


def kill_keeper(run: Run, eventually: Eventually) -> None:
    for pid in run.keepers():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not run.keepers(), "the keeper's end")


def test_an_engine_whose_keeper_is_killed_ends_by_itself(run: Run, eventually: Eventually) -> None:
    lease = acquire(run.spec(), run.state_root)
    kill_keeper(run, eventually)
    eventually(lambda: not run.engines(), "the engine's own end")
    assert "keeper was killed" in str(lease.died(wait_s=5.0))
    lease.close()


def test_what_survives_a_killed_keeper_is_reaped_by_the_next_start(run: Run, eventually: Eventually) -> None:
    spec = run.spec()
    with acquire(spec, run.state_root):
        kill_keeper(run, eventually)
    with run.survivor(), acquire(spec, run.state_root):
        assert len(run.engines()) == 3, "the three of the new server, and not the survivor"


def test_what_survives_a_killed_keeper_is_listed_and_reaped_on_request(
    run: Run, eventually: Eventually
) -> None:
    with acquire(run.spec(), run.state_root):
        kill_keeper(run, eventually)
    with run.survivor() as survivor:
        [found] = leftovers(run.state_root)
        assert found.row == "distill"
        assert found.keeper_pid is None
        assert found.pids == (survivor.pid,)
        assert reap(run.path) == [found]
        assert survivor.wait(5) == -signal.SIGKILL
    assert run.is_clean(), run.left()
    assert leftovers(run.path) == []


def test_a_server_in_use_is_listed_but_only_ended_when_asked_for(run: Run) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        assert [found.keeper_pid for found in leftovers(run.state_root)] == [lease.server.keeper_pid]
        assert reap(run.state_root) == []
        assert lease.died() is None
        assert len(reap(run.state_root, end_living=True)) == 1
        assert lease.died(wait_s=5.0)
    assert run.is_clean(), run.left()


def test_a_number_that_another_process_has_now_is_not_touched(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        now = processes.read(innocent.pid)
        assert now is not None
        gone = ProcessKey(innocent.pid, now.key.started - 1)
        directory = tmp_path / "server"
        directory.mkdir()
        KeeperState(ProcessKey(2**22 + 1, 1), "distill", frozenset({gone})).write(directory / "state.json")
        assert leftovers(tmp_path) == []
        assert reap(tmp_path) == []
        assert innocent.poll() is None
        innocent.communicate(b"\n")


def test_a_state_of_another_boot_says_nothing(tmp_path: Path) -> None:
    own = processes.read(os.getpid())
    assert own is not None
    directory = tmp_path / "server"
    directory.mkdir()
    KeeperState(own.key, "distill", frozenset({own.key}), boot="before").write(directory / "state.json")
    assert leftovers(tmp_path) == []
