"""GPUs are leased among the runs of a machine, by locks that the kernel frees."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf.errors import StartError
from pytest_llmperf.serving import processes
from pytest_llmperf.serving.gpu_leases import GpuHolder, GpuLeases, holder_of, leases_directory
from pytest_llmperf.serving.lease import acquire
from tests.serving.conftest import Run

HOLDS = """
import sys
from pathlib import Path
from pytest_llmperf.serving.gpu_leases import GpuLeases
held = GpuLeases(sys.argv[2], Path(sys.argv[1])).take(["GPU-0"])
print("held" if held is None else "busy", flush=True)
sys.stdin.read()
"""


def process(directory: Path, run: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(directory), run],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
    )
    assert holder.stdout is not None
    return holder


def said(holder: subprocess.Popen[str]) -> str:
    assert holder.stdout is not None
    return holder.stdout.readline().strip()


def end(holder: subprocess.Popen[str]) -> None:
    with holder:
        holder.send_signal(signal.SIGKILL)


def test_two_runs_never_hold_the_same_gpu_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    first = process(tmp_path, "llmperf-one")
    try:
        assert said(first) == "held"
        other = GpuLeases("llmperf-two", tmp_path)
        assert other.take(["GPU-1", "GPU-0"]) == "GPU-0"
        assert holder_of("GPU-0", tmp_path) == GpuHolder(first.pid, "llmperf-one")
        assert holder_of("GPU-1", tmp_path) is None, "all of them or none"
    finally:
        end(first)
    assert other.take(["GPU-1", "GPU-0"]) is None
    assert holder_of("GPU-0", tmp_path) == GpuHolder(os.getpid(), "llmperf-two")
    other.close()
    assert holder_of("GPU-0", tmp_path) is None


def test_processes_of_one_run_share_its_gpus_until_the_last_of_them_ends(tmp_path: Path) -> None:
    ours, stranger = GpuLeases("llmperf-one", tmp_path), GpuLeases("llmperf-two", tmp_path)
    assert ours.take(["GPU-0"]) is None
    assert ours.take(["GPU-0"]) is None
    worker = process(tmp_path, "llmperf-one")
    try:
        assert said(worker) == "held"
        ours.close()
        assert stranger.take(["GPU-0"]) == "GPU-0"
    finally:
        end(worker)
    assert stranger.take(["GPU-0"]) is None
    stranger.close()


def test_who_inherits_the_lease_holds_it_when_the_run_is_gone(tmp_path: Path) -> None:
    ours, stranger = GpuLeases("llmperf-one", tmp_path), GpuLeases("llmperf-two", tmp_path)
    assert ours.take(["GPU-0", "GPU-1"]) is None
    server = subprocess.Popen(["sleep", "60"], pass_fds=ours.descriptors(["GPU-0"]))
    try:
        ours.close()
        assert stranger.take(["GPU-1"]) is None
        assert stranger.take(["GPU-0"]) == "GPU-0"
    finally:
        server.kill()
        server.wait()
    assert stranger.take(["GPU-0"]) is None
    stranger.close()


def test_a_lock_left_by_a_dead_run_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "GPU-0.lock").write_text('{"pid": 1, "run": "llmperf-dead"}')
    (tmp_path / "MIG-GPU-0_1_0.lock").write_text("nonsense")
    assert holder_of("GPU-0", tmp_path) is None
    ours = GpuLeases("llmperf-one", tmp_path)
    assert ours.take(["GPU-0", "MIG-GPU-0/1/0"]) is None
    assert holder_of("MIG-GPU-0/1/0", tmp_path) == GpuHolder(os.getpid(), "llmperf-one")
    ours.close()


def test_every_user_of_the_machine_can_take_a_lock(tmp_path: Path) -> None:
    directory = tmp_path / "locks"
    ours = GpuLeases("llmperf-one", directory)
    assert ours.take(["GPU-0"]) is None
    assert stat.S_IMODE(directory.stat().st_mode) == 0o1777
    assert stat.S_IMODE((directory / "GPU-0.lock").stat().st_mode) == 0o666
    ours.close()


def test_a_directory_that_cannot_hold_locks_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="no lock of GPU GPU-0 can be made") as caught:
        GpuLeases("llmperf-one", tmp_path / "file").take(["GPU-0"])
    assert "LLMPERF_GPU_LEASES" in caught.value.remedy


def test_a_link_in_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("data")
    locks = tmp_path / "locks"
    locks.mkdir()
    (locks / "GPU-0.lock").symlink_to(target)
    with pytest.raises(StartError):
        GpuLeases("llmperf-one", locks).take(["GPU-0"])
    assert target.read_text() == "data"


def test_the_directory_may_be_named_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLMPERF_GPU_LEASES", str(tmp_path))
    assert leases_directory() == tmp_path
    monkeypatch.setenv("LLMPERF_GPU_LEASES", "")
    assert leases_directory() == Path("/tmp/llmperf-gpus")


def test_the_keeper_of_a_server_holds_its_gpus_and_the_engine_does_not(run: Run, tmp_path: Path) -> None:
    ours, stranger = (
        GpuLeases("llmperf-one", tmp_path / "locks"),
        GpuLeases("llmperf-two", tmp_path / "locks"),
    )
    assert ours.take(["GPU-0"]) is None
    with acquire(run.spec(), run.state_root, held=ours.descriptors(["GPU-0"])) as lease:
        ours.close()
        assert stranger.take(["GPU-0"]) == "GPU-0"
        root = lease.server.root_pid
        assert root is not None
        for pid in processes.tree(root):
            open_files = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
            assert not [name for name in open_files if name.endswith("GPU-0.lock")]
    assert stranger.take(["GPU-0"]) is None
    stranger.close()
