"""Hold a server: the first who asks starts it, the last who leaves ends it.

Every holder of equal specs under one ``state_root`` shares one server, whatever the number of processes;
runs with different roots share nothing. The connection *is* the lease, so a holder that crashes gives it
back. See ``keeper.py`` for the other end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import cast

from pytest_llmperf.errors import InfrastructureError, ServerDied, StartError, UsageError
from pytest_llmperf.json_values import object_of, parse_json
from pytest_llmperf.serving import failures, gpu, processes, reap
from pytest_llmperf.serving.messages import MESSAGE_BYTES, Failure, Message, ServerFields, decode, encode
from pytest_llmperf.serving.server import Server
from pytest_llmperf.serving.spec import ServerSpec
from pytest_llmperf.serving.state import StateDirectory

# The keeper speaks at least every two seconds while a server starts.
SILENCE_S = 60.0
KEEPER_START_S = 60.0
KEEPER_END_S = 10.0
AT_ONCE_S = 1.5
"""Seconds for an end that an interrupted run waits for: nothing is asked to end in order."""
_SLICE_S = 0.2
"""Seconds after which a wait notices that it was cancelled."""
_KEEPER = "import sys; sys.path.append({root!r}); from pytest_llmperf.serving.keeper import main; main()"


@dataclass(frozen=True)
class StartProgress:
    """The progress of a start."""

    row: str
    phase: str
    elapsed_s: float


@dataclass(frozen=True)
class Released:
    """The fate of the server when a lease was released."""

    last: bool
    """Ours was the last lease and the server has been ended."""
    pids: tuple[int, ...] = ()
    """Every process that the server had; for checking that a GPU has forgotten them."""
    seconds: float = 0.0
    forced: bool = False
    """Something outlived SIGTERM and had to be killed."""
    survivors: tuple[int, ...] = ()
    """Processes that outlived SIGKILL."""
    complaint: str = ""
    """A fault of the keeper, in words; the server has ended all the same. Empty if there was none."""


ProgressReader = Callable[[StartProgress], None]
_KEEPER_GONE: Failure = {"event": "keeper"}


def acquire(
    spec: ServerSpec,
    state_root: Path,
    on_progress: ProgressReader | None = None,
    *,
    before_start: Callable[[], object] | None = None,
    retry_failed: bool = False,
    stop: threading.Event | None = None,
    held: Sequence[int] = (),
) -> Lease:
    """A lease on the server of ``spec``; blocks until it is ready.

    ``before_start`` (the checks of ``preflight.py``) is called only by the process that starts the server: for
    all others the GPU is full and the port taken, by the very server that they ask for. What it raises is
    raised.

    Raises `StartError` when the server does not become ready. A start that failed is not tried again under
    the same ``state_root`` unless ``retry_failed``: every further worker and test gets the same explanation
    at once. A server that was found dead is restarted as `Lease.restart` would. ``stop``, set by another thread, calls
    the waiting off: `StartError`, and what was started has ended. ``held``: descriptors (leases of GPUs) that
    the keeper of a server that is started holds as well, as long as the server lives.
    """
    if not sys.platform.startswith("linux"):
        raise UsageError(
            f"{spec.row}: servers are started on Linux only, this is {sys.platform}\n"
            "what to do: test a running one with --llmperf-base-url"
        )
    directory = StateDirectory(state_root / spec.key)
    directory.create()
    with _flock(directory.lock, stop):
        if retry_failed:
            directory.failed.unlink(missing_ok=True)
        connection, keeper_pid = _connect(spec, directory, before_start, stop, held)
    lease = Lease(spec, directory, connection, keeper_pid, stop)
    try:
        lease._wait_until_ready(on_progress)
    except BaseException:
        lease.close(wait_s=AT_ONCE_S, at_once=True)
        raise
    return lease


class Lease:
    """The right to use a server. Give it back with `close`, or as a context manager.

    Not to be pickled or shared with a child process: a fork doesn't extend it.
    """

    def __init__(
        self,
        spec: ServerSpec,
        directory: StateDirectory,
        connection: socket.socket,
        keeper_pid: int,
        stop: threading.Event | None = None,
    ) -> None:
        self.spec = spec
        self._directory = directory
        self._connection = connection
        self._stop = stop
        self._keeper_pid = keeper_pid
        self._keeper = processes.descriptor(keeper_pid)
        self._lock = threading.RLock()
        self._servers: dict[int, Server] = {}
        self._deaths: dict[int, Failure] = {}
        self._seen = 0
        """Generation (start) of the server that our user knows."""
        self._keeper_is_gone = False
        self._open = True

    @property
    def server(self) -> Server:
        """The server as it is now: after a restart by any holder, the new one."""
        with self._lock:
            self._read_news(0.0)
            self._seen = max(self._servers)
            return self._servers[self._seen]

    @property
    def log(self) -> Path:
        """The engine's output, of every start; asking for it, unlike for `server`, acknowledges no restart."""
        return self._directory.log

    def died(self, wait_s: float = 0.0) -> ServerDied | None:
        """The error that explains the death of the server last returned by `server`; None while it runs.

        ``wait_s``: how long to wait for such news, seconds. A request that failed a moment ago may be ahead
        of them: an API process takes up to a few seconds to end after its engine died.
        """
        with self._lock:
            deadline = time.monotonic() + wait_s
            while True:
                self._read_news(max(0.0, deadline - time.monotonic()))
                death = self._death()
                if death is not None:
                    return failures.server_died(death, self.spec, self._directory.log)
                if time.monotonic() >= deadline or not self._open:
                    return None

    def restart(self, on_progress: ProgressReader | None = None) -> Server:
        """The server again: a new one, or the one that another holder's restart has made already.

        Also for a server that runs and no longer answers: it is ended first. Raises `ServerDied` when it has
        died more often than ``spec.restarts`` allows, `StartError` when the new one does not become ready.
        """
        with self._lock:
            self._read_news(0.0)
            if max(self._servers) == self._seen:
                self._await_gpu_memory()
                try:
                    self._connection.send(encode({"do": "restart", "generation": self._seen}))
                except OSError:
                    self._keeper_is_gone = True
                    raise failures.server_died(_KEEPER_GONE, self.spec, self._directory.log) from None
                self._wait_until_ready(on_progress, after=self._seen)
            return self.server

    @property
    def generation(self) -> int:
        """Number of the start that `server` last returned: above 1, the server was restarted in this run."""
        return self._seen

    def condemn(self, why: str) -> None:
        """End a server that runs and no longer works, at once, for all its holders, and for good.

        They learn it as they learn of any death, and ``why`` with it.
        """
        with self._lock, contextlib.suppress(OSError):
            self._connection.send(encode({"do": "condemn", "generation": self._seen, "detail": why[:1000]}))

    def close(self, wait_s: float = 60.0, *, at_once: bool = False) -> Released:
        """Give it back. The last holder waits, up to ``wait_s`` seconds, until every process has ended.

        ``at_once``: if we are the last, the server is killed and not asked to end in order.
        """
        with self._lock:
            if not self._open:
                return Released(last=False)
            self._open = False
            try:
                return self._say_goodbye(wait_s, at_once)
            finally:
                # Shut down, not only closed: a forked child may hold the same connection.
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
                self._connection.close()
                if self._keeper is not None:
                    os.close(self._keeper)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> str:
        raise TypeError("a lease can't be pickled: acquire one in each process")

    # -- messages ---------------------------------------------------------------------------------

    def _wait_until_ready(self, on_progress: ProgressReader | None, after: int = 0) -> None:
        """Wait until a server later than start number ``after`` is ready."""
        while not any(generation > after for generation in self._servers):
            message = self._receive_unless_stopped(SILENCE_S)
            self._digest(message)
            if message["event"] == "progress" and on_progress is not None:
                on_progress(StartProgress(self.spec.row, message["phase"], message["elapsed_s"]))
            elif message["event"] == "failed":
                self._await_keeper(time.monotonic() + KEEPER_END_S)
                raise failures.start_error(message, self.spec, self._directory.log)
            elif message["event"] == "died" and not message["restarts_left"]:
                raise failures.server_died(message, self.spec, self._directory.log)
            elif message["event"] == "died" and message["generation"] > after:
                after = message["generation"]
                self._connection.send(encode({"do": "restart", "generation": after}))
            elif message["event"] == "silence" or message["event"] == "end":
                happened = "said nothing for a minute" if message["event"] == "silence" else "ended"
                raise StartError(
                    f"{self.spec.row} did not start: its keeper {happened} before the server was ready",
                    remedy=f"read {self._directory.keeper_log} and {self._directory.log}",
                    last_words=failures.tail(self._directory.keeper_log, 20),
                    command=self.spec.command(),
                )
        self._seen = max(self._servers)

    def _receive_unless_stopped(self, wait_s: float) -> Message:
        deadline = time.monotonic() + wait_s
        while True:
            _raise_if_stopped(self.spec, self._stop)
            message = self._receive(min(_SLICE_S, max(0.0, deadline - time.monotonic())))
            if message["event"] != "silence" or time.monotonic() >= deadline:
                return message

    def _await_gpu_memory(self) -> None:
        """The dead server's memory may come back some time after its processes; a start would be refused it."""
        death = self._deaths.get(self._seen)
        if self.spec.gpus and death and (pids := death.get("pids")):
            gpu.wait_released(gpu.open_nvml(), pids)

    def _death(self) -> Failure | None:
        if self._seen in self._deaths:
            return self._deaths[self._seen]
        return _KEEPER_GONE if self._keeper_is_gone else None

    def _read_news(self, wait_s: float) -> None:
        """Take in what the keeper has said; waits up to ``wait_s`` for the first message."""
        if not self._open or self._keeper_is_gone:
            return
        message = self._receive(wait_s)
        while message["event"] not in ("silence", "end"):
            self._digest(message)
            message = self._receive(0.0)
        self._keeper_is_gone = message["event"] == "end"

    def _digest(self, message: Message) -> None:
        if message["event"] == "ready":
            self._servers[message["generation"]] = self._as_server(message["server"])
        elif message["event"] == "died":
            self._deaths[message["generation"]] = message

    def _as_server(self, fields: ServerFields) -> Server:
        port = fields["base_url"].rpartition(":")[2]
        return Server(
            row=fields["row"],
            model=fields["model"],
            base_url=fields["base_url"],
            api_key=fields["api_key"],
            log=Path(fields["log"]),
            root_pid=fields["root_pid"],
            ready_s=fields["ready_s"],
            command=self.spec.command(port),
            engine=fields["engine"],
            keeper_pid=fields["keeper_pid"],
            state_dir=Path(fields["state_dir"]),
        )

    def _receive(self, wait_s: float) -> Message:
        """The next message; its event is "silence" when none came in time, "end" after the last."""
        # poll, not select: a test process may hold more than 1,024 descriptors.
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        try:
            if not poller.poll(wait_s * 1000):
                return {"event": "silence"}
            packet = self._receive_packet()
        except OSError:
            packet = b""
        return decode(packet) if packet else {"event": "end"}

    def _receive_packet(self) -> bytes:
        try:
            return self._connection.recv(MESSAGE_BYTES)
        except ConnectionResetError:
            # Said once, when the keeper ended with something of ours unread; its last words come after.
            return self._connection.recv(MESSAGE_BYTES)

    def _say_goodbye(self, wait_s: float, at_once: bool) -> Released:
        complaint = ""
        deadline = time.monotonic() + wait_s
        try:
            self._connection.send(encode({"do": "close", "at_once": at_once}))
        except OSError:
            self._await_guard(deadline)
            return Released(last=False)
        last = False
        while (left_s := deadline - time.monotonic()) > 0:
            message = self._receive(min(left_s, 0.5))
            if message["event"] == "bye":
                last = message["last"]
                if not last:
                    break
            elif message["event"] == "ended":
                self._await_keeper(deadline)
                return Released(
                    last=True,
                    pids=tuple(message["pids"]),
                    seconds=message["seconds"],
                    forced=message["forced"],
                    survivors=tuple(message["survivors"]),
                    complaint=complaint,
                )
            elif message["event"] == "end":
                # The keeper was killed; its guard ends what it had.
                self._await_guard(deadline)
                break
            elif (
                message["event"] == "silence"
                and (process := processes.read(self._keeper_pid))
                and process.is_stopped
            ):
                complaint = "its keeper was stopped (SIGSTOP), and had to be woken to end the server"
                with contextlib.suppress(OSError):
                    os.kill(self._keeper_pid, signal.SIGCONT)
        else:
            if wait_s:
                complaint = f"its keeper did not end the server in {wait_s:g} s and was killed"
                with contextlib.suppress(OSError):
                    os.kill(self._keeper_pid, signal.SIGKILL)
                self._await_guard(time.monotonic() + KEEPER_END_S)
        return Released(last=last, complaint=complaint)

    def _await_guard(self, deadline: float) -> None:
        """Wait until the guard, which holds the keeper's lock, has ended, and all that a killed keeper left."""
        while time.monotonic() < deadline and self._directory.is_kept:
            time.sleep(0.005)

    def _await_keeper(self, deadline: float) -> None:
        """Wait until the keeper and its guard have ended: then its lock and its port are free as well."""
        if self._keeper is not None:
            processes.wait_for_end(self._keeper, deadline - time.monotonic())
        self._await_guard(deadline)


