"""``@pytest.mark.llmperf_profile("gpu")``: a test that only means something with the models of that profile.

It is left out of a run of another profile, and the run says so. A skip would not do: a test that uses a model and is
skipped makes a run red, since something that it was to measure was not; here nothing was to be measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_llmperf.hookspecs import PROFILE_MARK
from pytest_llmperf.runs.keys import RUN


class ProfileMarks:
    """Leaves out what is of other profiles."""

    def __init__(self) -> None:
        self.left_out: list[tuple[str, ...]] = []
        """Of each test that is left out, the profiles that it is for."""

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line(
            "markers", f"{PROFILE_MARK}(name, ...): only in runs of these profiles of the catalogue"
        )

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        run = config.stash.get(RUN, None)
        marked = [(item, _profiles(item)) for item in items]
        if run is None or not any(profiles for _, profiles in marked):
            return
        profile = run.settings.profile.name
        _check({name for _, profiles in marked for name in profiles}, run.settings.known_profiles())
        out = [(item, profiles) for item, profiles in marked if profiles and profile not in profiles]
        self.left_out = [profiles for _, profiles in out]
        if out:
            config.hook.pytest_deselected(items=[item for item, _ in out])
            items[:] = [item for item, profiles in marked if not profiles or profile in profiles]

    def pytest_report_collectionfinish(self, config: pytest.Config) -> str | None:
        if not self.left_out:
            return None
        names = ", ".join(sorted({name for profiles in self.left_out for name in profiles}))
        count = len(self.left_out)
        tests = "1 test is" if count == 1 else f"{count} tests are"
        return (
            f"llmperf: {tests} for the profile {names} only, and not part of this run of {_profile(config)}"
        )


def _profile(config: pytest.Config) -> str:
    name: str = config.stash[RUN].settings.profile.name
    return name


def _profiles(item: pytest.Item) -> tuple[str, ...]:
    """Of all its marks together; nothing for a test without one."""
    names: list[str] = []
    for mark in item.iter_markers(PROFILE_MARK):
        if not mark.args or mark.kwargs or not all(isinstance(name, str) for name in mark.args):
            raise pytest.UsageError(
                f'{item.nodeid}: write @pytest.mark.{PROFILE_MARK}("gpu"), with names of profiles'
            )
        names += mark.args
    return tuple(dict.fromkeys(names))


def _check(names: set[str], known: Sequence[str]) -> None:
    """A name that no profile has would leave its test out of every run, and nobody would miss it."""
    from pytest_llmperf.config.toml_errors import nearest

    for name in sorted(names):
        if name not in known:
            raise pytest.UsageError(
                f"@pytest.mark.{PROFILE_MARK}({name!r}): no such profile{nearest(name, known)}"
            )
