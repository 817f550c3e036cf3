"""A clock that a test has replaced times nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmperf.client import connection, real_clock, reply
from pytest_llmperf.client.real_clock import RealClock
from pytest_llmperf.errors import NotMeasured


def test_the_machines_own_clock_is_one() -> None:
    clock = RealClock()
    clock.check()


@pytest.mark.parametrize("name", ["perf_counter", "monotonic", "thread_time"])
def test_a_replaced_function_of_time_is_found_at_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(time, name, lambda: 1.0)
    with pytest.raises(NotMeasured, match=f"time.{name} is not the machine's clock"):
        RealClock()


@pytest.mark.parametrize("module", [connection, reply])
def test_a_clock_that_is_replaced_where_it_is_used_is_found(
    monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    # As freezegun does with every module that has imported one.
    monkeypatch.setattr(module, "now", lambda: 1.0)
    with pytest.raises(NotMeasured, match=r"\.now is not the machine's clock"):
        RealClock()


def test_one_that_is_replaced_meanwhile_is_found_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = RealClock()
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)
    with pytest.raises(NotMeasured, match="monotonic"):
        clock.check()


@pytest.mark.parametrize("passed_s", [0.0, 8.0, 12.0])
def test_a_clock_that_goes_at_another_pace_than_the_systems_is_found(
    monkeypatch: pytest.MonkeyPatch, passed_s: float
) -> None:
    """As those do that are replaced beneath Python, where the function remains what it was."""
    elapsed: Callable[[float], Any] = lambda more: lambda: SimpleNamespace(elapsed=1000.0 + more)  # noqa: E731
    monkeypatch.setattr(os, "times", elapsed(0.0))
    clock = RealClock()
    monkeypatch.setattr(os, "times", elapsed(passed_s))
    if passed_s:
        with pytest.raises(NotMeasured, match="replaces the process's clock"):
            clock.check()
    else:
        clock.check()


def test_a_clock_that_is_replaced_beneath_python_is_found_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As time-machine does: the function is still a built-in one, and says something else."""
    assert real_clock._ALIKE
    monkeypatch.setattr(time, "monotonic", time.time)
    with pytest.raises(NotMeasured, match="read the same clock"):
        RealClock()
