"""Where an engine puts its sockets and its temporary files: a directory that goes when the engine does.

vLLM calls the sockets ``$VLLM_RPC_BASE_PATH/UUID`` and leaves three of them a start, for good; its rendezvous leaves a
``vllm_dist_UUID`` in the directory for temporary files (``TMPDIR``). Standard library only, because the keeper imports
it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_LONGEST = 107 - len("/") - 36
"""The kernel allows a socket's name 107 bytes; vLLM: ``ZMQError: ipc path "…" is longer than 107 characters``."""


class SocketDirectory:
    """A directory at ``path`` for one start of an engine, for this user only; what an earlier start left there goes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clear()
        path.mkdir(mode=0o700)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def name(self) -> str:
        """For other processes, while this one lives; short, however long the path is."""
        plain = str(self._path)
        return plain if len(os.fsencode(plain)) <= _LONGEST else f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def remove(self) -> None:
        """With everything in it; once only."""
        os.close(self._descriptor)
        self._clear()

    def _clear(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