# -- starting a keeper ------------------------------------------------------------------------------


def _connect(
    spec: ServerSpec,
    directory: StateDirectory,
    before_start: Callable[[], object] | None,
    stop: threading.Event | None,
    held: Sequence[int] = (),
) -> tuple[socket.socket, int]:
    """A connection whose keeper has greeted us, and the keeper's number; under the directory's lock.

    Raises `StartError` when an earlier start has failed.
    """
    for _ in range(3):
        _refuse_after_failure(spec, directory)
        with contextlib.suppress(OSError):
            connection = directory.connect(timeout_s=10.0)
            # A keeper that is about to end no longer greets.
            greeting = decode(_receive_or_nothing(connection))
            if greeting["event"] == "hello":
                connection.settimeout(None)
                return connection, greeting["keeper_pid"]
            connection.close()
        reap.reap_directory(directory)
        # The keeper may have ended since the first look, and its start may be what failed.
        _refuse_after_failure(spec, directory)
        if before_start is not None:
            before_start()
        if started := _start_keeper(spec, directory, stop, held):
            return started
    last_words = failures.tail(directory.keeper_log, 20)
    raise InfrastructureError(f"no keeper could be started for {spec.row} in {directory.path}\n{last_words}")


def _refuse_after_failure(spec: ServerSpec, directory: StateDirectory) -> None:
    if directory.failed.exists():
        failure = cast(Failure, object_of(parse_json(directory.failed.read_bytes())))
        raise failures.start_error(failure, spec, directory.log)


