"""Runs of pytest as forks of a process that has done the imports: half a second of processor time less for each.

:class:`ForkServer` is the client's side, for the tests; run as a script, this file is the server. A forked run has
the environment, directory, streams, session and exit status that ``python -m pytest`` would give it. What depends on
a fresh interpreter (which modules are imported, ``PYTHON…`` variables, how processes end) is tested in processes of
their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

MARK = "LLMPERF_TEST_MARK"
_NO_MARK = "0" * 32
_LONGEST = 1 << 20
"""Bytes of a request."""


class ForkedRun:
    """A run of pytest, with the part of ``subprocess.Popen`` that the tests use."""

    def __init__(self, channel: socket.socket, arguments: Sequence[str]) -> None:
        self._channel = channel
        self._words = channel.makefile("r")
        self.args = list(arguments)
        self.pid = int(self._words.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._await(0.0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._await(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _await(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._channel], [], [], timeout_s)[0]:
            self.returncode = int(self._words.readline())
            self._words.close()
            self._channel.close()
        return self.returncode


class ForkServer:
    """Starts the server with the first run, and ends it with :meth:`close`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(
        self, arguments: Sequence[str], directory: Path, environment: Mapping[str, str], output: IO[str]
    ) -> ForkedRun:
        """``python -m pytest …`` in a session of its own, both streams to ``output``."""
        if self._control is None:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, __file__, str(theirs.fileno())],
                    env=os.environ | one_thread | {MARK: _NO_MARK},
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
        ours, theirs = socket.socketpair()
        request = {
            "arguments": list(arguments),
            "directory": str(directory),
            "environment": dict(environment),
        }
        with theirs:
            try:
                handles = [theirs.fileno(), output.fileno()]
                socket.send_fds(self._control, [json.dumps(request).encode()], handles)
            except OSError:
                ours.close()
                raise
        return ForkedRun(ours, ["pytest", *arguments])

    def close(self) -> None:
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait(10)


def _import_everything() -> None:
    import _pytest.config
    import numpy as np
    import scipy.optimize
    import scipy.stats

    import pytest_llmperf
    from pytest_llmperf.tasks.embedded import HeldOutProblems
    from pytest_llmperf.tasks.texts import WorkedProblems

    del np, scipy
    for name in _pytest.config.default_plugins:
        importlib.import_module(f"_pytest.{name}")
    for module in pkgutil.walk_packages(pytest_llmperf.__path__, "pytest_llmperf."):
        if not module.name.endswith("__main__"):
            # Modules of an extra that is not installed, and those that are scripts of another process.
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
    # Generated items are the same in every run, and take as long as the imports.
    for source in (HeldOutProblems(), WorkedProblems()):
        source.items(None)


def _build_what_runs_reuse() -> None:
    """Write the record of an empty run with its page, and read a catalogue.

    This compiles validators, regular expressions and templates, and pyarrow imports pandas with its first list: as much
    processor time again as the imports."""
    from pytest_llmperf.config.catalog import load_catalog
    from pytest_llmperf.record import tables
    from pytest_llmperf.record.store import write_record
    from pytest_llmperf.report.page import write_page

    load_catalog(Path(__file__).parents[2] / "suites" / "models.toml")
    with tempfile.TemporaryDirectory() as directory:
        record = Path(directory, "record.json")
        write_record(record, {"schema": "llmperf-record/1"})
        tables.store_table(record, tables.CASES, [{"test": "test", "status": "PASS", "case": "{}"}])
        write_page(record, record.with_suffix(".html"))


def _address_of_mark() -> int:
    """Where the environment that ``/proc/PID/environ`` shows holds the value of the mark."""
    environ = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    place = 0
    while address := environ[place]:
        if ctypes.string_at(address).startswith(f"{MARK}=".encode()):
            return int(address) + len(MARK) + 1
        place += 1
    raise SystemExit(f"{MARK} is not in the environment: start this by ForkServer")


def _become(request: Mapping[str, Any], output: int, mark: int) -> NoReturn:
    """Be the process that ``python -m pytest`` would be, to its end."""
    os.setsid()
    os.chdir(request["directory"])
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["environment"])
    ctypes.memmove(mark, os.environ[MARK].encode(), len(_NO_MARK))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tempfile.tempdir = None
    random.seed()
    importlib.import_module("numpy").random.seed()
    time.tzset()
    sys.argv = ["pytest", *request["arguments"]]
    sys.path[0] = request["directory"]
    runpy.run_module("pytest", run_name="__main__", alter_sys=True)
    raise SystemExit("pytest came back from its own end")


def _nurse(request: Mapping[str, Any], channel: int, output: int, mark: int) -> None:
    """Start a run, tell its pid and at last its exit status; returns in neither process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(channel)
        _become(request, output, mark)
    os.close(output)
    os.write(channel, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    os.write(channel, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    mark = _address_of_mark()
    _import_everything()
    _build_what_runs_reuse()
    gc.collect()
    gc.freeze()
    # Its children are nobody's to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        data, handles, _, _ = socket.recv_fds(control, _LONGEST, 2)
        if not data:
            return
        channel, output = handles
        if os.fork() == 0:
            control.close()
            _nurse(json.loads(data), channel, output, mark)
        os.close(channel)
        os.close(output)


if __name__ == "__main__":
    main()
