"""A TCP port that no other run of ours takes, held by a lock file for as long as its server lives.

A port that a probe found free is free no longer than the probe; the lock keeps our own runs apart, and a
range outside the kernel's ephemeral ports keeps outgoing connections away. Against everybody else only
another try helps: the keeper does that. Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Collection
from pathlib import Path
from types import TracebackType

LOW, HIGH = 20000, 32000
HOST = "127.0.0.1"


class NoFreePort(Exception):
    """Every port of the range is taken or locked."""


class PortLock:
    """One port and the lock that keeps our other runs from it, until ``close`` or the process's end."""

    def __init__(self, port: int, descriptor: int) -> None:
        self.port = port
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> PortLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def reserve(avoid: Collection[int] = (), directory: Path | None = None) -> PortLock:
    """Lock a port that is free now and not in ``avoid``; raises `NoFreePort`."""
    directory = directory or _lock_directory()
    candidates = [port for port in candidate_ports() if port not in avoid]
    # At random, because two runs that begin together would otherwise race for the same first port.
    random.SystemRandom().shuffle(candidates)
    for port in candidates:
        descriptor = _lock(directory / f"{port}.lock")
        if descriptor is None:
            continue
        if is_free(port):
            return PortLock(port, descriptor)
        os.close(descriptor)
    raise NoFreePort(f"no free TCP port between {LOW} and {HIGH} on {HOST}")


def candidate_ports() -> list[int]:
    """The range without the kernel's ephemeral ports, or all of it where those leave nothing."""
    low, high = ephemeral_range()
    outside = [port for port in range(LOW, HIGH) if not low <= port <= high]
    return outside or list(range(LOW, HIGH))


def ephemeral_range() -> tuple[int, int]:
    """Lowest and highest port that the kernel gives to outgoing connections."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except (OSError, ValueError):
        return 32768, 60999
    return int(low), int(high)


def is_free(port: int, host: str = HOST) -> bool:
    """True if a server could listen on the port at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A connection that was closed a moment ago (TIME_WAIT) doesn't make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _lock_directory() -> Path:
    directory = Path(tempfile.gettempdir()) / f"llmperf-ports-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        # Another user made it, and could break locks there.
        return Path(tempfile.mkdtemp(prefix="llmperf-ports-"))
    return directory


def _lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
