"""Waiting for what another process does: by looking, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

CLEAN_WITHIN_S = 10.0
"""The promise: nothing of a run is left after so long."""

T = TypeVar("T")


def eventually(condition: Callable[[], T], what: str, timeout_s: float = CLEAN_WITHIN_S) -> T:
    """The first true value of ``condition``; fails after the deadline with ``what`` was waited for."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s:.0f} s in vain for: {what}")
        time.sleep(0.02)
    return value
