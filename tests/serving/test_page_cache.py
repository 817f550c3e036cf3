"""What the kernel holds of a file is told; what it would not tell is not made up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_llmperf.serving.page_cache import share_in_memory

PAGES = 64
BYTES = PAGES * os.sysconf("SC_PAGE_SIZE")


def written(path: Path) -> Path:
    """A file of :data:`PAGES` pages that are on the disk."""
    path.write_bytes(b"w" * BYTES)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path


def drop(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_a_file_that_was_dropped_is_not_there_and_one_that_was_read_is(tmp_path: Path) -> None:
    path = written(tmp_path / "weights")
    drop(path)
    if share_in_memory([path]):
        pytest.skip("this file system keeps its files in memory")
    path.read_bytes()
    assert share_in_memory([path]) == 1
    other = written(tmp_path / "more")
    drop(other)
    assert share_in_memory([path, other]) == pytest.approx(0.5)


def test_nothing_is_said_of_no_file_an_empty_one_and_one_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert share_in_memory([]) is None
    assert share_in_memory([tmp_path / "empty"]) is None
    assert share_in_memory([written(tmp_path / "weights"), tmp_path / "gone"]) is None


def test_of_a_file_that_somebody_else_owns_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "weights")
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert share_in_memory([path]) is None
