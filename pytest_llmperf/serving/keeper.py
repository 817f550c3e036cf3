"""The process that owns one server: ``python -m pytest_llmperf.serving.keeper STATE_DIRECTORY LEASE HELD… < SPEC``.

The server lives while a process holds a *lease*: an open connection to the keeper. The kernel closes it however its
holder ends: no holder has to say goodbye, and pytest needs no signal handler. The first lease is a socket that the
starter inherits (descriptor ``LEASE``), so that there is no moment at which the server has no holder; further ones
come through a Unix socket. When the last lease has gone, every descendant of the keeper is ended; a Ctrl-C or SIGTERM
to the group doesn't reach it.

The keeper's own death ends the server too: its parent, the *guard*, waits for nothing else and kills what the keeper
leaves; and the engine's process group is on a leash (``leash.py``), for the case that guard, keeper and API process
are killed together.

It and the holders exchange the messages of ``messages.py``.

Standard library only, and of this package only modules that keep to that too: a keeper must start anywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import queue
import selectors
import shutil
import signal
import socket
import struct
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pytest_llmperf.serving import ports, processes
from pytest_llmperf.serving.attempt import Attempt, IsReady, News, Step
from pytest_llmperf.serving.engine_process import Ended, Exit, kill_descendants
from pytest_llmperf.serving.leash import Leash
from pytest_llmperf.serving.messages import EndReport, Failure, Message, Progress, decode_request, encode
from pytest_llmperf.serving.spec import ServerSpec
from pytest_llmperf.serving.state import OWNER, KeeperState, StateDirectory, write_json

PR_SET_CHILD_SUBREAPER = 36
PORT_TRIES = 3
HEARTBEAT_S = 2.0
FAMILY_S = {"starting": 2.0, "just ready": 0.9, "ready": 15.0}
"""Seconds between two looks at the engine's processes: one in a session of its own is held only once it was seen."""
JUST_READY_S = 10.0
"""Seconds after it is ready in which a server may still fork."""
LOST_GRACE_S = 1.0
"""Seconds for an orderly end after the last holder was killed: nothing waits for it, the machine should be clean."""
GUARD_LOOK_S = 5.0
IDLE_SHARE = 0.02
"""Share of a core, over all processes of an engine: more than event loops and timers use while they wait."""
CLOSED_DOOR_S = 3.0
"""Seconds that a ready server may have no listening socket: an API process that was told to end waits for its open
requests, for minutes if their engine is gone."""


@dataclass
class Holder:
    """One holder: the connection, and a descriptor that shows when the process behind it ends."""

    connection: socket.socket
    pid_descriptor: int | None

    def send(self, message: Message) -> None:
        # A holder that is gone is noticed by its end of the connection; one that is stopped loses news.
        with contextlib.suppress(OSError):
            self.connection.send(encode(message))

    def close(self) -> None:
        self.connection.close()
        if self.pid_descriptor is not None:
            os.close(self.pid_descriptor)


