"""Each measurement of a run once: the value, or the failure, of its first call, by what was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pytest_llmperf.errors import InfrastructureError, NotMeasured
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import find_dead_server

T = TypeVar("T")
Key = tuple[Any, ...]
"""The kind of measurement first (``"rounds"``, ``"answers"``), then everything that it depends on; hashable."""


class Memo:
    """``memo(key, measure, *served)`` calls ``measure`` the first time and keeps what it returned or raised.

    :class:`InfrastructureError` and :class:`NotMeasured` are kept, so that tests that share a measurement share its
    failure. Every other exception is raised and forgotten.
    """

    def __init__(self) -> None:
        self._values: dict[Key, Any] = {}
        self._failures: dict[Key, InfrastructureError | NotMeasured] = {}

    def __call__(self, key: Key, measure: Callable[[], T], *served: Served) -> T:
        """``served``: the servers that ``measure`` sends requests to.

        If one of them is dead after a failure, the failure is its :class:`ServerDied`; if one died and was restarted
        meanwhile, it is :class:`NotMeasured`.
        """
        if key in self._failures:
            raise self._failures[key]
        if key not in self._values:
            try:
                self._values[key] = _without_restart(measure, served)
            except (InfrastructureError, NotMeasured) as error:
                # A refused connection, or a round without a success, may be the sign of a dead server.
                self._failures[key] = find_dead_server(*served) or error
                raise self._failures[key] from None
        value: T = self._values[key]
        return value

    def __contains__(self, key: Key) -> bool:
        """True if the key was measured, or the attempt failed."""
        return key in self._values or key in self._failures

    def known(self, key: Key) -> Any:
        """The value that was measured, or the failure; None where nothing was tried."""
        return self._failures.get(key, self._values.get(key))

    def remember(self, values: Mapping[Key, Any]) -> None:
        """Add what was measured along with something else."""
        self._values |= values

    def of_kind(self, kind: str) -> Iterator[tuple[Key, Any]]:
        """Keys and values of the measurements of one kind that succeeded, in the order of time."""
        return ((key, value) for key, value in self._values.items() if key[0] == kind)


def _without_restart(measure: Callable[[], T], served: Sequence[Served]) -> T:
    """The result of ``measure``; :class:`NotMeasured` if a server died meanwhile, even if no request noticed it."""
    # Servers that died earlier are restarted now, and not in the middle.
    before = [server.server and server.crashes for server in served if server.started]
    result = measure()
    used = [server for server in served if server.started]
    for server in used:
        if death := server.death():
            raise death
    if len(before) == len(used) and before != [server.crashes for server in used]:
        names = ", ".join(server.name for server in used)
        raise NotMeasured(
            f"a server died during the measurement and was started again ({names}): half of it is of another process"
        )
    return result
