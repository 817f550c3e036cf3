"""Where a run's verdicts go beside pytest's own report: a CI's summary and annotations, JUnit, Prometheus."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.record.store import write_whole
from pytest_llmperf.report.elsewhere import github, junit, markdown, openmetrics
from pytest_llmperf.report.elsewhere.told import Told

if TYPE_CHECKING:
    import pytest

    from pytest_llmperf.settings import Settings

_PLACE = "llmperf_place"
"""Name under which a report carries file and line of its verdicts: an attribute of it, so that xdist sends it."""

_ANNOTATES_ALREADY = "pytest_github_actions_annotate_failures"


def note_line(item: pytest.Item, call: pytest.CallInfo[None], known: int) -> int:
    """The line of the suite (from 1) at which ``call`` failed; ``known`` if it did not."""
    if call.excinfo is None:
        return known
    here = [entry.lineno + 1 for entry in call.excinfo.traceback if Path(entry.path) == item.path]
    return here[-1] if here else known


def put_place(item: pytest.Item, report: pytest.TestReport, line: int) -> None:
    """Give the last report of a test its place: ``line``, or where the test begins if that is 0."""
    report.__dict__[_PLACE] = (str(item.path), line or (item.location[1] or 0) + 1)


def put_properties(report: pytest.TestReport, verdicts: list[Verdict]) -> None:
    """Add what a JUnit report is to show of ``verdicts``."""
    report.user_properties += [entry for verdict in verdicts for entry in junit.of_gate(verdict)]


class Outlets:
    """Collects the verdicts of a run with their places, and hands them out at its end."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._told: list[Told] = []
        self.notes: list[str] = []
        """What was written, and what could not be, for the end of the run."""

    @property
    def history(self) -> list[Path]:
        """Where earlier records lie, beside the directory of this one."""
        directory = self._config.getoption("llmperf_history")
        return [Path(directory)] if directory else []

    @property
    def tests(self) -> list[str]:
        """The test of each verdict, by node id."""
        return [one.test for one in self._told]

    def add(self, verdict: Verdict, report: pytest.TestReport) -> None:
        file, line = getattr(report, _PLACE, ("", 0))
        within = github.in_repository(Path(file), os.environ, self._config.rootpath) if file else ""
        self._told.append(Told(verdict, report.nodeid, within, line))

    def write(self, finished: Mapping[str, Path]) -> bool:
        """All files; ``finished`` names those that exist already. False if one that was asked for is not there."""
        if not self._told:
            return True
        about = self._about() | {name: str(path) for name, path in finished.items()}
        self._to_junit(about)
        policy = self._settings.inconclusive
        text = markdown.summary(self._told, policy, self._title(), about)
        asked: list[tuple[str, str | None, Callable[[], str]]] = [
            ("Markdown", self._config.getoption("llmperf_markdown"), lambda: text),
            ("metrics", self._config.getoption("llmperf_metrics"), self._metrics),
        ]
        written = [self._write(name, path, made()) for name, path, made in asked if path]
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            self._append(Path(summary), text)
        return all(written)

    def annotations(self) -> list[str]:
        """Lines for GitHub's log; none elsewhere, or where another plugin annotates the failures already."""
        if os.environ.get("GITHUB_ACTIONS") != "true" or self._config.pluginmanager.hasplugin(
            _ANNOTATES_ALREADY
        ):
            return []
        return github.commands(self._told, self._settings.inconclusive)

    def _metrics(self) -> str:
        return openmetrics.metrics(self._told, self._settings.inconclusive, self._about(), time.time())

    def _title(self) -> str:
        return f"{', '.join(one.name for one in self._settings.candidates)} against {self._settings.baseline.name}"

    def _about(self) -> dict[str, str]:
        settings = self._settings
        return {
            "candidate": ",".join(one.name for one in settings.candidates),
            "baseline": settings.baseline.name,
            "profile": settings.profile.name,
            "device": settings.device_name,
        }

    def _to_junit(self, about: Mapping[str, str]) -> None:
        """pytest's public way is a fixture, which knows nothing of the end of a run, nor of xdist's controller."""
        verdicts = [one.verdict for one in self._told]
        for plugin in self._config.pluginmanager.get_plugins():
            add: Callable[[str, str], None] | None = getattr(plugin, "add_global_property", None)
            if add is not None:
                for name, value in junit.of_run(verdicts, self._settings.inconclusive, about):
                    add(name, value)

    def _write(self, name: str, path: str, text: str) -> bool:
        try:
            write_whole(Path(path), text)
        except LlmperfError as error:
            self.notes.append(f"no {name} at {path}: {error.__cause__ or error}")
            return False
        self.notes.append(f"{name}: {path}")
        return True

    def _append(self, path: Path, text: str) -> None:
        try:
            with path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(text + "\n")
        except OSError as error:
            self.notes.append(f"no summary for GitHub at {path}: {error.strerror}")