class Keeper:
    """One server, from the first lease to the last; in one thread, except that another asks for readiness."""

    def __init__(
        self,
        directory: StateDirectory,
        spec: ServerSpec,
        listener: socket.socket,
        first: socket.socket,
        leash: Leash,
    ) -> None:
        self.directory = directory
        self.spec = spec
        self.listener = listener
        self.first = first
        self.leash = leash
        self.leases: list[Holder] = []
        self.farewells: list[Holder] = []
        self.selector = selectors.DefaultSelector()
        self.news: queue.SimpleQueue[tuple[Attempt, News]] = queue.SimpleQueue()
        self.attempt: Attempt | None = None
        self.phase = "starting"
        self.step = "starting"
        self.generation = 0
        self.tries = 0
        self.bad_ports: list[int] = []
        self.deadline = 0.0
        self.noted = 0.0
        self.ready_since = 0.0
        self.last: Message = self._progress()
        self.must_end = False
        self.restarts = spec.restarts
        self.grace_s = spec.stop_grace_s
        """Seconds for the engine's orderly end."""
        self.looked_at_door = self.door_closed = 0.0
        self.looked_at_life = self.worked = self.used_s = 0.0
        self.stopped_since = 0.0
        own = processes.read(os.getpid())
        assert own is not None
        self.state = KeeperState(own.key, spec.row, frozenset())

    # -- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve leases until there are none; then leave nothing behind."""
        self._install_wake_up()
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self._take_lease(self.first)
        for key, _ in self.selector.select(timeout=0):
            key.data(key.fileobj)
        if self.leases and not self.must_end:
            # Else the process that wanted the server has gone while we waited for its predecessor's end.
            self._begin_generation()
        lease_deadline = 0.0
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
                lease_deadline = now + self.spec.linger_s
            elif now >= lease_deadline:
                break
        self._finish()

    def _patience_s(self) -> float:
        # News, SIGCHLD and the leases wake the loop at once; what is left is the clock.
        if not self.leases:
            return 0.1
        return 0.5 if self.phase == "starting" else 1.0

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
        self._take_lease(connection)

    def _take_lease(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        for farewell in self.farewells:
            # The holder that said goodbye last was not the last after all.
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
        message = decode_request(packet)
        if message.get("do") == "restart":
            self._restart(lease, message.get("generation", 0))
        elif message.get("do") == "close":
            self._forget(lease)
            last = not self.leases and not self.spec.linger_s
            if last:
                self.grace_s = 0.0 if message.get("at_once") else self.spec.stop_grace_s
            lease.send({"event": "bye", "last": last})
            if last:
                self.farewells.append(lease)  # hears how the end went
            else:
                lease.close()
        elif message.get("do") == "end":
            self.must_end = True
        elif message.get("do") == "condemn":
            self._condemn(message.get("generation", 0), message.get("detail", ""))

    def _drop(self, lease: Holder) -> None:
        if lease in self.leases:
            self._forget(lease)
            self.grace_s = min(self.spec.stop_grace_s, LOST_GRACE_S)
            lease.close()

    def _forget(self, lease: Holder) -> None:
        self.leases.remove(lease)
        self.selector.unregister(lease.connection)
        if lease.pid_descriptor is not None:
            self.selector.unregister(lease.pid_descriptor)

    def _tell(self, message: Message) -> None:
        for lease in self.leases:
            lease.send(message)

    def _progress(self) -> Progress:
        elapsed_s = self.attempt.elapsed_s if self.attempt else 0.0
        return {"event": "progress", "phase": self.step, "elapsed_s": elapsed_s}

    # -- starting ---------------------------------------------------------------------------------

    def _begin_generation(self) -> None:
        self.generation += 1
        self.tries = 0
        self.door_closed = self.used_s = 0.0
        self.phase = "starting"
        self.deadline = time.monotonic() + self.spec.ready_timeout_s
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
                leash=self.leash,
            )
        except ports.NoFreePort as error:
            self._fail("port", str(error), None)
            return
        attempt = self.attempt
        self._note_family()

        def put(news: News) -> None:
            self.news.put((attempt, news))
            with contextlib.suppress(OSError):
                os.write(self.wake_up, b"!")

        attempt.watch(self.deadline, put)

    def _read_news(self) -> None:
        while True:
            try:
                attempt, news = self.news.get_nowait()
            except queue.Empty:
                return
            if attempt is not self.attempt or self.phase != "starting":
                continue
            if isinstance(news, Step):
                self.step = news.phase
                self._note_family()
                self._tell(self._progress())
            elif isinstance(news, IsReady):
                self._announce_ready(attempt, news)
            elif not attempt.engine.look():
                continue  # it ended in the meantime: that says more than what the server answered
            else:
                self._fail(self.step, str(news), None)

    def _announce_ready(self, attempt: Attempt, news: IsReady) -> None:
        self.phase = "ready"
        self.ready_since = time.monotonic()
        self._note_family()
        self.last = {"event": "ready", "generation": self.generation, "server": attempt.server(news)}
        self._tell(self.last)

    # -- watching ---------------------------------------------------------------------------------

    def _look_at_engine(self) -> None:
        attempt = self.attempt
        if attempt is None or self.phase not in ("starting", "ready"):
            if attempt is not None:
                attempt.engine.look()
            return
        now = time.monotonic()
        just_ready = self.phase == "ready" and now - self.ready_since < JUST_READY_S
        if now - self.noted > FAMILY_S["just ready" if just_ready else self.phase]:
            self._note_family()
        if attempt.engine.look():
            if self.phase == "starting" and time.monotonic() > self.deadline:
                self._fail("timeout", f"still {self.step}", None)
            elif self.phase == "starting":
                self._look_for_life(attempt)
            elif self.phase == "ready" and time.monotonic() - self.looked_at_door >= 1.0:
                self.looked_at_door = time.monotonic()
                self._look_at_door(attempt)
                self._look_for_stopped(attempt)
            return
        ended = attempt.engine.exit
        if self.phase == "ready":
            self._died(attempt, ended)
        elif self.tries < PORT_TRIES and attempt.port_was_taken:
            self._end_attempt(0.0)
            self.bad_ports.append(attempt.target.port)
            self._start()
        else:
            self._fail(self.step, "", ended)

    def _look_for_life(self, attempt: Attempt) -> None:
        """The first generation may take long, but not without a processor: an engine that uses none is stuck."""
        now = time.monotonic()
        if not self.step.startswith("warming up"):
            self.worked = now
            return
        if now - self.looked_at_life < 1.0:
            return
        self.looked_at_life = now
        used_s = processes.cpu_s(processes.tree(attempt.engine.pid))
        if used_s - self.used_s > IDLE_SHARE * (now - self.worked):
            self.used_s, self.worked = used_s, now
        elif now - self.worked > self.spec.silence_limit_s:
            self._fail(
                "silence",
                f"{self.step}, and none of its processes did anything for {now - self.worked:.0f} s",
                None,
            )

    def _look_at_door(self, attempt: Attempt) -> None:
        now = time.monotonic()
        if not ports.is_free(attempt.target.port):
            self.door_closed = 0.0
        elif not self.door_closed:
            self.door_closed = now
        elif now - self.door_closed > CLOSED_DOOR_S:
            detail = (
                "its API process no longer listens on its port, and had not ended; was it told to (SIGTERM)?"
            )
            self._died(attempt, None, detail)

    def _look_for_stopped(self, attempt: Attempt) -> None:
        """End a server that was stopped: it answers nothing, and every request would wait for its own time-out."""
        family = [processes.read(key.pid) for key in attempt.engine.seen]
        stopped = [process for process in family if process is not None and process.state == "T"]
        now = time.monotonic()
        if not stopped or self.phase != "ready":
            self.stopped_since = 0.0
        elif not self.stopped_since:
            self.stopped_since = now
        elif now - self.stopped_since > self.spec.silence_limit_s:
            named = f"its process {stopped[0].pid} ({stopped[0].name})"
            self._condemn(
                self.generation, f"{named} was stopped (SIGSTOP) for {now - self.stopped_since:.0f} s"
            )

    def _died(self, attempt: Attempt, ended: Exit | None, detail: str = "") -> None:
        about = attempt.ending(ended)
        self._end_attempt(0.0)
        self.phase = "died"
        pids = sorted(key.pid for key in self.state.family)
        self.last = {**self._death(), **about, "detail": detail, "pids": pids}
        self._tell(self.last)

    def _condemn(self, generation: int, detail: str) -> None:
        """The server no longer works, as a holder has found or the keeper sees: end it once, for all, and for good."""
        if self.phase == "ready" and generation == self.generation and self.attempt is not None:
            self.restarts = 0
            self._died(self.attempt, None, detail)

    def _death(self) -> Failure:
        left = max(0, self.restarts - self.generation + 1)
        return {"event": "died", "generation": self.generation, "restarts_left": left}

    def _fail(self, phase: str, detail: str, ended: Exit | None) -> None:
        attempt = self.attempt
        about: Failure = attempt.ending(ended) if attempt else {"log_offset": 0}
        if attempt:
            # SIGTERM during start-up can orphan an engine that has no handler yet: end the whole tree.
            self._end_attempt(0.0)
        self.phase = "failed"
        self.last = {**about, "event": "failed", "phase": phase, "detail": detail, "tries": self.tries}
        write_json(self.directory.failed, self.last)
        self._tell(self.last)
        # Nothing is left to keep; who comes later reads the file.
        self.must_end = True

    def _restart(self, lease: Holder, generation: int) -> None:
        if self.phase == "starting" or generation < self.generation:
            # Another holder has asked already; the holder follows.
            lease.send(self._progress() if self.phase == "starting" else self.last)
            return
        if self.generation > self.restarts:
            lease.send(self.last if self.phase == "died" else {**self._death(), "refused": True})
            return
        if self.phase == "ready":
            # Asked for while it runs, because it no longer answers: the other holders must hear of it.
            self._tell({**self._death(), "replaced": True})
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
        # No further connection is accepted: a process that connects now waits for keeper.lock and starts anew.
        self.selector.unregister(self.listener)
        self.directory.address.unlink(missing_ok=True)
        self.listener.close()
        # Without a lease no process waits for a start; an engine in the middle of one can't end in order.
        ended = self._end_attempt(self.grace_s if self.phase == "ready" else 0.0)
        message: EndReport = {
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
    given = sys.argv[1:] if arguments is None else arguments
    directory = StateDirectory(Path(given[0]).absolute())
    first = socket.socket(fileno=int(given[1]))
    first.set_inheritable(False)
    for held in given[2:]:
        # Leases of GPUs, which end with the guard, the last of the server's processes; the engine must not have them.
        os.set_inheritable(int(held), False)
    # Through standard input and not a file: the row's environment may hold secrets.
    spec = ServerSpec.from_json(sys.stdin.read())
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
    leash = Leash.make()
    _become_subreaper()
    if keeper := os.fork():
        _guard(keeper, directory, leash, listener, first)
    _become_subreaper()
    code = 0
    try:
        Keeper(directory, spec, listener, first, leash).run()
    except BaseException:
        code = 1
        traceback.print_exc()
        kill_descendants()
    finally:
        sys.stderr.flush()
        _wake(os.getppid())
        # Not a normal exit: that would wait for threads that wait for a server that is gone.
        os._exit(code)


def _become_subreaper() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _guard(
    keeper: int, directory: StateDirectory, leash: Leash, listener: socket.socket, first: socket.socket
) -> NoReturn:
    """Wait for the keeper's end, and end what it leaves; the directory's lock is held until then."""
    # Held here as well, they would look as if the keeper still answered.
    listener.close()
    first.close()
    leash.only_watch()
    watched = processes.descriptor(keeper)
    if watched is not None:
        while not processes.wait_for_end(watched, GUARD_LOOK_S):
            # A stopped keeper can't see that its holders are gone; while the run lives, that is the run's to tell.
            if (process := processes.read(keeper)) and process.is_stopped and _run_is_over(directory):
                _wake(keeper)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(keeper, 0)
    gone = kill_descendants()
    if gone:
        shutil.rmtree(directory.sockets, ignore_errors=True)
        directory.address.unlink(missing_ok=True)
    os._exit(0 if gone else 1)


def _run_is_over(directory: StateDirectory) -> bool:
    """True if the run of this server was killed; False if no run has locked the directory above."""
    try:
        descriptor = os.open(directory.path.parent / OWNER, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _wake(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    main()
