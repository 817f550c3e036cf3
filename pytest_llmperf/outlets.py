"""Where a run's verdicts go beside pytest's own report: a CI's summary and annotations, JUnit, Prometheus."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.home import shown
from pytest_llmperf.record.redaction import redact_values
from pytest_llmperf.record.store import write_whole
from pytest_llmperf.record.verdict_json import verdict_to_json
from pytest_llmperf.report.elsewhere import github, junit, markdown, openmetrics
from pytest_llmperf.report.elsewhere.told import Told

if TYPE_CHECKING:
    import pytest

    from pytest_llmperf.config.run_config import Settings
    from pytest_llmperf.runs.ledger import Ledger

_ANNOTATES_ALREADY = "pytest_github_actions_annotate_failures"


def put_properties(report: pytest.TestReport, verdicts: list[Verdict]) -> None:
    """Add what a JUnit report is to show of ``verdicts``: each whole, as JSON, and in words. Nothing reads it back."""
    for verdict in verdicts:
        whole = json.dumps(redact_values(verdict_to_json(verdict)))
        report.user_properties += [("llmperf_verdict", whole), *junit.of_gate(verdict)]


class Outlets:
    """Hands out what the ledger says, as unfinished before the first test and whole at the end."""

    def __init__(self, config: pytest.Config, settings: Settings, ledger: Ledger) -> None:
        self._config = config
        self._settings = settings
        self._ledger = ledger
        self.notes: list[str] = []
        """What was written, and what could not be, for the end of the run."""

    @property
    def history(self) -> list[Path]:
        """Where earlier records lie, beside the directory of this one."""
        directory = self._config.getoption("llmperf_history")
        return [Path(directory)] if directory else []

    @property
    def asked(self) -> bool:
        """Whether a file was asked for."""
        return any(path for _, path in self._paths())

    def begin(self) -> None:
        """Write every file as unfinished. Raises :class:`UsageError` for one that cannot be written."""
        for name, path in self._paths():
            if path:
                try:
                    write_whole(Path(path), self._unfinished(name))
                except LlmperfError as error:
                    raise UsageError(
                        f"--llmperf-{name.lower()} {path} cannot be written: {error.__cause__ or error}"
                    ) from error

    def write(self, finished: Mapping[str, Path]) -> bool:
        """All files; ``finished`` names those that exist already. False if one that was asked for is not there."""
        self.notes.clear()
        about = self._about() | {name: shown(path) for name, path in finished.items()}
        text = markdown.summary(self._told(), self._ledger.verdict(), self._title(), about)
        texts = {"Markdown": text, "metrics": self._metrics()}
        written = [self._write(name, path, texts[name]) for name, path in self._paths() if path]
        if (summary := os.environ.get("GITHUB_STEP_SUMMARY")) and self._ledger.entries:
            self._append(Path(summary), text)
        return all(written)

    def annotations(self) -> list[str]:
        """Lines for GitHub's log; none elsewhere, or where another plugin annotates the failures already."""
        if os.environ.get("GITHUB_ACTIONS") != "true" or self._config.pluginmanager.hasplugin(
            _ANNOTATES_ALREADY
        ):
            return []
        ledger = self._ledger
        whole = [*ledger.problems, *([ledger.compared] if ledger.compared else [])]
        return github.commands(self._told(), ledger.policy, whole)

    def to_junit(self, finished: Mapping[str, Path]) -> None:
        """pytest's public way is a fixture, which knows nothing of the end of a run, nor of xdist's controller."""
        about = self._about() | {name: shown(path) for name, path in finished.items()}
        for plugin in self._config.pluginmanager.get_plugins():
            add: Callable[[str, str], None] | None = getattr(plugin, "add_global_property", None)
            if add is not None and (self._ledger.entries or self.asked):
                for name, value in junit.of_run(self._told(), self._ledger.verdict(), about):
                    add(name, value)

    def _told(self) -> list[Told]:
        """Every verdict with its place in the repository."""
        root = self._config.rootpath

        def within(file: str) -> str:
            return github.in_repository(Path(file), os.environ, root) if file else ""

        return [
            Told(verdict, entry.test, within(entry.file), entry.place)
            for entry, verdict in self._ledger.verdicts()
        ]

    def _paths(self) -> Iterator[tuple[str, str | None]]:
        yield "Markdown", self._config.getoption("llmperf_markdown")
        yield "metrics", self._config.getoption("llmperf_metrics")

    def _unfinished(self, name: str) -> str:
        if name == "Markdown":
            return markdown.unfinished(self._title())
        return openmetrics.unfinished(self._about())

    def _metrics(self) -> str:
        return openmetrics.metrics(self._told(), self._ledger.verdict(), self._about(), time.time())

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

    def _write(self, name: str, path: str, text: str) -> bool:
        try:
            write_whole(Path(path), text)
        except LlmperfError as error:
            self.notes.append(f"no {name} at {shown(path)}: {error.__cause__ or error}")
            return False
        self.notes.append(f"{name}: {shown(path)}")
        return True

    def _append(self, path: Path, text: str) -> None:
        try:
            with path.open("a", encoding="utf-8", errors="replace") as file:
                file.write(text + "\n")
        except OSError as error:
            self.notes.append(f"no summary for GitHub at {path}: {error.strerror}")
