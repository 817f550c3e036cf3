"""What somebody who watches sees while a server starts and answers come, and that a log file sees none of it."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    def test_asked(candidate, accuracy):
        assert accuracy(candidate).value is not None
"""


def test_a_terminal_shows_how_far_the_start_and_the_answers_are(project: Project) -> None:
    project.suite(SUITE)
    terminal, its_other_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=project.path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        stdin=subprocess.DEVNULL,
        stdout=its_other_end,
        stderr=its_other_end,
    )
    os.close(its_other_end)
    text = _everything_from(terminal)
    assert process.wait(timeout=60) == 0, text
    assert "llmperf: distill: " in text
    assert " s left" in text, "no rate and time left while the items were answered"


def _everything_from(terminal: int) -> str:
    shown = b""
    with contextlib.suppress(OSError):  # what Linux says when the last writer has gone
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    return shown.decode(errors="replace")


def test_a_log_file_gets_no_progress_lines(project: Project) -> None:
    project.suite(SUITE)
    result = project.run()
    assert result.code == 0, result.text
    assert " s left" not in result.text
