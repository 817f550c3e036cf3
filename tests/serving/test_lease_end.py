"""A lease is given back when the keeper itself has ended, and not when it says that it is about to."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.errors import StartError
from pytest_llmperf.serving import processes
from pytest_llmperf.serving.lease import Lease
from pytest_llmperf.serving.state import StateDirectory

if TYPE_CHECKING:
    from tests.serving.conftest import Run

# Says its last words and stays, until its standard input ends.
SLOW_TO_END = """
import json, socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
for message in json.loads(sys.argv[2]):
    connection.send(json.dumps(message).encode())
print("said", flush=True)
sys.stdin.read()
"""
ENDED = (
    '[{"event": "bye", "last": true},'
    ' {"event": "ended", "pids": [], "seconds": 0.0, "forced": false, "survivors": []}]'
)
FAILED = '[{"event": "failed", "phase": "starting", "detail": "planted", "exit_code": 1, "log_offset": 0}]'


def keeper(messages: str) -> tuple[subprocess.Popen[str], socket.socket]:
    """A process that stands for a keeper, and our end of the connection to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-c", SLOW_TO_END, str(theirs.fileno()), messages]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, pass_fds=[theirs.fileno()])
    assert process.stdout is not None
    assert process.stdout.readline() == "said\n"
    return process, ours


@pytest.mark.parametrize("messages", [ENDED, FAILED], ids=["given back", "failed"])
def test_whoever_hears_the_last_words_waits_for_the_end(run: Run, messages: str) -> None:
    process, connection = keeper(messages)
    directory = StateDirectory(run.state_root / "standing-in")
    directory.create()
    lease = Lease(run.spec(), directory, connection, process.pid)
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            lease.close() if messages == ENDED else lease._wait_until_ready(None)
        except StartError as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        thread.join(0.5)
        assert thread.is_alive(), "the keeper is still there"
    finally:
        process.communicate(timeout=10)
        thread.join(10)
        lease.close()
    assert not thread.is_alive()
    assert [str(error).count("planted") for error in raised] == ([] if messages == ENDED else [1])


def test_the_end_of_a_process_is_seen_at_once_and_its_absence_is_none() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        opened = processes.descriptor(process.pid)
        assert opened is not None
        assert not processes.wait_for_end(opened, 0.0)
        process.communicate(b"\n", timeout=10)
        assert processes.wait_for_end(opened, 10.0)
    assert processes.descriptor(process.pid) is None
