"""A leash on the engine: the kernel itself kills the engine's process group when its keeper ends, however that ends.

``PR_SET_PDEATHSIG`` reaches the first process alone. Where keeper and API process are killed together, nothing that
runs is left to end the engine core, its child. So the keeper holds both ends of a pipe whose read end has a signal
(``O_ASYNC``, ``F_SETSIG``) and an owner (``F_SETOWN``): when the last write end closes, the kernel sends SIGKILL to
every process that is in the owner's group at that moment, also to stopped ones, and to those that were started since.
It needs no process of ours that runs, and no rights. The shim that becomes the engine makes its own group the owner.

Two pipes, because both ends may close in the same death: which of them the kernel closes first depends on its version
and on their numbers, and a pipe whose read end goes first stays silent. Standard library only, because the keeper
imports it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from dataclasses import dataclass

_F_SETSIG = getattr(fcntl, "F_SETSIG", 10)


@dataclass(frozen=True)
class Leash:
    """Descriptors of both pipes; none of them is inherited by a program that is executed."""

    read_ends: tuple[int, int]
    write_ends: tuple[int, int]

    @classmethod
    def make(cls) -> Leash:
        """A leash that holds no process yet. On a kernel without such signals it does nothing."""
        low_read, high_write = os.pipe()
        read, low_write = os.pipe()
        high_read = fcntl.fcntl(read, fcntl.F_DUPFD_CLOEXEC, low_write + 1)
        os.close(read)
        for end in (low_read, high_read):
            with contextlib.suppress(OSError):
                fcntl.fcntl(end, _F_SETSIG, signal.SIGKILL)
                fcntl.fcntl(end, fcntl.F_SETFL, fcntl.fcntl(end, fcntl.F_GETFL) | os.O_ASYNC)
        return cls((low_read, high_read), (high_write, low_write))

    def put_on(self, group: int) -> None:
        """Put the process group ``group`` on the leash, in place of the one that was on it."""
        for end in self.read_ends:
            with contextlib.suppress(OSError):
                fcntl.fcntl(end, fcntl.F_SETOWN, -group)

    def take_off(self) -> None:
        """Close everything, and kill nothing."""
        for end in (*self.read_ends, *self.write_ends):
            os.close(end)

    def only_watch(self) -> None:
        """Close the write ends, in a process whose own end must not release the leash."""
        for end in self.write_ends:
            os.close(end)
