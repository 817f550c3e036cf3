"""The engine's process tree: how the keeper starts it and how it ends it.

The keeper is a child subreaper, so that an orphan of a dead API process becomes the keeper's own child,
whatever session or group it is in: "all my descendants" stays a complete list, without matching names.
Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.home import has_home, home_directory
from pytest_llmperf.serving import processes
from pytest_llmperf.serving.leash import Leash
from pytest_llmperf.serving.processes import ProcessKey

SHIM = Path(__file__).with_name("exec_shim.py")
# Processes that the API process leaves behind get this long to end by themselves.
STRAGGLERS_S = 0.5
# After SIGKILL only a process in an uninterruptible system call (a driver) lives on.
KILL_S = 10.0


@dataclass(frozen=True)
class Exit:
    """The end of a process; exactly one of the two fields is set."""

    code: int | None
    signal: int | None

    @classmethod
    def from_status(cls, status: int) -> Exit:
        if os.WIFSIGNALED(status):
            return cls(None, os.WTERMSIG(status))
        return cls(os.waitstatus_to_exitcode(status), None)


@dataclass(frozen=True)
class Ended:
    """The result of ending a process tree."""

    seconds: float
    forced: bool
    """Something had to be killed."""
    survivors: tuple[int, ...]
    """Processes that outlived SIGKILL: stuck in the kernel, most likely in a driver."""


class EngineProcess:
    """One start of the engine, from and for the main thread (``PR_SET_PDEATHSIG`` is per thread)."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path, leash: Leash) -> None:
        # Numbers above all others: no `dup2` of the list below overwrites what a later one copies.
        ends = {end: max(leash.read_ends) + 1 + place for place, end in enumerate(leash.read_ends)}
        # -S as well as -I: the shim needs no site-packages and shall cost milliseconds.
        shim = [sys.executable, "-I", "-S", str(SHIM)]
        command = [*shim, str(os.getpid()), ",".join(map(str, ends.values())), *argv]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self.started = time.monotonic()
        self.pid = os.posix_spawn(
            sys.executable,
            command,
            dict(environment),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *((os.POSIX_SPAWN_DUP2, end, copy) for end, copy in ends.items()),
            ],
            # What the keeper ignores its child must not ignore.
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
            setsigmask=[],
        )
        self.exit: Exit | None = None
        self.seen: set[ProcessKey] = set()
        self._leashes: dict[int, Leash] = {}
        """Process groups that the engine's processes have made for themselves."""

    def look(self) -> bool:
        """Collect what has ended; returns whether the API process runs."""
        for pid, status in _collect():
            if pid == self.pid:
                self.exit = Exit.from_status(status)
        return self.exit is None

    def note_family(self) -> bool:
        """Remember the processes of the tree; returns whether one is new."""
        family = _children()
        for group in {process.group for process in family} - {self.pid, os.getpgrp(), *self._leashes}:
            self._leashes[group] = Leash.make()
            self._leashes[group].put_on(group)
        now = {process.key for process in family}
        new = not now <= self.seen
        self.seen |= now
        return new

    def end(self, grace_s: float) -> Ended:
        """SIGTERM to the API process alone, then SIGKILL to every descendant.

        SIGTERM goes to no other process, because vLLM's API process ends its own engine in order, and an engine
        that is signalled at the same time breaks that. With ``grace_s`` 0 everything is killed at once: the
        only safe end during start-up, when the engine has no handlers yet.
        """
        began = time.monotonic()
        self.note_family()
        if grace_s > 0 and self.look():
            _signal(self.pid, signal.SIGTERM)
            _signal(self.pid, signal.SIGCONT)  # a stopped process would never see the other one
            _wait_until(lambda: not self.look(), grace_s)
            if not self.look():
                _wait_until(lambda: not _children(), min(STRAGGLERS_S, grace_s))
        forced = bool(_children())
        gone = kill_descendants(self.look)
        survivors = () if gone else tuple(process.pid for process in _children())
        if gone:
            for leash in self._leashes.values():
                leash.take_off()
            self._leashes.clear()
        return Ended(time.monotonic() - began, forced, survivors)


def kill_descendants(collect: Callable[[], object] | None = None) -> bool:
    """SIGKILL to every descendant until there is none; returns whether that was reached in `KILL_S` seconds.

    ``collect`` is called after every round, to collect what has ended.
    """

    def round_is_last() -> bool:
        # Killing one process may make another one appear: a fork in flight, or a parent that restarts it.
        for process in _children():
            _signal(process.pid, signal.SIGKILL)
        (collect or _collect)()
        return not _children()

    return _wait_until(round_is_last, KILL_S)


def child_environment(
    base: Mapping[str, str], added: Mapping[str, str], unset: Sequence[str], program: str
) -> dict[str, str]:
    """The environment of the engine: that of the run without what belongs to pytest, plus what the spec adds.

    The directory of an interpreter given by its path goes first into ``PATH``: engines call tools of their
    own virtual environment (``ninja``) by name.
    """
    foreign = ("PYTEST_", "COVERAGE_", "COV_CORE_")
    environment = {
        name: value for name, value in base.items() if not name.startswith(foreign) and name not in unset
    }
    environment |= added
    if not has_home(environment):
        # torch and the hub's cache want both; without them the engine ends in KeyError: getpwuid().
        home = str(home_directory(environment))
        name = f"uid{os.getuid()}"
        environment = {"USER": name, "LOGNAME": name} | environment | {"HOME": home}
    if os.sep in program:
        home = str(Path(program).absolute().parent)
        environment["PATH"] = os.pathsep.join([home, environment.get("PATH", os.defpath)])
    return environment


def _children() -> list[processes.Process]:
    return [process for process in processes.descendants(os.getpid()) if not process.is_over]


def _collect() -> list[tuple[int, int]]:
    collected = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            collected.append((pid, status))
    return collected


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while True:
        if condition():
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
