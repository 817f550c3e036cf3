"""What is measured once a run: the value, or the failure, that the first call gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pytest_llmperf.errors import InfrastructureError, NotMeasured
from pytest_llmperf.measure.deaths import death_of
from pytest_llmperf.measure.served import Served

T = TypeVar("T")
Key = tuple[Any, ...]


class Once:
    """``once(key, measure, *served)``: calls ``measure`` the first time and remembers what it returned or raised."""

    def __init__(self) -> None:
        self._done: dict[Key, Any] = {}
        self._failed: dict[Key, InfrastructureError | NotMeasured] = {}

    def __call__(self, key: Key, measure: Callable[[], T], *served: Served) -> T:
        """What ``measure`` returned or raised when it was first called; ``served`` are the servers that it asks."""
        if key in self._failed:
            raise self._failed[key]
        if key not in self._done:
            try:
                self._done[key] = _in_one_life(measure, served)
            except (InfrastructureError, NotMeasured) as error:
                # Behind a refused connection, or a round without one success, may stand a dead server.
                self._failed[key] = death_of(*served) or error
                raise self._failed[key] from None
        result: T = self._done[key]
        return result

    def __contains__(self, key: Key) -> bool:
        """Whether it was measured, or failed to be."""
        return key in self._done or key in self._failed

    def remember(self, values: Mapping[Key, Any]) -> None:
        """What was measured along with something else."""
        self._done |= values


def _in_one_life(measure: Callable[[], T], served: Sequence[Served]) -> T:
    """What ``measure`` returns; :class:`NotMeasured` if a server died meanwhile, even where no request noticed it."""
    # Those that died before are started again now, and not in the middle.
    before = [one.server and one.crashes for one in served if one.started]
    result = measure()
    used = [one for one in served if one.started]
    for one in used:
        if death := one.death():
            raise death
    if len(before) == len(used) and before != [one.crashes for one in used]:
        names = ", ".join(one.name for one in used)
        raise NotMeasured(
            f"a server died during the measurement and was started again ({names}): half of it is of another process"
        )
    return result
