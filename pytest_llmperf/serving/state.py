"""The keeper's state directory: what lies in it, and how it is written and read.

``lock``         held (flock) by a process that connects to or starts a keeper
``keeper.lock``  held by the keeper for its life: a second one waits until the first has ended everything
``socket``       where leases are taken
``state.json``   the keeper's and the engine's processes, for those who find the keeper dead
``sockets``      the engine's own, while it runs
``server.log``   the engine's output; stays behind
``keeper.log``   the keeper's own tracebacks; stays behind
``failed.json``  why the start failed; stays behind, so that a run tries only once

Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmperf.serving.processes import ProcessKey

OWNER = "owner.lock"
"""Lock file in the directory above, held by the run for its life."""
MARK = "LLMPERF_KEEPER"
TITLE = "=== pytest-llmperf: "
"""Begins the line that separates the starts in a log."""


@dataclass(frozen=True)
class StateDirectory:
    """Names of the files of one server of one run."""

    path: Path

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def keeper_lock(self) -> Path:
        return self.path / "keeper.lock"

    @property
    def address(self) -> Path:
        return self.path / "socket"

    @property
    def state(self) -> Path:
        return self.path / "state.json"

    @property
    def sockets(self) -> Path:
        return self.path / "sockets"

    @property
    def log(self) -> Path:
        return self.path / "server.log"

    @property
    def keeper_log(self) -> Path:
        return self.path / "keeper.log"

    @property
    def failed(self) -> Path:
        return self.path / "failed.json"

    @property
    def is_kept(self) -> bool:
        """True while a keeper, or the guard of a killed one, is alive."""
        try:
            descriptor = os.open(self.keeper_lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def create(self) -> None:
        """Make it, for this user only: it holds a socket through which a server can be had."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def listen(self) -> socket.socket:
        """A listening socket at ``socket``; an old one there is replaced."""
        self.address.unlink(missing_ok=True)
        listener = _unix_socket()
        with _ShortName(self.path) as name:
            listener.bind(name)
        listener.listen(64)
        listener.setblocking(False)
        return listener

    def connect(self, timeout_s: float) -> socket.socket:
        """A connection to the keeper; raises `OSError` when none listens."""
        connection = _unix_socket()
        connection.settimeout(timeout_s)
        try:
            with _ShortName(self.path) as name:
                connection.connect(name)
        except OSError:
            connection.close()
            raise
        return connection


@dataclass(frozen=True)
class KeeperState:
    """The keeper's process and the processes that it has started."""

    keeper: ProcessKey
    row: str
    family: frozenset[ProcessKey]
    """Every process of the engine that the keeper has seen."""
    boot: str = field(default_factory=lambda: _boot())
    """Process numbers and start times say nothing about another boot's processes."""

    @property
    def mark(self) -> str:
        """Entry in the environment of the engine's processes that no other keeper's have."""
        return f"{MARK}={self.keeper.pid}-{self.keeper.started}"

    def write(self, path: Path) -> None:
        data = {
            "keeper": [self.keeper.pid, self.keeper.started],
            "row": self.row,
            "boot": self.boot,
            "family": sorted([key.pid, key.started] for key in self.family),
        }
        write_json(path, data)

    @classmethod
    def read(cls, path: Path) -> KeeperState | None:
        """None when there is no such file, it can't be understood, or the machine has been booted since."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            state = cls(ProcessKey(*data["keeper"]), data["row"], _keys(data["family"]), data["boot"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return state if state.boot == _boot() else None


def write_json(path: Path, data: object) -> None:
    """Replace ``path`` at one stroke, readable by this user only."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(data, file)
    scratch.replace(path)


def _keys(pairs: Iterable[Iterable[int]]) -> frozenset[ProcessKey]:
    return frozenset(ProcessKey(*pair) for pair in pairs)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _unix_socket() -> socket.socket:
    # Packets keep their borders: a message is there whole or not at all.
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class _ShortName:
    """The socket by a name that fits into an address's 107 bytes, however long the directory's name is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> str:
        self._descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._descriptor}/socket"

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)
