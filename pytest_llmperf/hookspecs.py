"""Hooks for other packages. Every hook is API for good, so there are few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from pytest_llmperf.report.exporters.base import Exporter
    from pytest_llmperf.tasks.task import Task

PROFILE_MARK = "llmperf_profile"
"""Marks a test that only means something in runs of certain profiles (``profile_marks``)."""
SAME_MODEL_MARK = "llmperf_same_model"
"""Marks a test that only means something where candidate and baseline are builds of one model."""
STARTED_MARK = "llmperf_started"
"""Marks a test of what can be measured only of servers that the run itself starts: memory, starts."""
ADVISORY_MARK = "llmperf_advisory"
"""Marks a test whose verdicts are told and never make a run red; takes the reason."""
MARKERS = (
    f"{PROFILE_MARK}(name, ...): only in runs of these profiles of the catalogue",
    f"{SAME_MODEL_MARK}: only where candidate and baseline are builds of one model",
    f"{STARTED_MARK}: only for servers that the run itself starts",
    f"{ADVISORY_MARK}(reason): its verdicts are told, and never make a run red",
)
"""Lines of ``pytest --markers``."""
LEFT_OUT = "llmperf_profile_marks"
"""Name of the plugin that leaves such tests out of other runs."""


def pytest_llmperf_tasks(config: pytest.Config) -> list[Task]:
    """Return tasks of your own; suites then ask for them by name, as in ``accuracy(candidate, "mine")``.

    A task named like a built-in one replaces it.
    """
    raise NotImplementedError("a specification is not called")


def pytest_llmperf_exporters(config: pytest.Config) -> list[Exporter]:
    """Return further outputs of the run, each an object of a class derived from ``pytest_llmperf.Exporter``.

    A ``conftest.py`` is asked only if it is read before the tests are collected: in the root directory, or in a
    directory that is named on the command line.
    """
    raise NotImplementedError("a specification is not called")


def pytest_llmperf_progress(config: pytest.Config, text: str) -> None:
    """See what the run is doing, as its terminal shows it: ``distill: warming up, 41 s``. It must return quickly, since
    it may be called for each answer, and in several threads."""


def pytest_llmperf_update_record(config: pytest.Config, record: dict[str, Any]) -> None:
    """Add to the run's record before it is written (plain JSON values only)."""
