"""All exporters of a run: the built-in ones and those of other plugins, called with what the ledger says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import LlmperfError, first_line
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.home import shown
from pytest_llmperf.report.exporters.base import Exporter, LocatedVerdict, RunResults
from pytest_llmperf.report.exporters.github import GithubExporter, in_repository
from pytest_llmperf.report.exporters.junit import JunitExporter
from pytest_llmperf.report.exporters.markdown import MarkdownExporter
from pytest_llmperf.report.exporters.prometheus import PrometheusExporter

if TYPE_CHECKING:
    import pytest

    from pytest_llmperf.config.run_config import Settings
    from pytest_llmperf.runs.ledger import Ledger


class Exporters:
    """Calls every exporter, and keeps what is to be printed at the end of the run."""

    def __init__(self, config: pytest.Config, settings: Settings, ledger: Ledger) -> None:
        self._config = config
        self._ledger = ledger
        self.notes: list[str] = []
        """The files that were written, and those that could not be."""
        self.log_lines: list[str] = []
        """Lines for a CI service, after everything else."""
        self._about = {
            "candidate": ",".join(model.name for model in settings.candidates),
            "baseline": settings.baseline.name,
            "profile": settings.profile.name,
            "device": settings.device_name,
        }
        self._exporters = [*_built_in(config)]

    @property
    def asked(self) -> bool:
        """True if the user asked for a file."""
        return any(exporter.asked for exporter in self._exporters)

    def begin(self) -> None:
        """Let the built-in exporters prepare; raises :class:`UsageError` for a file that cannot be written."""
        for exporter in self._exporters:
            exporter.begin(self._about)

    def add_foreign(self, *, begin: bool) -> None:
        """Add the exporters of conftest.py files and other plugins, and let them prepare; raises as :meth:`begin`."""
        for exporters in self._config.hook.pytest_llmperf_exporters(config=self._config):
            for exporter in exporters:
                if begin:
                    exporter.begin(self._about)
                self._exporters.append(exporter)

    def test_ended(self, report: pytest.TestReport, verdicts: Sequence[Verdict]) -> None:
        for exporter in self._exporters:
            try:
                exporter.test_ended(report, verdicts)
            except Exception as error:  # The test has ended as it has; the run as a whole says what failed.
                self._ledger.problem(_failure(exporter, error))

    def finish(self, files: Mapping[str, Path]) -> bool:
        """Write every output; ``files`` are written already. False if an exporter failed."""
        self.notes.clear()
        self.log_lines.clear()
        results = self._read_ledger(files)
        good = True
        for exporter in self._exporters:
            try:
                note = exporter.finish(results)
                self.log_lines += exporter.log_lines(results)
            except Exception as error:  # All others must still be written.
                good, note = False, _failure(exporter, error)
            self.notes += [note] if note else []
        return good

    def _read_ledger(self, files: Mapping[str, Path]) -> RunResults:
        ledger, root = self._ledger, self._config.rootpath

        def within(file: str) -> str:
            return in_repository(Path(file), os.environ, root) if file else ""

        return RunResults(
            gates=[
                LocatedVerdict(verdict, entry.test, within(entry.file), entry.place, entry.candidate)
                for entry, verdict in ledger.verdicts()
            ],
            verdict=ledger.verdict(),
            about=self._about,
            policy=ledger.policy,
            problems=[*ledger.problems, *([ledger.compared] if ledger.compared else [])],
            notes=ledger.notes,
            files={name: shown(path) for name, path in files.items()},
            finished_s=time.time(),
            relevant=bool(ledger.entries)
            or self.asked
            or self._config.getoption("llmperf_record") is not None,
        )


def _built_in(config: pytest.Config) -> Iterator[Exporter]:
    if path := config.getoption("llmperf_markdown"):
        yield MarkdownExporter("Markdown", Path(path), "--llmperf-markdown")
    if path := config.getoption("llmperf_metrics"):
        yield PrometheusExporter("metrics", Path(path), "--llmperf-metrics")
    yield GithubExporter(config)
    yield JunitExporter(config)


def _failure(exporter: Exporter, error: Exception) -> str:
    if isinstance(error, LlmperfError):
        return str(error)
    return f"exporter {exporter.name or type(exporter).__name__} failed: {first_line(error)}"
