"""What the kernel holds of a file is told; what it would not tell is not made up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_llmperf.serving.page_cache import share_in_memory

PAGES = 64
BYTES = PAGES * os.sysconf("SC_PAGE_SIZE")


def written(path: Path, pages: int = PAGES) -> Path:
    """A file of :data:`PAGES` pages of which the first were written just now; the others are a hole nobody has read."""
    path.write_bytes(b"w" * (BYTES * pages // PAGES))
    os.truncate(path, BYTES)
    return path


def test_pages_that_were_written_are_there_and_those_of_a_hole_are_not(tmp_path: Path) -> None:
    whole, half, none = (written(tmp_path / str(pages), pages) for pages in (PAGES, PAGES // 2, 0))
    assert [share_in_memory([path]) for path in (whole, half, none)] == [1.0, 0.5, 0.0]
    assert share_in_memory([whole, half]) == pytest.approx(0.75)


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
