"""One start of the engine, as the keeper makes it: port, key, sockets, process, log, and the wait until it is ready.

Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmperf.serving import ports, processes, server_key
from pytest_llmperf.serving.engine_process import EngineProcess, Exit, child_environment
from pytest_llmperf.serving.leash import Leash
from pytest_llmperf.serving.messages import Failure, ServerFields
from pytest_llmperf.serving.readiness import ProbeTarget, Stopped, Unready, wait_until_ready
from pytest_llmperf.serving.spec import ServerSpec, arguments
from pytest_llmperf.serving.state import MARK, TITLE, StateDirectory

_ADDRESS_IN_USE = b"Address already in use"
_LONGEST_NAME = 107 - len("/") - 36
"""The kernel allows a socket's name 107 bytes; vLLM: ``ZMQError: ipc path "…" is longer than 107 characters``."""


@dataclass(frozen=True)
class Step:
    """A step of the server on its way to being ready."""

    phase: str


@dataclass(frozen=True)
class IsReady:
    """The server is ready; ``version`` is what it states, or empty."""

    version: str
    ready_s: float
    """Seconds since its process was started."""


News = Step | IsReady | Unready


class SocketDirectory:
    """The directory at ``path`` for an engine's sockets and temporary files; it is removed when the engine has ended.

    vLLM calls its sockets ``$VLLM_RPC_BASE_PATH/UUID`` and leaves three of them a start, for good; its rendezvous
    leaves a ``vllm_dist_UUID`` in ``TMPDIR``. What an earlier start left there is removed at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clear()
        path.mkdir(mode=0o700)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    @property
    def name(self) -> str:
        """Its path for other processes while this one lives; short, however long the real path is."""
        plain = str(self._path)
        return (
            plain
            if len(os.fsencode(plain)) <= _LONGEST_NAME
            else f"/proc/{os.getpid()}/fd/{self._descriptor}"
        )

    def remove(self) -> None:
        """Remove it with everything in it; call it once only."""
        os.close(self._descriptor)
        self._clear()

    def _clear(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


@dataclass
class Attempt:
    """One start of the engine and what is known of it."""

    spec: ServerSpec
    engine: EngineProcess
    port: ports.PortLock
    key: server_key.ServerKey
    sockets: SocketDirectory
    target: ProbeTarget
    log: Path
    log_offset: int
    oom_kills: int
    stop: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def begin(
        cls,
        spec: ServerSpec,
        directory: StateDirectory,
        *,
        mark: str,
        title: str,
        avoid: Collection[int],
        leash: Leash,
    ) -> Attempt:
        """Start the engine on a port of its own; raises `ports.NoFreePort`."""
        port = ports.reserve(avoid=avoid)
        key = server_key.take(spec.row, os.environ)
        argv = arguments(spec.argv, port.port)
        sockets = SocketDirectory(directory.sockets)
        temporary = dict.fromkeys(spec.directory_variables, sockets.name)
        added = temporary | compile_cache(os.environ) | dict(spec.environment)
        environment = child_environment(os.environ, added, spec.unset, argv[0])
        environment |= {spec.api_key_variable: key.value, MARK: mark}
        log = directory.log
        offset = _write_title(log, f"{title} on port {port.port}")
        return cls(
            spec=spec,
            engine=EngineProcess(argv, environment, log, leash),
            port=port,
            key=key,
            sockets=sockets,
            target=ProbeTarget(
                ports.HOST, port.port, spec.served_model, key.value, spec.probe, spec.served_beside
            ),
            log=log,
            log_offset=offset,
            oom_kills=processes.oom_kills(),
        )

    def give_back(self) -> None:
        """Port, key and sockets, once the engine has ended."""
        self.port.close()
        self.key.close()
        self.sockets.remove()

    def watch(self, deadline: float, put: Callable[[News], None]) -> None:
        """Ask for readiness in a thread of its own, because HTTP blocks; ``put`` gets what it finds out."""
        threading.Thread(target=self._wait_until_ready, args=(deadline, put), daemon=True).start()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the process was started."""
        return time.monotonic() - self.engine.started

    @property
    def port_was_taken(self) -> bool:
        """True if the engine's log says that its port was taken."""
        with self.log.open("rb") as log:
            log.seek(self.log_offset)
            return _ADDRESS_IN_USE in log.read()

    def ending(self, ended: Exit | None) -> Failure:
        """Fields of a message that tells how it ended; ``ended`` is None when it was still running."""
        return {
            "exit_code": ended.code if ended else None,
            "signal": ended.signal if ended else None,
            "oom": processes.oom_kills() > self.oom_kills,
            "log_offset": self.log_offset,
            "elapsed_s": self.elapsed_s,
            "port": self.target.port,
        }

    def server(self, ready: IsReady) -> ServerFields:
        """Fields of a `Server` that is ready."""
        return {
            "row": self.spec.row,
            "model": self.spec.served_model,
            "base_url": f"http://{self.target.host}:{self.target.port}",
            "api_key": self.target.api_key,
            "log": str(self.log),
            "root_pid": self.engine.pid,
            "ready_s": ready.ready_s,
            "engine": f"{self.spec.engine} {ready.version}".strip(),
            "keeper_pid": os.getpid(),
            "state_dir": str(self.log.parent),
        }

    def _wait_until_ready(self, deadline: float, put: Callable[[News], None]) -> None:
        try:
            version = wait_until_ready(
                self.target,
                warm_concurrency=self.spec.warm_concurrency,
                deadline=deadline,
                is_ours=lambda: processes.listens_on(self.target.port, self.engine.pid),
                stop=self.stop,
                progress=lambda step: put(Step(step)),
            )
            put(IsReady(version, self.elapsed_s))
        except (Stopped, TimeoutError):
            pass  # the keeper watches the deadline itself: this thread may hang in a request
        except Unready as error:
            put(error)
        except Exception as error:
            put(Unready(f"waiting for the server failed: {error!r}"))


def compile_cache(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that keep torch's compile cache out of a start's temporary files, so that later starts find it.

    PyTorch 2.13 keeps precompiled headers outside that cache, in the temporary directory. Each start has its own, so
    the first request for log probabilities on a CPU waited for the compiler although its kernel was in the cache.
    """
    variables = {}
    if "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS" not in environment:
        variables["TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS"] = "0"
    caches = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", ""), ".cache"))
    if "TORCHINDUCTOR_CACHE_DIR" not in environment and caches.is_absolute():
        variables["TORCHINDUCTOR_CACHE_DIR"] = str(caches / "pytest-llmperf" / "torchinductor")
    return variables


def _write_title(log: Path, title: str) -> int:
    """Separate this start from an earlier one; returns where in the file its own lines begin."""
    with log.open("ab") as file:
        file.write(f"{TITLE}{title}, {time.strftime('%Y-%m-%d %H:%M:%S')} ===\n".encode())
        return file.tell()
