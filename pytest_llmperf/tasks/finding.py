"""Something of a suite's by its name: a task, texts, articles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from pytest_llmperf.config.toml_errors import nearest
from pytest_llmperf.errors import UsageError


class Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


def find(what: str, name: str, built_in: Iterable[T], more: Iterable[T] = ()) -> T:
    """The one of that ``name``, first in ``more``. Raises :class:`UsageError` with the nearest name."""
    known = {one.name: one for one in (*built_in, *more)}
    if name not in known:
        raise UsageError(f"no {what} {name!r}{nearest(name, known)}")
    return known[name]
