"""Share of files that the kernel holds in memory: a start reads weights from there quicker than from a disk."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path


def share_in_memory(files: Iterable[Path]) -> float | None:
    """Share of the pages of ``files`` that are in the page cache, by ``mincore(2)``; None if it cannot be known.

    The kernel tells it to a file's owner and to who may write it; to others it answers "all of it" (since Linux 5.2).
    So one file that belongs to somebody else makes it None.
    """
    present = total = 0
    for path in files:
        try:
            seen, pages = _pages(path)
        except (OSError, ValueError, AttributeError):
            return None
        present, total = present + seen, total + pages
    return present / total if total else None


def _pages(path: Path) -> tuple[int, int]:
    """Pages of the file in memory, and in all."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() and not os.access(path, os.W_OK):
            raise PermissionError(path)
        size = status.st_size
        if size == 0:
            return 0, 0
        pages = -(-size // mmap.PAGESIZE)
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
            start = ctypes.c_char.from_buffer(mapped)
            answer = (ctypes.c_ubyte * pages)()
            failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), answer)
            del start  # A buffer that is still referenced keeps the map from closing.
        if failed:
            raise OSError(ctypes.get_errno(), "mincore")
        return sum(each & 1 for each in bytes(answer)), pages
