"""A plugin of a shard's pytest: tells the phase of the run, and enters in the record what the node can't know.

Loaded with ``-p``. The phases are lines in the pipe that :data:`PIPE` names; nobody reads more than the last of them.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

PIPE = "LLMPERF_FLEET_PIPE"
"""Variable with the number of the file descriptor for the phases."""
COMMIT = "LLMPERF_FLEET_COMMIT"
"""Variable with the commit of the working tree as JSON; the copy on the node is in no repository."""
STARTING, ASKING = "starting", "asking"
_START = re.compile(r"\S+: (launching|loading|checking|warming up)\b")
_last = ""

if PIPE in os.environ:
    # Servers that outlive the run for a moment must not keep the pipe open.
    with suppress(OSError, ValueError):
        os.set_inheritable(int(os.environ[PIPE]), False)


def pytest_llmperf_progress(text: str) -> None:
    """Tell that the run is asking; while servers start, it is starting still."""
    if not _START.match(text):
        _tell(ASKING)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A test that measures nothing tells no progress."""
    if report.when == "call":
        _tell(ASKING)


def pytest_llmperf_update_record(record: dict[str, Any]) -> None:
    """Enter the commit of the tree that was sent."""
    commit = json.loads(os.environ.get(COMMIT, "null"))
    if commit is not None and record.get("environment"):
        record["environment"]["git"] = commit


def _tell(phase: str) -> None:
    global _last
    if phase != _last and PIPE in os.environ:
        _last = phase
        with suppress(OSError):
            os.write(int(os.environ[PIPE]), f"{phase}\n".encode())
