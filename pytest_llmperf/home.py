"""The user's home and cache directories, also where there is no home: a container's user id without a name.

Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pytest_llmperf.errors import UsageError


def has_home(environment: Mapping[str, str]) -> bool:
    """False where HOME is unset and the user id has no entry in the password database."""
    # expanduser returns "~" unchanged in that case, where Path.home() raises.
    return bool(environment.get("HOME")) or os.path.expanduser("~") != "~"  # noqa: PTH111


def home_directory(environment: Mapping[str, str]) -> Path:
    """The home directory, or a private directory beside the temporary files of a user that has none.

    Raises `UsageError` when that directory belongs to another user.
    """
    if environment.get("HOME"):
        return Path(environment["HOME"])
    if has_home(environment):
        return Path.home()
    directory = Path(tempfile.gettempdir()) / f"llmperf-home-{os.getuid()}"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise UsageError(
            f"no home directory: HOME is not set, user id {os.getuid()} has no name, and {directory} "
            f"can't be made ({error.strerror})\nwhat to do: set HOME to a directory that can be written"
        ) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise UsageError(
            f"no home directory: HOME is not set, user id {os.getuid()} has no name, and {directory} "
            "belongs to another user\nwhat to do: set HOME to a directory that can be written"
        )
    return directory


def cache_home(environment: Mapping[str, str]) -> Path:
    """``XDG_CACHE_HOME``, else ``.cache`` in the home directory; raises as `home_directory`."""
    base = environment.get("XDG_CACHE_HOME")
    return Path(base) if base else home_directory(environment) / ".cache"


def own_cache(environment: Mapping[str, str]) -> Path:
    """This package's directory in the user's cache; raises as `home_directory`."""
    return cache_home(environment) / "pytest-llmperf"


def expand(path: str | Path) -> Path:
    """``path`` with a leading ``~`` or ``~user`` replaced; raises `UsageError` where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"{path}: there is no home directory to put in place of ~ (HOME is not set, or the user is unknown)\n"
            "what to do: write the whole path, or set HOME"
        ) from None


def shown(path: str | Path) -> str:
    """A path as its user would write it: relative to the working directory for what lies in it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, OSError):  # elsewhere, or the working directory is gone
        return str(path)


def cached_lines(path: Path) -> list[str]:
    """Lines of a file of a cache; none if it is not there or cannot be read as text."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []


def write_cache(path: Path, text: str) -> None:
    """Write a file of a cache whole or not at all; one that cannot be written costs time and nothing else."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            if temporary is not None:
                temporary.unlink(missing_ok=True)
