"""What a third party may add. Every hook is API for good, so there are few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from pytest_llmperf.tasks.task import Task

PROFILE_MARK = "llmperf_profile"
"""Marks a test that only means something in runs of certain profiles (``profile_marks``)."""


def pytest_llmperf_tasks(config: pytest.Config) -> list[Task]:
    """Return tasks of your own; suites then ask for them by name, as in ``accuracy(candidate, "mine")``.

    A task named like a built-in one replaces it.
    """
    raise NotImplementedError("a specification is not called")


def pytest_llmperf_update_record(config: pytest.Config, record: dict[str, Any]) -> None:
    """Add to the run's record before it is written (plain JSON values only)."""
