"""Tests of real engines under pytest-xdist: several at once, but a test marked ``timed`` has the machine for itself.

The hook stands in ``tests/conftest.py``. Tests without a real engine (no mark ``vllm``) are left alone.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if not hasattr(item.config, "workerinput") or item.get_closest_marker("vllm") is None:
        return (yield)
    alone = item.get_closest_marker("timed") is not None
    # The temporary directories of the workers lie in one.
    with _turn(Path(item.config.option.basetemp).parent / "turns", alone=alone):
        return (yield)


@contextmanager
def _turn(path: Path, *, alone: bool) -> Iterator[None]:
    """Hold the machine: with others, or ``alone``."""
    # Who waits to be alone keeps the door, so that those who share do not pass it by for ever.
    with path.with_suffix(".door").open("a") as door, path.with_suffix(".machine").open("a") as machine:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
