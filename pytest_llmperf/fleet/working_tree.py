"""The working tree as the nodes of a fleet get it: the files that git knows or would add, without those excluded."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from pytest_llmperf.errors import UsageError
from pytest_llmperf.units import format_value

MOST_BYTES = 500 * 2**20
"""Ray keeps the packed tree in memory on the head node, and refuses more by default (2.60)."""
_NEVER = (".git/", "__pycache__/", ".venv/", ".tox/", "node_modules/", ".pytest_cache/")
_LARGEST = 3
"""Files that a refusal names."""


@dataclass(frozen=True)
class WorkingTree:
    """``files``: paths below ``root``; ``size``: their bytes."""

    root: Path
    files: Sequence[Path]
    size: int

    def __str__(self) -> str:
        return f"{len(self.files):,} files, {format_value(float(self.size), 'bytes')}"

    def copy_to(self, directory: Path) -> None:
        """Copy the files below ``directory``; a link to a file is followed."""
        for file in self.files:
            target = directory / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / file, target)


def working_tree(root: Path, exclude: Sequence[str] = (), most_bytes: int = MOST_BYTES) -> WorkingTree:
    """Find the files below ``root``. Raises :class:`UsageError` with the largest of them where they are too many."""
    found = sorted(
        file
        for file in (_known_to_git(root) or _all(root))
        if (root / file).is_file() and not any(_is_excluded(file, pattern) for pattern in (*_NEVER, *exclude))
    )
    sizes = {file: (root / file).stat().st_size for file in found}
    if (size := sum(sizes.values())) > most_bytes:
        largest = sorted(found, key=lambda file: sizes[file], reverse=True)[:_LARGEST]
        named = ", ".join(f"{file} ({format_value(float(sizes[file]), 'bytes')})" for file in largest)
        raise UsageError(
            f"the working tree {root} has {format_value(float(size), 'bytes')}, and Ray sends at most "
            f"{format_value(float(most_bytes), 'bytes')}; the largest files: {named}\n"
            "what to do: name in exclude what the nodes don't need, and keep weights and data on a disk of theirs"
        )
    return WorkingTree(root, found, size)


def _known_to_git(root: Path) -> list[Path] | None:
    """Tracked files and those that are neither tracked nor ignored; None outside of git."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        told = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [Path(os.fsdecode(name)) for name in told.split(b"\0") if name]


def _all(root: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(root):
        here = Path(directory).relative_to(root)
        names[:] = [
            name for name in names if not any(_is_excluded(here / name / "x", each) for each in _NEVER)
        ]
        yield from (here / name for name in files)


def _is_excluded(file: Path, pattern: str) -> bool:
    """``name/`` is any directory of that name, ``a/b/`` one from the root; else the whole path or the file's name."""
    path = PurePosixPath(file)
    if pattern.endswith("/"):
        wanted = pattern.rstrip("/")
        above = [parent for parent in path.parents if parent.name]
        return any(fnmatchcase(str(each) if "/" in wanted else each.name, wanted) for each in above)
    return fnmatchcase(str(path), pattern) or fnmatchcase(path.name, pattern)
