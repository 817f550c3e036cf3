"""The API key of a server: unlike that of any other living server, and the same again at the next start of its row.

vLLM 0.26 hashes ``VLLM_API_KEY`` into the name of its compile cache (``vllm/envs.py``, ``compile_factors``; 0.32 leaves
it out), so with a new random key each start would compile again and leave one more directory behind. A key is therefore
derived from a secret of this user, this machine, the row and the lowest number that no living server of that row holds.
Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pytest_llmperf.errors import UsageError
from pytest_llmperf.home import own_cache

_MACHINE = (Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id"))
_BYTES = 32
_MOST = 1000
"""Living servers of one row, more than a machine has ports for."""


class ServerKey:
    """One key and the lock that keeps other servers from it, until ``close`` or the process's end."""

    def __init__(self, value: str, descriptor: int | None) -> None:
        self.value = value
        self._descriptor = descriptor

    def __repr__(self) -> str:
        return "ServerKey(…)"

    def close(self) -> None:
        """Let the next server have the key."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def take(row: str, environment: Mapping[str, str]) -> ServerKey:
    """The first key of ``row`` that no living server has; a random one where the user's cache can't be written.

    The secret in that cache is readable by its owner only; one that others could read is not used.
    """
    try:
        directory = own_cache(environment) / "server-keys"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = _secret(directory / "secret")
        name = hashlib.sha256(row.encode()).hexdigest()[:16]
        for number in range(_MOST):
            descriptor = os.open(
                directory / f"{name}.{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            message = f"{_machine()}\n{row}\n{number}".encode()
            return ServerKey(hmac.new(secret, message, hashlib.sha256).hexdigest(), descriptor)
    except (OSError, UsageError):
        pass
    return ServerKey(secrets.token_hex(32), None)


def _secret(path: Path) -> bytes:
    """The secret in ``path``, drawn if there is none; raises `OSError` if others can read it."""
    if not path.exists():
        _draw(path)
    status = path.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or status.st_size != _BYTES:
        raise PermissionError(f"{path} is not a secret of this user alone")
    return path.read_bytes()


def _draw(path: Path) -> None:
    """Write a new secret whole or not at all; of two processes that try at once, the first wins."""
    draft = path.with_name(f".{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _machine() -> str:
    """What tells this machine from others, so that a cache that is copied elsewhere gives no key away."""
    for path in _MACHINE:
        with suppress(OSError):
            if said := path.read_text().strip():
                return said
    return ""
