"""Find and end what a keeper left behind that was itself killed.

A keeper writes down which processes it has; its engine also carries a mark in the environment. Only
processes that match one of the two are touched, and a number that was given to another process since is
recognised by its start time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.serving import processes
from pytest_llmperf.serving.messages import decode, encode
from pytest_llmperf.serving.processes import Process
from pytest_llmperf.serving.state import KeeperState, StateDirectory

END_S = 10.0


@dataclass(frozen=True)
class Leftover:
    """A state directory whose keeper, or whose keeper's engine, still runs."""

    directory: Path
    row: str
    keeper_pid: int | None
    """None when the keeper itself is dead."""
    pids: tuple[int, ...]
    """The engine's processes that run."""


def leftovers(state_root: Path) -> list[Leftover]:
    """Processes of the runs under this directory (one or two levels below) that are alive now."""
    found = []
    for path in sorted({*state_root.glob("*/state.json"), *state_root.glob("*/*/state.json")}):
        state = KeeperState.read(path)
        if state is None:
            continue
        keeper_pid = state.keeper.pid if processes.is_running(state.keeper) else None
        pids = tuple(process.pid for process in _family(state))
        if keeper_pid is not None or pids:
            found.append(Leftover(path.parent, state.row, keeper_pid, pids))
    return found


def reap(state_root: Path, *, end_living: bool = False) -> list[Leftover]:
    """End what dead keepers left under ``state_root``; with ``end_living`` also servers that are in use.

    Returns what was found and ended.
    """
    ended = []
    for leftover in leftovers(state_root):
        directory = StateDirectory(leftover.directory)
        if leftover.keeper_pid is None:
            reap_directory(directory)
        elif end_living:
            _ask_to_end(directory, leftover.keeper_pid)
            reap_directory(directory)
        else:
            continue
        ended.append(leftover)
    return ended


def reap_directory(directory: StateDirectory) -> tuple[int, ...]:
    """End the engine of a dead keeper; returns the processes that it ended. A living one is left alone."""
    state = KeeperState.read(directory.state)
    if state is None or processes.is_running(state.keeper):
        return ()
    ended: set[int] = set()
    deadline = time.monotonic() + END_S
    while (family := _family(state)) and time.monotonic() < deadline:
        for process in family:
            ended.add(process.pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.02)
    if not _family(state):
        directory.state.unlink(missing_ok=True)
    return tuple(sorted(ended))


def _family(state: KeeperState) -> list[Process]:
    """Processes that the keeper knew or that carry its mark, with what they have started since."""
    running = {pid: process for pid, process in processes.table().items() if not process.is_over}
    marked = {
        pid
        for pid, process in running.items()
        if process.key in state.family or processes.environment_has(pid, state.mark)
    }
    for pid in list(marked):
        marked |= {process.pid for process in processes.descendants(pid) if not process.is_over}
    marked -= {os.getpid(), state.keeper.pid}
    return [running[pid] for pid in sorted(marked) if pid in running]


def _ask_to_end(directory: StateDirectory, keeper_pid: int) -> None:
    """Returns when the keeper itself has ended, so that its lock and its port are free as well."""
    keeper = processes.descriptor(keeper_pid)
    with contextlib.suppress(OSError):
        connection = directory.connect(timeout_s=END_S)
        with contextlib.closing(connection):
            connection.send(encode({"do": "end"}))
            connection.settimeout(60.0)
            while packet := connection.recv(64 * 1024):
                if decode(packet)["event"] == "ended":
                    break
    if keeper is not None:
        processes.wait_for_end(keeper, END_S)
        os.close(keeper)
