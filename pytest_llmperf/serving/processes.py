"""Processes as ``/proc`` shows them: whose child, since when, how much memory.

Linux only; on another system every list is empty and every sum is 0. Standard library only, because the
keeper imports it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
CGROUPS = Path("/sys/fs/cgroup")
_TCP_LISTEN = "0A"


@dataclass(frozen=True, order=True)
class ProcessKey:
    """A process that can't be confused with a later one of the same number."""

    pid: int
    started: int
    """Clock ticks since boot, field 22 of ``/proc/PID/stat``."""


@dataclass(frozen=True)
class Process:
    """One line of the process table."""

    key: ProcessKey
    parent: int
    group: int
    state: str
    """``R``, ``S``, ``D``, ``T`` (stopped), ``Z`` (ended, not yet collected by its parent) …"""
    name: str
    cpu_s: float
    """User and system time used so far, seconds."""

    @property
    def pid(self) -> int:
        return self.key.pid

    @property
    def is_over(self) -> bool:
        return self.state in "ZX"

    @property
    def is_stopped(self) -> bool:
        """Stopped by SIGSTOP or a debugger: it does nothing until SIGCONT."""
        return self.state in "Tt"


def read(pid: int) -> Process | None:
    """The process with this number, or None when there is none."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    ticks = os.sysconf("SC_CLK_TCK")
    return Process(
        key=ProcessKey(pid, int(fields[19])),
        parent=int(fields[1]),
        group=int(fields[2]),
        state=fields[0],
        name=head.partition("(")[2],
        cpu_s=(int(fields[11]) + int(fields[12])) / ticks,
    )


def table() -> dict[int, Process]:
    """Every process that this user may see, by number."""
    try:
        numbers = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    except OSError:
        return {}
    return {pid: process for pid in numbers if (process := read(pid)) is not None}


def descendants(root: int) -> list[Process]:
    """Children of ``root``, their children and so on, without ``root``; with those that ended uncollected."""
    children: dict[int, list[Process]] = {}
    for process in table().values():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += [process.pid for process in below]
    return found


def is_running(key: ProcessKey) -> bool:
    """True if this very process still runs (a zombie doesn't)."""
    process = read(key.pid)
    return process is not None and process.key == key and not process.is_over


def descriptor(pid: int) -> int | None:
    """An open file that shows when the process ends, for `wait_for_end` and selectors; the caller closes it.

    None if there is no such process, or where the kernel (before 5.3) or Python know no such thing.
    """
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None


def wait_for_end(process: int, timeout_s: float) -> bool:
    """Wait up to ``timeout_s`` seconds for the end of the process behind a `descriptor`; True if it has ended."""
    poller = select.poll()
    poller.register(process, select.POLLIN)
    return bool(poller.poll(max(0.0, timeout_s) * 1000))


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, also while it is stopped.

    Only for a process whose starting thread waits for its end.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def tree(root: int) -> list[int]:
    """``root`` and its descendants that run."""
    return [root, *(process.pid for process in descendants(root) if not process.is_over)]


def rss_bytes(pids: Iterable[int]) -> int:
    """Resident memory of these processes now; pages that several share count several times."""
    return sum(_status_bytes(pid, "VmRSS") for pid in pids)


def peak_rss_bytes(pids: Iterable[int]) -> int:
    """Sum of each process's own highest resident memory (``VmHWM``).

    An upper bound of the highest sum, because the peaks need not coincide. Must be read before the
    processes end.
    """
    return sum(_status_bytes(pid, "VmHWM") for pid in pids)


def cpu_s(pids: Iterable[int]) -> float:
    """User and system time that these processes have used, seconds."""
    return sum(process.cpu_s for pid in pids if (process := read(pid)) is not None)


def environment_has(pid: int, entry: str) -> bool:
    """True if the process was started with ``NAME=value``; False if its environment may not be read."""
    try:
        return entry.encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def oom_kills() -> int:
    """A count that grows when the kernel kills for want of memory: of the machine, and of our own control groups.

    A container often shows only one of the two. 0 where the kernel says neither.
    """
    return _machine_oom_kills() + sum(_oom_kills_in(file) for file in _memory_events())


def _machine_oom_kills() -> int:
    try:
        lines = (PROC / "vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _memory_events() -> Iterator[Path]:
    """The files in which the control groups of this process count, from its own up to the root that it sees."""
    try:
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        # Version 2 has one hierarchy and no controllers in this line; version 1 has a folder for memory.
        root, file = (CGROUPS / "memory", "memory.oom_control") if controllers else (CGROUPS, "memory.events")
        group = Path(name.lstrip("/"))
        yield from (root / parent / file for parent in (group, *group.parents))


def _oom_kills_in(file: Path) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def listens_on(port: int, root: int) -> bool:
    """True if ``root`` or a descendant of it holds the listening TCP socket of ``port``."""
    wanted = _listening_sockets(port)
    return bool(wanted) and any(wanted & _open_files(pid) for pid in tree(root))


def _listening_sockets(port: int) -> set[str]:
    suffix = f":{port:04X}"
    found: set[str] = set()
    for table_name in ("tcp", "tcp6"):
        try:
            lines = (PROC / "net" / table_name).read_text().splitlines()[1:]
        except OSError:
            continue
        rows = [line.split() for line in lines]
        found |= {f"socket:[{row[9]}]" for row in rows if row[1].endswith(suffix) and row[3] == _TCP_LISTEN}
    return found


def _open_files(pid: int) -> set[str]:
    targets: set[str] = set()
    # Either step fails for a process that ends meanwhile or belongs to another user.
    with contextlib.suppress(OSError):
        for link in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                targets.add(str(link.readlink()))
    return targets


def _status_bytes(pid: int, field: str) -> int:
    try:
        lines = (PROC / str(pid) / "status").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), 0)
