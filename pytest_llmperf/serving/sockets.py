"""Where an engine puts the sockets by which its own processes talk: a directory that goes when the engine does.

vLLM calls them ``$VLLM_RPC_BASE_PATH/UUID`` (by default in the directory for temporary files) and never removes them:
three files a start, for good. Standard library only, because the keeper imports it.
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
