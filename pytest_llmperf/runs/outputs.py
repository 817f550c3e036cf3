"""The files that a run writes, and its comparison with a promoted record, which needs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.config.run_config import Settings
from pytest_llmperf.report.exporters.exporters import Exporters
from pytest_llmperf.runs.ledger import Ledger
from pytest_llmperf.runs.recording import Recording
from pytest_llmperf.runs.reference import Referenced, references_of

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Record


class Outputs:
    """Record, page and exporters' files; whatever cannot be written becomes a problem in the ledger."""

    def __init__(
        self, config: pytest.Config, settings: Settings, ledger: Ledger, recording: Recording
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._recording = recording
        self._record = settings.record
        self._referenced = Referenced.of(config)
        self.exporters = Exporters(config, settings, ledger)

    @property
    def asked(self) -> bool:
        """True if this run is to leave a file that says what came of it."""
        return self._record is not None or self.exporters.asked

    @property
    def notes(self) -> list[str]:
        """Lines for the end of the run: the comparison, the files, and those that could not be written."""
        compared = self._referenced.lines if self._referenced else []
        return [note for note in (*compared, self._recording.note, *self.exporters.notes) if note]

    def begin(self) -> None:
        """Write every file as unfinished, so that none of an earlier run is taken for this one's.

        Raises :class:`UsageError` if one cannot be written.
        """
        self._recording.begin()
        self.exporters.begin()

    def write(self, interruption: str) -> None:
        """Write everything, the record first: the others say where it is, or that it could not be written.

        ``interruption`` says why the run ended before its tests did; empty if it did not.
        """
        finished: dict[str, Path] | None = {}
        if self._record is not None:
            finished = self._recording.finish(interruption, references_of(self._config), self._compare)
            if finished is None:
                self._ledger.problem("the record could not be written")
        if not self.exporters.finish(finished or {}):
            self._ledger.problem("an output of the run could not be written")
            self.write_again(interruption)

    def write_again(self, interruption: str) -> None:
        """Write all files anew, after something has changed the verdict of the run."""
        finished: dict[str, Path] | None = {}
        if self._record is not None:
            finished = self._recording.finish(interruption, references_of(self._config))
        self.exporters.finish(finished or {})

    def _compare(self, record: Record) -> None:
        if self._referenced is not None and self._record is not None:
            self._referenced.compare(self._record, record)
            self._ledger.compared = self._referenced.why
