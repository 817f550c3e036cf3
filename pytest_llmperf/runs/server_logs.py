"""The logs of a run's servers, which stay in pytest's cache after the run's directory is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.record.redaction import redact_log
from pytest_llmperf.runs.answer_keeping import cache_directory


class ServerLogs:
    """The servers' logs below ``state_root``, and their copies in pytest's cache, which the next run replaces."""

    def __init__(self, config: pytest.Config, state_root: Path) -> None:
        self._config = config
        self._state_root = state_root

    def keep(self) -> None:
        """Copy every log, redacted, into pytest's cache; nothing where there is no cache."""
        directory = cache_directory(self._config, "llmperf-logs")
        logs = sorted(self._state_root.glob("*/server.log"))
        if directory is None or not logs:
            return
        for file in directory.glob("*.log"):
            file.unlink()
        for log in logs:
            text = log.read_text(encoding="utf-8", errors="replace")
            self._kept(log).write_text(redact_log(text), encoding="utf-8")

    def with_kept_paths(self, text: str) -> str:
        """Return ``text`` with the logs' paths as they will be after the run."""
        for log in self._state_root.glob("*/server.log"):
            text = text.replace(str(log), str(self._kept(log)))
        return text

    def _kept(self, log: Path) -> Path:
        directory = cache_directory(self._config, "llmperf-logs")
        return log if directory is None else directory / f"{log.parent.name}.log"
