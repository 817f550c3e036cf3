"""GPUs are leased among the runs of one machine: two runs never take the same one.

A lease is a lock (``flock``) on a file with the GPU's UUID for a name, in a directory that all users share. Every
process of the run holds it, and so does the keeper of every server on the GPU, which inherits the descriptor. So the
kernel frees a GPU as soon as neither the run nor a server of it is alive, however they ended. The file says which run
that is: its processes share the lock, and others are told whom they wait for.

Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.errors import StartError

DIRECTORY_VARIABLE = "LLMPERF_GPU_LEASES"
"""Environment variable with the directory of the locks: containers that share GPUs must share it."""
# Not among TMPDIR's files: every job of a machine may have a directory of its own for those.
_DIRECTORY = "/tmp/llmperf-gpus"
_SHARED = stat.S_ISVTX | 0o777
_EVERY_USER = 0o666


@dataclass(frozen=True)
class GpuHolder:
    """The run that holds a GPU."""

    pid: int
    run: str
    """Its state directory."""


class GpuLeases:
    """The GPUs that this process holds for its run."""

    def __init__(self, run: str, directory: Path | None = None) -> None:
        """``run``: the run's state directory, the same in all its processes."""
        self._run = run
        self._directory = directory or leases_directory()
        self._descriptors: dict[str, int] = {}

    def take(self, uuids: Iterable[str]) -> str | None:
        """Lease all of these GPUs; returns the UUID of one that another run holds, and then leases none of them.

        Raises :class:`StartError` where no lock can be made.
        """
        new: dict[str, int] = {}
        for uuid in uuids:
            if uuid in self._descriptors or uuid in new:
                continue
            if (descriptor := self._locked(uuid)) is None:
                for held in new.values():
                    os.close(held)
                return uuid
            new[uuid] = descriptor
        self._descriptors |= new
        return None

    def descriptors(self, uuids: Iterable[str]) -> tuple[int, ...]:
        """Descriptors that hold these GPUs for as long as a process has them open."""
        return tuple(self._descriptors[uuid] for uuid in uuids if uuid in self._descriptors)

    def close(self) -> None:
        """Give every lease back; a server that still runs keeps its own."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors = {}

    def _locked(self, uuid: str) -> int | None:
        """The descriptor of the lock, which all processes of the run share; None if another run holds it."""
        try:
            descriptor = _open(self._directory, uuid)
        except OSError as error:
            raise StartError(
                f"no lock of GPU {uuid} can be made: {error.filename or self._directory}: {error.strerror}",
                remedy="make the directory writable for every user (mode 1777), or name another in "
                f"{DIRECTORY_VARIABLE}, the same for all runs of the machine",
            ) from error
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "run": self._run}).encode(), 0)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # Shared by the run that wrote its name while it had the lock alone, and by nobody else.
        holder = _read(descriptor)
        if holder is None or holder.run != self._run:
            os.close(descriptor)
            return None
        return descriptor


def leases_directory() -> Path:
    """The directory of the locks of this machine."""
    return Path(os.environ.get(DIRECTORY_VARIABLE) or _DIRECTORY)


def holder_of(uuid: str, directory: Path | None = None) -> GpuHolder | None:
    """The run that holds a GPU; None if none does, or it cannot be read."""
    path = _file(directory or leases_directory(), uuid)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    finally:
        os.close(descriptor)
    return None


def _read(descriptor: int) -> GpuHolder | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(os.pread(descriptor, 4096, 0))
        return GpuHolder(int(told["pid"]), str(told["run"]))
    return None


def _file(directory: Path, uuid: str) -> Path:
    return directory / f"{re.sub(r'[^A-Za-z0-9-]', '_', uuid)}.lock"


def _open(directory: Path, uuid: str) -> int:
    """A descriptor of the lock file, which every user may lock."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(parents=True)
        directory.chmod(_SHARED)
    path, flags = _file(directory, uuid), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(FileNotFoundError):
        # Without O_CREAT, which the kernel refuses for another user's file in such a directory (fs.protected_regular).
        return os.open(path, flags)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, _EVERY_USER)
        os.fchmod(descriptor, _EVERY_USER)
        return descriptor
    return os.open(path, flags)
