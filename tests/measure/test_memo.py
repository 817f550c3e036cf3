"""A measurement is made once: its value, or its failure, is that of the first call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from pytest_llmperf.errors import InfrastructureError, NotMeasured, ServerDied, UsageError
from pytest_llmperf.measure.memo import Memo
from pytest_llmperf.measure.served import Served


@dataclass
class Server:
    """The part of a row that a measurement looks at."""

    name: str = "distill"
    started: bool = True
    crashes: int = 0
    deaths: list[ServerDied | None] = field(default_factory=list)
    healthy: bool = True
    server: object = "running"

    def death(self, wait_s: float = 0.0) -> ServerDied | None:
        return self.deaths.pop(0) if self.deaths else None

    def is_healthy(self) -> bool:
        return self.healthy


def served(server: Server) -> Served:
    return cast("Served", server)


def test_the_first_value_is_kept() -> None:
    memo = Memo()
    made = iter([1, 2])
    assert [memo(("a", 1), lambda: next(made)) for _ in range(3)] == [1, 1, 1]
    assert memo(("a", 2), lambda: next(made)) == 2
    assert [value for _, value in memo.of_kind("a")] == [1, 2]
    assert list(memo.of_kind("b")) == []


@pytest.mark.parametrize("error", [NotMeasured("no round succeeded"), InfrastructureError("no connection")])
def test_a_failure_is_shared_by_all_that_ask(error: Exception) -> None:
    memo = Memo()
    calls = []

    def fail() -> None:
        calls.append(1)
        raise error

    for _ in range(3):
        with pytest.raises(type(error), match=str(error)):
            memo(("a",), fail)
    assert len(calls) == 1
    assert ("a",) in memo
    assert list(memo.of_kind("a")) == []


def test_a_mistake_of_the_test_is_not_kept() -> None:
    memo = Memo()

    def fail() -> None:
        raise UsageError("no such task")

    with pytest.raises(UsageError):
        memo(("a",), fail)
    assert ("a",) not in memo
    assert memo(("a",), lambda: 3) == 3


def test_what_was_measured_along_with_something_else_is_not_measured_again() -> None:
    memo = Memo()
    memo.remember({("rounds", 8): 5})
    assert memo(("rounds", 8), lambda: pytest.fail("measured again")) == 5


def test_a_dead_server_is_the_reason_of_a_refused_connection() -> None:
    def fail() -> None:
        raise InfrastructureError("connection refused")

    death = ServerDied("the server of distill died")
    with pytest.raises(ServerDied):
        Memo()(("a",), fail, served(Server(deaths=[death])))
    # One that is not well may die within seconds.
    with pytest.raises(ServerDied):
        Memo()(("a",), fail, served(Server(healthy=False, deaths=[None, death])))
    with pytest.raises(InfrastructureError, match="connection refused"):
        Memo()(("a",), fail, served(Server()))


def test_a_death_that_no_request_noticed_ends_the_measurement() -> None:
    with pytest.raises(ServerDied):
        Memo()(("a",), lambda: 1, served(Server(deaths=[ServerDied("gone")])))


def test_a_measurement_across_a_restart_is_of_two_processes_and_none() -> None:
    server = Server()

    def measure() -> int:
        server.crashes += 1
        return 1

    with pytest.raises(NotMeasured, match="started again \\(distill\\): half of it is of another process"):
        Memo()(("a",), measure, served(server))


def test_a_server_that_the_measurement_starts_is_no_restart() -> None:
    server = Server(started=False)

    def measure() -> int:
        server.started = True
        server.crashes = 1
        return 1

    assert Memo()(("a",), measure, served(server)) == 1
