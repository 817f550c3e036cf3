"""The end of a process that was asked to judge models: its exit code is 0 only where the run allows it.

A project's own code has many ways to end a process with 0 before anything was judged: ``os._exit``, ``sys.exit``,
``pytest.exit``, hooks of its conftest.py. All of them are seen here, and none of them is pytest's own word.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

LAST_WORD = "llmperf_last_word"
_CLOSING = "llmperf_closing"


class ExitGuard:
    """``allowed`` makes the exit code of the one that the process would end with."""

    def __init__(self, config: pytest.Config, allowed: Callable[[int], int]) -> None:
        self._config = config
        self._allowed = allowed
        self._closed = False
        """True if the process came without a standard output."""

    def code(self, status: object, how: str) -> int:
        """The exit code in the place of ``status``, as ``SystemExit`` has it; a change is told on stderr."""
        number = 0 if status is None else status if isinstance(status, int) else 1
        # The system keeps eight bits of it.
        if number % 256:
            return number
        allowed = self._allowed(0)
        if allowed:
            self._tell(f"llmperf: {how} with exit code 0, and the run is not green: exit code {allowed}")
        return allowed

    def guard(self) -> None:
        """Watch over ``os._exit`` in this process, and not in its forks, until pytest is unconfigured."""
        real, process = os._exit, os.getpid()

        def leave(status: int) -> None:
            real(self.code(status, "os._exit was called") if os.getpid() == process else status)

        def restore() -> None:
            if os._exit is leave:
                os._exit = real

        os._exit = leave  # type: ignore[assignment]
        self._config.add_cleanup(restore)

    def lend_output(self) -> None:
        """Give pytest something to write to where standard output is closed, until the run can be refused in a line."""
        if sys.__stdout__ is None:
            self._closed = True
            sys.stdout = sys.__stdout__ = Path(os.devnull).open("w", encoding="utf-8")  # type: ignore[misc]  # noqa: SIM115

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        if self._closed:
            pytest.exit("llmperf: standard output is closed: send it to a file or to /dev/null", returncode=1)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_cmdline_main(self) -> Generator[None, int | None, int | None]:
        try:
            status = yield
        except SystemExit as error:
            code = self.code(error.code, "sys.exit was called")
            if code and not error.code:
                return code
            raise
        except OSError as error:
            if not _by_the_terminal(error):
                raise
            return self._unwritten(error)
        try:
            flush_output()
        except OSError as error:
            return self._unwritten(error)
        return None if status is None else self.code(int(status), "pytest ended")

    def _unwritten(self, error: OSError) -> int:
        self._tell(
            f"llmperf: the report could not be written to standard output ({error.strerror}): exit code 1"
        )
        # Otherwise Python fails once more, with a traceback, when it writes the rest of the buffer at exit.
        _discard_output()
        return int(pytest.ExitCode.TESTS_FAILED)

    def _tell(self, line: str) -> None:
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")
        with contextlib.suppress(Exception):  # The exit code matters more than the line.
            if capture is not None:
                capture.suspend_global_capture(in_=True)
            print(line, file=sys.__stderr__, flush=True)


def _by_the_terminal(error: OSError) -> bool:
    """True if ``error`` was raised where pytest writes its report, or where its buffer is flushed."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return Path(frame.f_code.co_filename).name == "terminalwriter.py" or frame.f_code is flush_output.__code__


def flush_output() -> None:
    """Write what the buffer of standard output still holds.

    Raises:
        OSError: standard output does not take it (a full disk, a reader that is gone).
    """
    if sys.__stdout__ is not None and not sys.__stdout__.closed:
        sys.__stdout__.flush()


def _discard_output() -> None:
    """Send what the buffer of standard output still holds to /dev/null."""
    if sys.__stdout__ is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.__stdout__.fileno())
        os.close(nowhere)


class Closing:
    """Calls ``close`` after every other hook of the session's end, with the exception that one of them raised."""

    def __init__(self, close: Callable[[pytest.Session, BaseException | None], None]) -> None:
        self._close = close

    def register(self, manager: pytest.PytestPluginManager) -> None:
        """Be the outermost; once more after the collection, which finds more files conftest.py."""
        if manager.hasplugin(_CLOSING):
            manager.unregister(self)
        manager.register(self, _CLOSING)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            result = yield
            # A green record beside a report that nobody could read would disagree with the exit code.
            flush_output()
        except BaseException as error:
            self._close(session, error)
            raise
        self._close(session, None)
        return result


def shows_only(options: argparse.Namespace) -> bool:
    """True if these are options that show something (tests, fixtures, markers, the help) in the place of a run."""
    shown = (
        "collectonly",
        "setupplan",
        "setuponly",
        "showfixtures",
        "show_fixtures_per_test",
        "markers",
        "help",
        "version",
        "cacheshow",
    )
    return any(getattr(options, name, None) for name in shown)
