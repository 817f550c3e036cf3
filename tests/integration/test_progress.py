"""What somebody who watches sees while a server starts and answers come, and that a log file sees none of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pyte

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    def test_asked(candidate, accuracy):
        assert accuracy(candidate) <= 0.5
"""


def on_a_terminal(
    project: Project, *arguments: str, columns: int = 80, **environment: str
) -> tuple[int, bytes]:
    """Exit code of a run whose output is a terminal, and what it wrote there."""
    terminal, its_other_end = pty.openpty()
    fcntl.ioctl(its_other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COLUMNS"))
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=project.path,
        env=inherited | {"TERM": "xterm"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=its_other_end,
        stderr=its_other_end,
    )
    os.close(its_other_end)
    written = _everything_from(terminal)
    return process.wait(timeout=60), written


def lines_after(written: bytes, columns: int = 80) -> list[str]:
    """What stands on the terminal at the end, scrolled away or not."""
    screen = pyte.HistoryScreen(columns, 50, history=5000)
    pyte.ByteStream(screen).feed(written)
    gone = ["".join(line[i].data for i in range(columns)) for line in screen.history.top]
    return [line.rstrip() for line in (*gone, *screen.display)]


def test_a_terminal_shows_how_far_the_start_and_the_answers_are(project: Project) -> None:
    project.suite(SUITE)
    code, written = on_a_terminal(project)
    assert code == 0, written.decode()
    assert b"llmperf: distill: " in written
    assert b" s left" in written, "no rate and time left while the items were answered"


def test_when_the_run_has_ended_its_lines_are_those_that_pytest_writes_by_itself(project: Project) -> None:
    project.suite(
        SUITE
        + """
    def test_too_much(candidate, accuracy):
        assert accuracy(candidate) >= 0.99
    """
    )
    code, written = on_a_terminal(project)
    lines = lines_after(written)
    assert code == 1
    assert [line for line in lines if line.startswith("test_gate.py")] == [f"test_gate.py .F{'[100%]':>64}"]
    assert not [line for line in lines if "left at most" in line]


def test_colours_are_left_out_when_that_is_asked_for(project: Project) -> None:
    project.suite(SUITE)
    coloured, plain = on_a_terminal(project), on_a_terminal(project, NO_COLOR="1")
    assert re.search(rb"\x1b\[\d+m", coloured[1])
    assert not re.search(rb"\x1b\[\d+m", plain[1])


def test_a_dumb_terminal_gets_no_line_that_moves(project: Project) -> None:
    project.suite(SUITE)
    _, written = on_a_terminal(project, TERM="dumb")
    assert b"\x1b" not in written
    assert b"left at most" not in written


def test_a_windows_code_page_is_written_without_an_error_and_without_escapes(project: Project) -> None:
    project.suite(
        SUITE
        + """
    def test_too_much(candidate, accuracy):
        assert accuracy(candidate) >= 0.99
    """
    )
    code, written = on_a_terminal(project, PYTHONIOENCODING="cp1252")
    text = written.decode("cp1252")
    assert code == 1
    assert "distill -> " in text
    assert "…" in text
    assert "\\u2192" not in text
    assert "Traceback" not in text


def _everything_from(terminal: int) -> bytes:
    shown = b""
    with contextlib.suppress(OSError):  # what Linux says when the last writer has gone
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    return shown


def test_a_log_file_gets_no_progress_lines(project: Project) -> None:
    project.suite(SUITE)
    result = project.run()
    assert result.code == 0, result.text
    assert " s left" not in result.text
