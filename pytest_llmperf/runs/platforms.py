"""True if models can be tested on this platform. Standard library only, and nothing that only Linux has."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

_MODULES = ("fcntl", "resource")


def why_unsupported(proc: Path = Path("/proc")) -> str:
    """One line that says what is missing here, and what to do; empty where nothing is.

    Servers are owned, watched and ended by means that only Linux has (child subreapers, pidfd, ``/proc``).
    """
    remedy = "run the tests that use a model on Linux (a container or WSL 2 will do)"
    if not sys.platform.startswith("linux"):
        return f"pytest-llmperf tests models on Linux only, and this is {sys.platform}: {remedy}"
    missing = [name for name in _MODULES if not _has(name)]
    missing += [] if hasattr(os, "pidfd_open") else ["os.pidfd_open"]
    if missing:
        return f"pytest-llmperf needs Linux, and this Python lacks {', '.join(missing)}: {remedy}"
    if not (proc / "self" / "stat").exists():
        return f"pytest-llmperf needs Linux' {proc}, which is not mounted here: mount it, or {remedy}"
    return ""


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
