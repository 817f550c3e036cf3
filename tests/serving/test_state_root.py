"""A run's directory is its own while it lives, and is removed by the next run when it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.serving import state_root
from pytest_llmperf.serving.lease import acquire
from pytest_llmperf.serving.state_root import StateRoot, sweep

if TYPE_CHECKING:
    from tests.serving.conftest import Run

OWNER = (
    "from pytest_llmperf.serving.state_root import StateRoot; print(StateRoot().path, flush=True); input()"
)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's directories are made, and no others."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return directory


@contextmanager
def other_run() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_the_directory_of_a_killed_run_is_removed_and_a_living_one_left_alone() -> None:
    with other_run() as (dead, left), other_run() as (_, used):
        (left / "server").mkdir()
        (left / "server" / "server.log").write_text("x")
        assert sweep() == []
        dead.send_signal(signal.SIGKILL)
        dead.wait(10)
        assert sweep() == [left]
        assert not left.exists()
        assert used.exists()


def test_a_run_that_ends_twice_closes_nothing_that_is_no_longer_its_own(temporary: Path) -> None:
    root = StateRoot()
    root.close()
    taken = os.open(temporary, os.O_RDONLY)  # may get the number that was given back
    root.close()
    os.close(taken)
    assert not root.path.exists()


def test_own_and_foreign_directories_are_left_alone(temporary: Path) -> None:
    foreign = temporary / "llmperf-of-somebody"
    foreign.mkdir()
    root = StateRoot()
    assert sweep() == []
    root.close()
    assert not root.path.exists()
    assert foreign.exists()


def test_a_lock_that_is_a_link_to_elsewhere_is_not_followed(temporary: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    trap = temporary / "llmperf-trap"
    trap.mkdir()
    (trap / "owner.lock").symlink_to(target)
    assert sweep() == []
    assert trap.exists()


def test_what_a_killed_run_and_its_killed_keeper_left_running_is_ended_first(
    run: Run, eventually: Callable[..., Any]
) -> None:
    with other_run() as (owner, root):
        with acquire(run.spec(), root):
            for pid in run.keepers():
                os.kill(pid, signal.SIGKILL)
            eventually(lambda: not run.keepers(), "the keeper's end")
        owner.kill()
        owner.wait(10)
        with run.survivor() as survivor:
            assert sweep() == [root]
            assert survivor.wait(5) == -signal.SIGKILL
    assert run.is_clean(), run.left()


def test_a_directory_is_kept_with_a_complaint_while_a_server_in_it_cannot_be_ended(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = StateRoot()
    lease = acquire(run.spec(), root.path)
    monkeypatch.setattr(state_root, "END_S", 0.1)
    monkeypatch.setattr(state_root, "reap", lambda path, **options: [])  # as where SIGKILL has no effect
    assert "still runs" in root.close()
    assert root.path.exists()
    lease.close()
    assert root.close() == ""
    assert not root.path.exists()


def test_a_server_whose_lease_was_forgotten_ends_with_its_directory(run: Run) -> None:
    root = StateRoot()
    lease = acquire(run.spec(), root.path)
    assert root.close() == ""
    assert run.engines() == []
    assert not root.path.exists()
    lease.close()


def test_a_directory_whose_keeper_is_at_work_is_left_to_it(run: Run) -> None:
    with other_run() as (owner, root):
        with acquire(run.spec(), root) as lease:
            owner.kill()
            owner.wait(10)
            assert sweep() == []
            assert lease.died() is None
        assert sweep() == [root]
