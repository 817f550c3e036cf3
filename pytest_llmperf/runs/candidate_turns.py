"""Several candidates in one session take turns: the baseline stays, and one candidate at a time is beside it.

The tests of a candidate follow each other, in the order in which the candidates were given, and its server ends after
the last of them. So a machine needs room for two servers, however many candidates a night has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import pytest

from pytest_llmperf.measure.servers import Servers
from pytest_llmperf.runs.asking import candidate_of


class CandidateTurns:
    """The plugin that orders the tests of a session and ends the servers that no further test needs."""

    def __init__(self, servers: Servers, complain: Callable[[Iterable[str]], None], *, ends: bool) -> None:
        """``complain`` takes what could not be cleaned up. ``ends`` False: no server ends before the session does.

        That is for a process of pytest-xdist, which does not know which tests it will get.
        """
        self._servers = servers
        self._complain = complain
        self._ends = ends
        self._left: Counter[str] = Counter()
        """Tests that have not ended, by candidate; empty name: those that are not repeated for each."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None]:
        # After every other plugin: --failed-first puts the failed tests of all candidates before the others.
        yield
        names = [model.name for model in self._servers.settings.candidates]
        items[:] = in_turns(items, names)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._left = Counter(map(candidate_of, session.items))
        self._begin_turn(session.items)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, Any, Any]:
        self._begin_turn([item])
        result = yield
        self._left[candidate_of(item)] -= 1
        # The end of the session ends what is left then.
        if self._ends and nextitem is not None:
            needed = {name for name, count in self._left.items() if name and count > 0}
            self._complain(self._servers.end_unneeded(needed))
            self._begin_turn([nextitem])
        return result

    def _begin_turn(self, items: Sequence[pytest.Item]) -> None:
        """Let it be the turn of the candidate of the first of these tests that has one."""
        if name := next(filter(None, map(candidate_of, items)), ""):
            self._servers.turn = self._servers.settings.candidate(name)


def in_turns(items: Sequence[pytest.Item], candidates: Sequence[str]) -> list[pytest.Item]:
    """Return ``items`` by candidate, in the order of ``candidates``, and otherwise in their own order.

    A test that is not repeated for each stays behind the test before it.
    """
    places = {name: place for place, name in enumerate(candidates)}
    turns: list[int] = []
    for item in items:
        turns.append(places.get(candidate_of(item), turns[-1] if turns else 0))
    return [items[at] for at in sorted(range(len(items)), key=turns.__getitem__)]
