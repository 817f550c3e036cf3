"""Results of a pure function, kept by the identity of its arguments: what grows is not computed anew as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class ByIdentity(Generic[R]):
    """``function`` with a memory. Arguments need no hash; they are held, and must not be changed afterwards."""

    def __init__(self, function: Callable[..., R]) -> None:
        self._function = function
        self._used: dict[tuple[int, ...], tuple[tuple[Any, ...], R]] = {}
        self._before = self._used

    def __call__(self, *arguments: Any) -> R:
        key = tuple(map(id, arguments))
        if key not in self._used:
            known = self._before.get(key)
            self._used[key] = known or (arguments, self._function(*arguments))
        return self._used[key][1]

    def forget_unused(self) -> None:
        """Forget what was not asked for since the last call of this method."""
        self._before, self._used = self._used, {}
