"""Work that may hang or swallow memory, in child processes that can be killed: each has a limit of processor time,
wall time and memory.

Usable from any thread. Nothing is started before the first request; signals, alarms and limits of this process are
not touched, so that pytest-timeout stays armed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.errors import UsageError

WORKER = Path(__file__).with_name("symbolic_worker.py")
LIMIT_S = 2.0
"""Processor time of a request, in seconds: a busy machine changes no verdict."""
WALL_S = 60.0
"""Wall time of a request, in seconds: for one that waits and uses no processor, or gets hardly any."""
MEMORY_BYTES = 512 << 20
_GRACE_S = 0.1
"""A child ends itself at its limit, whatever it is doing; one that is not gone so much later is killed."""
_START_S = 120.0
_LONGEST_REQUEST = 64 << 10


@dataclass(frozen=True)
class _Child:
    pid: int
    socket: socket.socket


class Killable:
    """A pool of children of ``worker``, at most ``places`` of them (None: as many as there are processors)."""

    def __init__(
        self,
        worker: Path = WORKER,
        *,
        limit_s: float = LIMIT_S,
        wall_s: float = WALL_S,
        memory_bytes: int = MEMORY_BYTES,
        places: int | None = None,
    ) -> None:
        self._command = [sys.executable, "-P", str(worker)]
        self._limit_s, self._wall_s, self._memory_bytes = limit_s, max(wall_s, limit_s), memory_bytes
        self._places = threading.BoundedSemaphore(places or os.cpu_count() or 1)
        self._lock = threading.Lock()
        self._parent: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._idle: list[_Child] = []
        self._owner = os.getpid()

    def ask(self, *request: str) -> bool | str:
        """The worker's reply: yes, no, or the name of a trouble.

        ``time``: it took longer than one of its limits; ``memory``: it needed more; ``died``: its process ended for
        another reason; ``length``: the request is longer than any answer. Raises :class:`UsageError` if the worker
        cannot be started, with what to install.
        """
        message = json.dumps(request).encode()
        if len(message) > _LONGEST_REQUEST:
            return "length"
        with self._places:
            child = self._take()
            try:
                reply = self._exchange(child, message)
            except (
                BaseException
            ):  # a time-out of the test's own, Ctrl-C: whoever comes next gets a child that is idle
                self._end(child)
                raise
            if reply in ("time", "memory", "died"):
                self._end(child)
            else:
                with self._lock:
                    self._idle.append(child)
            return reply

    def close(self) -> None:
        """End all processes; the next request would start new ones."""
        with self._lock:
            self._stop()

    def _exchange(self, child: _Child, message: bytes) -> bool | str:
        began = time.monotonic()
        child.socket.settimeout(self._wall_s + _GRACE_S)
        try:
            child.socket.send(message)
            reply = child.socket.recv(_LONGEST_REQUEST)
        except TimeoutError:
            return "time"
        except OSError:
            reply = b""
        if not reply:
            # Wall time is never less than processor time: whatever ended sooner did not reach its limit.
            return "time" if time.monotonic() - began >= 0.9 * self._limit_s else "died"
        found: bool | str = json.loads(reply)
        return found

    def _take(self) -> _Child:
        with self._lock:
            if self._owner != os.getpid():  # forked: the processes are those of the process that started them
                self._parent, self._control, self._idle, self._owner = None, None, [], os.getpid()
            if self._idle:
                return self._idle.pop()
            with self._undisturbed() as control:
                mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with its:
                    socket.send_fds(control, [b"fork"], [its.fileno()])
                return _Child(int(control.recv(64)), mine)

    def _end(self, child: _Child) -> None:
        child.socket.close()
        with self._lock, contextlib.suppress(OSError, ValueError), self._undisturbed() as control:
            control.send(b"kill %d" % child.pid)

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[socket.socket]:
        """The control socket; if an exchange on it breaks off, everything is started anew."""
        try:
            yield self._control or self._start()
        except BaseException:
            self._stop()
            raise

    def _start(self) -> socket.socket:
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._control = mine
            self._parent = subprocess.Popen(
                [
                    *self._command,
                    str(its.fileno()),
                    str(self._limit_s),
                    str(self._wall_s),
                    str(self._memory_bytes),
                ],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for pytest; it ends this by closing the socket
            )
        mine.settimeout(_START_S)
        said = mine.recv(1024)
        if said != b"ready":
            raise UsageError(
                f"symbolic answers cannot be graded: {said.decode() or 'the worker ended'}; "
                f"pip install math-verify (for {sys.executable})"
            )
        atexit.register(self.close)
        return mine

    def _stop(self) -> None:
        for child in self._idle:
            child.socket.close()
        self._idle.clear()
        control, parent, self._control, self._parent = self._control, self._parent, None, None
        if control is not None:
            control.close()
        if parent is not None:
            try:
                parent.wait(1.0)
            except subprocess.TimeoutExpired:
                parent.kill()
                parent.wait()
            atexit.unregister(self.close)
