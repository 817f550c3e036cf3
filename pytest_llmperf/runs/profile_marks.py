"""Tests that only mean something in some runs.

``@pytest.mark.llmperf_profile("gpu")``: with the models of that profile. ``@pytest.mark.llmperf_same_model``: where
candidate and baseline are builds of one model (``same_model_as``). ``@pytest.mark.llmperf_started``: of servers that
the run starts; memory and the time of a start cannot be seen of one that already runs.

They are left out of other runs, and the run says so. A skip would not do: a test that uses a model and is skipped makes
a run red, since something that it was to measure was not; here nothing was to be measured.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.hookspecs import PROFILE_MARK, SAME_MODEL_MARK, STARTED_MARK
from pytest_llmperf.runs.keys import RUN

if TYPE_CHECKING:
    from pytest_llmperf.config.models import Model
    from pytest_llmperf.config.run_config import Settings


class ProfileMarks:
    """Leaves out what is of other runs."""

    def __init__(self) -> None:
        self.left_out: list[tuple[str, ...]] = []
        """The profiles of each test that is left out because it is for others."""
        self.other_models: list[pytest.Item] = []
        """Tests that are left out since they compare builds of one model."""
        self.started: list[pytest.Item] = []
        """Tests that are left out since they are of servers that the run starts."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        run = config.stash[RUN]
        marked = [(item, _profiles(item)) for item in items]
        profile = run.settings.profile.name
        named = {name for _, profiles in marked for name in profiles or ()}
        unnamed = [item for item, profiles in marked if profiles is None]
        for why in (*_unnamed(unnamed), *_unknown(named, run.settings.known_profiles() if named else ())):
            from pytest_llmperf.runs.mistaken_marks import refuse

            refuse(config, run.ledger, why)
        out = [(item, profiles) for item, profiles in marked if profiles and profile not in profiles]
        self.left_out = [profiles for _, profiles in out]
        gone = [item for item, _ in out]
        others = [item for item in items if item not in gone and _is_of_other_models(item, run.settings)]
        self.other_models = others
        gone += others
        self.started = [item for item in items if item not in gone and _is_of_running(item, run.settings)]
        if gone := [*gone, *self.started]:
            config.hook.pytest_deselected(items=gone)
            items[:] = [item for item in items if item not in gone]

    def would_assert(self, budget: str) -> bool:
        """True if a test that these models or servers do not suit was left out and names this budget
        (``latency.ttft``)."""
        return any(f"budget.{budget}" in _source(item) for item in (*self.other_models, *self.started))

    def pytest_report_collectionfinish(self, config: pytest.Config) -> list[str]:
        lines = []
        if self.left_out:
            names = ", ".join(sorted({name for profiles in self.left_out for name in profiles}))
            tests = _tests(len(self.left_out))
            lines.append(
                f"llmperf: {tests} for the profile {names} only, and not part of this run of {_profile(config)}"
            )
        if self.other_models:
            lines.append(
                f"llmperf: {_tests(len(self.other_models))} for two builds of one model, and not part of this run: "
                "same_model_as in models.toml says which rows are"
            )
        if self.started:
            lines.append(
                f"llmperf: {_tests(len(self.started))} for servers that the run starts, and not part of this run: "
                "memory and starts cannot be measured of one that already runs"
            )
        return lines


def _source(item: pytest.Item) -> str:
    try:
        return inspect.getsource(getattr(item, "function", item))  # type: ignore[arg-type]
    except (OSError, TypeError):  # written by no file, or no function
        return ""


def _tests(count: int) -> str:
    return "1 test is" if count == 1 else f"{count} tests are"


def _profile(config: pytest.Config) -> str:
    name: str = config.stash[RUN].settings.profile.name
    return name


def _is_of_other_models(item: pytest.Item, settings: Settings) -> bool:
    """True if the test compares builds of one model, and the rows that it would compare are none."""
    if item.get_closest_marker(SAME_MODEL_MARK) is None:
        return False
    from pytest_llmperf.config.models import same_model

    return not all(same_model(model, settings.baseline) for model in _candidates(item, settings))


def _is_of_running(item: pytest.Item, settings: Settings) -> bool:
    """True if the test is of servers that the run starts, and one of those that it asks runs already."""
    if item.get_closest_marker(STARTED_MARK) is None:
        return False
    asked = _candidates(item, settings)
    if "baseline" in getattr(item, "fixturenames", ()):
        asked = [*asked, settings.baseline]
    hosts = [model if model.host is None else settings.hosts[model.host] for model in asked]
    return any(model.base_url is not None for model in hosts)


def _candidates(item: pytest.Item, settings: Settings) -> Sequence[Model]:
    """The row for which the test is repeated; all candidates if it is not."""
    from pytest_llmperf.runs.asking import candidate_of

    name = candidate_of(item)
    return [settings.candidate(name)] if name else settings.candidates


def _profiles(item: pytest.Item) -> tuple[str, ...] | None:
    """The profiles in all marks of a test, none for a test without a mark; None for a mark without names."""
    names: list[str] = []
    for mark in item.iter_markers(PROFILE_MARK):
        if not mark.args or mark.kwargs or not all(isinstance(name, str) for name in mark.args):
            return None
        names += mark.args
    return tuple(dict.fromkeys(names))


def _unnamed(items: Sequence[pytest.Item]) -> Iterator[str]:
    for item in items:
        yield f'{item.nodeid}: write @pytest.mark.{PROFILE_MARK}("gpu"), with names of profiles'


def _unknown(names: set[str], known: Sequence[str]) -> Iterator[str]:
    """A name that no profile has would leave its test out of every run, and no output would say so."""
    from pytest_llmperf.config.toml_errors import nearest

    for name in sorted(names):
        if name not in known:
            yield f"@pytest.mark.{PROFILE_MARK}({name!r}): no such profile{nearest(name, known)}"