def _receive_or_nothing(connection: socket.socket) -> bytes:
    try:
        return connection.recv(MESSAGE_BYTES)
    except OSError:
        return b""


def _start_keeper(
    spec: ServerSpec, directory: StateDirectory, stop: threading.Event | None, held: Sequence[int]
) -> tuple[socket.socket, int] | None:
    """The first lease and the keeper's number; None if the keeper ended before it greeted."""
    root = str(Path(__file__).resolve().parents[2])
    # The keeper has its first holder from birth: however we end from here on, it sees this connection close.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs, directory.keeper_log.open("ab") as log:
            # -I: the run's PYTHON… variables and working directory are the engine's business, not the keeper's.
            program = _KEEPER.format(root=root)
            kept = [theirs.fileno(), *held]
            command = [sys.executable, "-I", "-c", program, str(directory.path), *map(str, kept)]
            starter = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=kept,
            )
        assert starter.stdin is not None
        with contextlib.suppress(BrokenPipeError), starter.stdin:
            starter.stdin.write(spec.to_json().encode())
        greeting = _await_greeting(ours, spec, directory, stop)
    except BaseException:
        _call_off(ours, directory)
        raise
    code = starter.wait()
    if greeting is not None:
        return ours, greeting
    ours.close()
    if code:
        raise InfrastructureError(
            f"the keeper of {spec.row} failed to start (exit code {code})\n"
            + failures.tail(directory.keeper_log, 20)
        )
    return None


