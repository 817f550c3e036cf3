"""What ``/proc`` says of processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.serving import processes
from pytest_llmperf.serving.processes import ProcessKey


@contextmanager
def child(code: str = "", **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A Python that runs ``code``, says so, and ends at the end of its input."""
    command = [sys.executable, "-c", f"{code}\nprint(flush=True)\ninput()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.communicate(b"\n")


def test_children_and_their_children_are_descendants() -> None:
    with child("import os\nif os.fork() == 0:\n  import time; time.sleep(0.2); os._exit(0)") as process:
        below = processes.descendants(os.getpid())
        assert process.pid in [each.pid for each in below]
        assert any(each.parent == process.pid for each in below)
        assert set(processes.tree(process.pid)) >= {process.pid}


def test_a_process_is_known_by_number_and_start_together() -> None:
    with child() as process:
        found = processes.read(process.pid)
        assert found is not None
        assert processes.is_running(found.key)
        assert not processes.is_running(ProcessKey(found.pid, found.key.started + 1))
    assert not processes.is_running(found.key)


def test_a_zombie_does_not_run(eventually: Callable[..., Any]) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    found = processes.read(process.pid)
    assert found is not None
    eventually(lambda: not processes.is_running(found.key), "the child's end, uncollected")
    process.wait()


def test_a_name_with_spaces_and_parentheses_is_read_whole() -> None:
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b'a) R (b', 0, 0, 0)"
    with child(code) as process:
        found = processes.read(process.pid)
        assert found is not None
        assert (found.name, found.parent) == ("a) R (b", os.getpid())


def test_the_peak_of_memory_outlasts_its_release() -> None:
    with child("x = bytearray(64 << 20); x[::4096] = b'x' * len(x[::4096]); del x") as process:
        peak = processes.peak_rss_bytes([process.pid])
        assert peak > 64 << 20
        assert 0 < processes.rss_bytes([process.pid]) < peak
    assert processes.peak_rss_bytes([process.pid]) == 0


def test_processor_time_is_counted() -> None:
    with child("import time\nwhile time.process_time() < 0.1: pass") as process:
        assert 0.05 < processes.cpu_s([process.pid]) < 5.0


def test_an_entry_of_the_environment_is_found_whole_only() -> None:
    with child(env=os.environ | {"LLMPERF_TEST_MARK": "12"}) as process:
        assert processes.environment_has(process.pid, "LLMPERF_TEST_MARK=12")
        assert not processes.environment_has(process.pid, "LLMPERF_TEST_MARK=1")


def test_a_listening_socket_is_traced_to_its_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert processes.listens_on(port, os.getpid())
        with child() as process:
            assert not processes.listens_on(port, process.pid)


def test_the_kernels_count_of_kills_for_memory_is_a_number() -> None:
    assert processes.oom_kills() >= 0


@pytest.mark.parametrize(
    ("cgroup", "file"),
    [
        ("0::/job/step\n", "job/step/memory.events"),
        ("0::/job/step\n", "job/memory.events"),
        ("0::/\n", "memory.events"),
        ("5:cpu:/x\n4:memory:/docker/1\n0::/\n", "memory/docker/1/memory.oom_control"),
    ],
)
def test_a_kill_for_want_of_memory_in_our_control_group_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str, file: str
) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    monkeypatch.setattr(processes, "CGROUPS", tmp_path / "cgroup")
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(cgroup)
    events = tmp_path / "cgroup" / file
    events.parent.mkdir(parents=True)
    events.write_text("low 0\noom 3\noom_kill 2\n")
    assert processes.oom_kills() == 2
    (tmp_path / "vmstat").write_text("oom_kill 5\n")
    assert processes.oom_kills() == 7
