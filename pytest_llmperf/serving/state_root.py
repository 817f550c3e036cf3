"""The directory of one run's servers, and the end of those whose run was killed.

A run that is killed (SIGKILL, out of memory) can't remove its directory, and a keeper killed with it can't end its
engine. So each directory says by a lock that the kernel gives back who lives, and every run, before it makes its own,
ends and removes what dead ones of the same user left. Only directories with such a lock are looked at.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from pytest_llmperf.serving.reap import leftovers, reap
from pytest_llmperf.serving.state import OWNER, StateDirectory

PREFIX = "llmperf-"
END_S = 5.0
"""Seconds for the end of a server whose run is dead."""


class StateRoot:
    """A new directory of a run, among the system's temporary files; it's the run's until ``close()`` or its death."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        # Locked before it has its name: a process that finds the file finds it held.
        unnamed = self.path / f"{OWNER}.new"
        descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor: int | None = descriptor
        unnamed.rename(self.path / OWNER)

    def close(self) -> str:
        """End what still uses the directory, and remove it; empty, or why it was kept.

        Called again after it was removed, it does nothing: a run that is only planned ends twice.
        """
        if self._descriptor is None:
            return ""
        reap(self.path, end_living=True)
        deadline = time.monotonic() + END_S
        while kept := [
            path.parent for path in self.path.glob("*/keeper.lock") if StateDirectory(path.parent).is_kept
        ]:
            if time.monotonic() > deadline:
                return f"a server still runs in {', '.join(map(str, kept))}; the next run tries to end it"
            time.sleep(0.02)
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)
        self._descriptor = None
        return ""


def sweep() -> list[Path]:
    """End and remove what dead runs of this user left; returns their directories.

    One whose keeper still runs is left to it: it is on the way to end its engine.
    """
    removed = []
    for owner in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{OWNER}")):
        # Another run may sweep at the same time; and what can't be swept is no reason not to run.
        with contextlib.suppress(OSError):
            if _is_ours(owner.parent) and _sweep_one(owner):
                removed.append(owner.parent)
    return removed


def _is_ours(directory: Path) -> bool:
    """True if the directory is this user's and no link: its content names processes that will be killed."""
    status = directory.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _sweep_one(owner: Path) -> bool:
    descriptor = os.open(owner, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        reap(owner.parent)
        if leftovers(owner.parent):
            return False
        shutil.rmtree(owner.parent, ignore_errors=True)
        return True
    finally:
        os.close(descriptor)