def _await_greeting(
    connection: socket.socket, spec: ServerSpec, directory: StateDirectory, stop: threading.Event | None
) -> int | None:
    """The number of the keeper that has greeted us; None if it ended instead."""
    deadline = time.monotonic() + KEEPER_START_S
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    while not poller.poll(_SLICE_S * 1000):
        _raise_if_stopped(spec, stop)
        if time.monotonic() > deadline:
            raise InfrastructureError(
                f"an earlier server of {spec.row} has not ended in {KEEPER_START_S:.0f} s ({directory.path})"
            )
    greeting = decode(_receive_or_nothing(connection))
    return greeting["keeper_pid"] if greeting["event"] == "hello" else None


def _call_off(connection: socket.socket, directory: StateDirectory) -> None:
    """Tell a keeper, which may have greeted us or not, that its server is not wanted, and wait until it has gone."""
    deadline = time.monotonic() + AT_ONCE_S
    with connection, contextlib.suppress(OSError):
        connection.send(encode({"do": "close", "at_once": True}))
        connection.settimeout(AT_ONCE_S)
        while connection.recv(MESSAGE_BYTES):
            pass
    while time.monotonic() < deadline and directory.is_kept:
        time.sleep(0.005)


def _raise_if_stopped(spec: ServerSpec, stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise StartError(f"{spec.row} did not start: the run was interrupted")


@contextlib.contextmanager
def _flock(path: Path, stop: threading.Event | None) -> Iterator[None]:
    """Hold the lock; waiting for another process that has it is called off by ``stop``."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop is not None and stop.is_set():
                    raise StartError(f"{path.parent.name} did not start: the run was interrupted") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)
