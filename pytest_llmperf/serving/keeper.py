"""The process that owns one server: ``python -m pytest_llmperf.serving.keeper STATE_DIRECTORY < SPEC``.

The server lives while somebody holds a *lease*: an open connection to the keeper's Unix socket. The kernel
closes it however its holder ends: nobody has to say goodbye, and pytest needs no signal handler. When the last
lease has gone, every descendant of the keeper is ended; a Ctrl-C or SIGTERM to the group doesn't reach it.

Messages are JSON objects, one a packet. To the holders::

    {"event": "progress", "phase": …, "elapsed_s": …}
    {"event": "ready", "generation": n, "server": {fields of Server}}
    {"event": "failed", "phase": …, "detail": …, "exit_code": …, "signal": …, "oom": …, "log_offset": …}
    {"event": "died", "generation": n, "restarts_left": n, "exit_code": …, "signal": …, "oom": …, …}
    {"event": "bye", "last": bool}
    {"event": "ended", "pids": […], "seconds": …, "forced": …, "survivors": […]}

From them: ``{"do": "restart", "generation": n}``, ``{"do": "close"}``, ``{"do": "end"}``.

Standard library only, and of this package only modules that keep to that too: a keeper must start anywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import queue
import selectors
import signal
import socket
import struct
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.serving import ports, processes
from pytest_llmperf.serving.attempt import Attempt
from pytest_llmperf.serving.engine_process import Ended, Exit, kill_descendants
from pytest_llmperf.serving.state import KeeperState, StateDirectory, decode, encode, write_json

PR_SET_CHILD_SUBREAPER = 36
FIRST_LEASE_S = 15.0
PORT_TRIES = 3
HEARTBEAT_S = 2.0
FAMILY_S = {"starting": 2.0, "ready": 15.0}


@dataclass
class Holder:
    """One holder: the connection, and a descriptor that shows when the process behind it ends."""

    connection: socket.socket
    pid_descriptor: int | None

    def send(self, message: dict[str, Any]) -> None:
        # A holder that is gone is noticed by its end of the connection; one that is stopped loses news.
        with contextlib.suppress(OSError):
            self.connection.send(encode(message))

    def close(self) -> None:
        self.connection.close()
        if self.pid_descriptor is not None:
            os.close(self.pid_descriptor)


class Keeper:
    """One server, from the first lease to the last; in one thread, except that another asks for readiness."""

    def __init__(self, directory: StateDirectory, spec: dict[str, Any], listener: socket.socket) -> None:
        self.directory = directory
        self.spec = spec
        self.listener = listener
        self.leases: list[Holder] = []
        self.farewells: list[Holder] = []
        self.selector = selectors.DefaultSelector()
        self.news: queue.SimpleQueue[tuple[Attempt, dict[str, Any]]] = queue.SimpleQueue()
        self.attempt: Attempt | None = None
        self.phase = "starting"
        self.step = "starting"
        self.generation = 0
        self.tries = 0
        self.bad_ports: list[int] = []
        self.deadline = 0.0
        self.noted = 0.0
        self.last: dict[str, Any] = {}
        self.must_end = False
        own = processes.read(os.getpid())
        assert own is not None
        self.state = KeeperState(own.key, self.spec["row"], frozenset())

    # -- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve leases until there are none; then leave nothing behind."""
        self._install_wake_up()
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self._begin_generation()
        lease_deadline = time.monotonic() + FIRST_LEASE_S
        heartbeat = time.monotonic()
        while not self.must_end:
            for key, _ in self.selector.select(timeout=self._patience_s()):
                key.data(key.fileobj)
            self._look_at_engine()
            self._read_news()
            now = time.monotonic()
            if self.phase == "starting" and now - heartbeat > HEARTBEAT_S:
                heartbeat = now
                self._tell(self._progress())
            if self.leases:
                lease_deadline = now + float(self.spec["linger_s"])
            elif now >= lease_deadline:
                break
        self._finish()

    def _patience_s(self) -> float:
        # News, SIGCHLD and the leases wake the loop at once; what is left is the clock.
        if not self.leases:
            return 0.1
        return 0.5 if self.phase == "starting" else 5.0

    def _install_wake_up(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self.wake_up = writer
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(reader, selectors.EVENT_READ, lambda descriptor: os.read(descriptor, 4096))

    # -- leases -----------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        for farewell in self.farewells:
            # Whoever said goodbye last was not the last after all.
            farewell.send({"event": "bye", "last": False})
            farewell.close()
        self.farewells = []
        lease = Holder(connection, _pid_descriptor(connection))
        self.leases.append(lease)
        self.selector.register(connection, selectors.EVENT_READ, lambda _: self._hear(lease))
        if lease.pid_descriptor is not None:
            # A forked child of the holder keeps the connection open; the holder's own end is what counts.
            self.selector.register(lease.pid_descriptor, selectors.EVENT_READ, lambda _: self._drop(lease))
        lease.send({"event": "hello", "keeper_pid": os.getpid()})
        lease.send(self._progress() if self.phase == "starting" else self.last)

    def _hear(self, lease: Holder) -> None:
        try:
            packet = lease.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._drop(lease)
            return
        message = decode(packet)
        if message.get("do") == "restart":
            self._restart(lease, int(message.get("generation", 0)))
        elif message.get("do") == "close":
            self._forget(lease)
            last = not self.leases and not float(self.spec["linger_s"])
            lease.send({"event": "bye", "last": last})
            if last:
                self.farewells.append(lease)  # hears how the end went
            else:
                lease.close()
        elif message.get("do") == "end":
            self.must_end = True

    def _drop(self, lease: Holder) -> None:
        if lease in self.leases:
            self._forget(lease)
            lease.close()

    def _forget(self, lease: Holder) -> None:
        self.leases.remove(lease)
        self.selector.unregister(lease.connection)
        if lease.pid_descriptor is not None:
            self.selector.unregister(lease.pid_descriptor)

    def _tell(self, message: dict[str, Any]) -> None:
        for lease in self.leases:
            lease.send(message)

    def _progress(self) -> dict[str, Any]:
        elapsed_s = self.attempt.elapsed_s if self.attempt else 0.0
        return {"event": "progress", "phase": self.step, "elapsed_s": elapsed_s}

    # -- starting ---------------------------------------------------------------------------------

    def _begin_generation(self) -> None:
        self.generation += 1
        self.tries = 0
        self.phase = "starting"
        self.deadline = time.monotonic() + float(self.spec["ready_timeout_s"])
        self._start()

    def _start(self) -> None:
        self.tries += 1
        self.step = "starting"
        try:
            self.attempt = Attempt.begin(
                self.spec,
                self.directory,
                mark=self.state.mark.partition("=")[2],
                title=f"start {self.generation}.{self.tries}",
                avoid=self.bad_ports,
            )
        except ports.NoFreePort as error:
            self._fail("port", str(error), None)
            return
        attempt = self.attempt
        self._note_family()

        def put(message: dict[str, Any]) -> None:
            self.news.put((attempt, message))
            with contextlib.suppress(OSError):
                os.write(self.wake_up, b"!")

        attempt.watch(self.deadline, put)

    def _read_news(self) -> None:
        while True:
            try:
                attempt, message = self.news.get_nowait()
            except queue.Empty:
                return
            if attempt is not self.attempt or self.phase != "starting":
                continue
            event = message["event"]
            if event == "progress":
                self.step = message["phase"]
                self._note_family()
                self._tell(self._progress())
            elif event == "ready":
                self._announce_ready(attempt, message)
            elif not attempt.engine.look():
                continue  # it ended in the meantime: that says more than what the server answered
            else:
                self._fail(self.step, message["detail"], None)

    def _announce_ready(self, attempt: Attempt, message: dict[str, Any]) -> None:
        self.phase = "ready"
        self._note_family()
        self.last = {"event": "ready", "generation": self.generation, "server": attempt.server(message)}
        self._tell(self.last)

    # -- watching ---------------------------------------------------------------------------------

    def _look_at_engine(self) -> None:
        attempt = self.attempt
        if attempt is None or self.phase not in ("starting", "ready"):
            if attempt is not None:
                attempt.engine.look()
            return
        if time.monotonic() - self.noted > FAMILY_S[self.phase]:
            self._note_family()
        if attempt.engine.look():
            if self.phase == "starting" and time.monotonic() > self.deadline:
                self._fail("timeout", f"still {self.step}", None)
            return
        ended = attempt.engine.exit
        if self.phase == "ready":
            self._died(attempt, ended)
        elif self.tries < PORT_TRIES and not self.spec["port"] and attempt.port_was_taken:
            self._end_attempt(0.0)
            self.bad_ports.append(attempt.door.port)
            self._start()
        else:
            self._fail(self.step, "", ended)

    def _died(self, attempt: Attempt, ended: Exit | None) -> None:
        about = attempt.ending(ended)
        self._end_attempt(0.0)
        self.phase = "died"
        self.last = self._death() | about | {"pids": sorted(key.pid for key in self.state.family)}
        self._tell(self.last)

    def _death(self) -> dict[str, Any]:
        left = max(0, int(self.spec["restarts"]) - self.generation + 1)
        return {"event": "died", "generation": self.generation, "restarts_left": left}

    def _fail(self, phase: str, detail: str, ended: Exit | None) -> None:
        attempt = self.attempt
        about = attempt.ending(ended) if attempt else {"log_offset": 0}
        if attempt:
            # SIGTERM during start-up can orphan an engine that has no handler yet: end the whole tree.
            self._end_attempt(0.0)
        self.phase = "failed"
        self.last = {"event": "failed", "phase": phase, "detail": detail, **about, "tries": self.tries}
        write_json(self.directory.failed, self.last)
        self._tell(self.last)
        # Nothing is left to keep; who comes later reads the file.
        self.must_end = True

    def _restart(self, lease: Holder, generation: int) -> None:
        if self.phase == "starting" or generation < self.generation:
            # Somebody else has asked already; the holder follows.
            lease.send(self._progress() if self.phase == "starting" else self.last)
            return
        if self.generation > int(self.spec["restarts"]):
            lease.send(self.last if self.phase == "died" else self._death() | {"refused": True})
            return
        if self.phase == "ready":
            # Asked for while it runs, because it no longer answers: the other holders must hear of it.
            self._tell(self._death() | {"replaced": True})
        self._end_attempt(0.0)
        self._begin_generation()
        self._tell(self._progress())

    # -- ending -----------------------------------------------------------------------------------

    def _end_attempt(self, grace_s: float) -> Ended:
        attempt = self.attempt
        if attempt is None:
            return Ended(0.0, False, ())
        attempt.stop.set()
        ended = attempt.engine.end(grace_s)
        self._note_family()
        attempt.give_back()
        self.attempt = None
        return ended

    def _note_family(self) -> None:
        self.noted = time.monotonic()
        if self.attempt is not None and self.attempt.engine.note_family():
            family = self.state.family | self.attempt.engine.seen
            self.state = KeeperState(self.state.keeper, self.state.row, frozenset(family))
            self.state.write(self.directory.state)

    def _finish(self) -> None:
        # Nobody may come in any more: who connects now waits for keeper.lock and starts anew.
        self.selector.unregister(self.listener)
        self.directory.address.unlink(missing_ok=True)
        self.listener.close()
        # Without a lease nobody waits for a start; an engine in the middle of one can't end in order.
        ended = self._end_attempt(float(self.spec["stop_grace_s"]) if self.phase == "ready" else 0.0)
        message = {
            "event": "ended",
            "pids": sorted(key.pid for key in self.state.family),
            "seconds": ended.seconds,
            "forced": ended.forced,
            "survivors": list(ended.survivors),
        }
        if not ended.survivors:
            self.directory.state.unlink(missing_ok=True)
        for lease in self.leases + self.farewells:
            lease.send(message)


def _pid_descriptor(connection: socket.socket) -> int | None:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    # None also for a holder in another process namespace.
    return processes.descriptor(struct.unpack("3i", credentials)[0])


def main(arguments: list[str] | None = None) -> None:
    """Listen, go into the background, keep. Returns in the starter when leases can be taken."""
    directory = StateDirectory(Path((sys.argv[1:] if arguments is None else arguments)[0]).absolute())
    # Through standard input and not a file: the row's environment may hold secrets.
    spec = json.load(sys.stdin)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # Functions, not SIG_IGN: what is ignored would stay ignored in the engine.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    lock = os.open(directory.keeper_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # until an earlier keeper of this directory has ended everything
    listener = directory.listen()
    if os.fork():
        # The starter needn't collect us, and finds the socket ready when this call returns.
        os._exit(0)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    code = 0
    try:
        Keeper(directory, spec, listener).run()
    except BaseException:
        code = 1
        traceback.print_exc()
        kill_descendants()
    finally:
        sys.stderr.flush()
        # Not a normal exit: that would wait for threads that wait for a server that is gone.
        os._exit(code)


if __name__ == "__main__":
    main()
