"""The answers that a run keeps on disk while it lasts, and the end that marks them as those of a finished run."""

from __future__ import annotations

import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_llmperf.client.answer_cache import AnswerCache, Reused, finish, reused
from pytest_llmperf.config.run_config import Settings
from pytest_llmperf.json_values import Json
from pytest_llmperf.record.redaction import redact_values


@dataclass
class AnswerKeeping:
    """The log of this process, and the end of the whole run's."""

    log: AnswerCache
    ended: Reused | None = None

    @classmethod
    def of(
        cls, config: pytest.Config, settings: Settings, state_root: Path, process: str
    ) -> AnswerKeeping | None:
        """None where there is no place: pytest's cache is off or not writable, and no directory was given."""
        directory = settings.answers_dir or cache_directory(config, "llmperf-answers")
        if directory is None:
            return None
        run = _run_id(state_root)
        return cls(AnswerCache(directory.absolute(), run, process, settings.reuse, redact_values))

    def end(self, exitstatus: int) -> None:
        """Once all processes of the run have closed their logs: did it come to an end, or was it interrupted?"""
        directory, run = self.log.directory, self.log.run
        self.ended = reused(directory, run)
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) and directory.exists():
            finish(directory, run)

    def facts(self) -> dict[str, Json]:
        """For the record."""
        return (
            {}
            if self.ended is None
            else {"answers_reused": {"count": self.ended.count, "oldest": self.ended.oldest}}
        )

    def notes(self) -> list[str]:
        """For the terminal: nothing that was not asked today may look as if it were."""
        notes = [self.log.complaint] if self.log.complaint else []
        if self.ended is not None and self.ended.count and self.ended.oldest is not None:
            whose = "earlier runs" if self.log.reuse == "all" else "a run that was interrupted"
            minutes = (time.time() - self.ended.oldest) / 60.0
            age = f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.0f} h"
            notes.append(
                f"{self.ended.count:,} answers were not asked for anew: they are those of {whose}, the first came "
                f"{age} ago (--llmperf-reuse=none asks for all)"
            )
        return notes


def cache_directory(config: pytest.Config, name: str) -> Path | None:
    """A directory of ours in pytest's cache; None where the cache is switched off or cannot be written."""
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is None:
        return None
    try:
        directory = cache.mkdir(name)
        # Made by an earlier run, it may be on a file system that is read-only by now.
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except OSError:
        return None


def cache_fails(config: pytest.Config) -> bool:
    """True if there is a cache that cannot be written."""
    return getattr(config, "cache", None) is not None and cache_directory(config, "llmperf-answers") is None


def _run_id(state_root: Path) -> str:
    """The same in every process of a run; the controlling process comes first."""
    path = state_root / "run-id"
    if not path.exists():
        path.write_text(uuid.uuid4().hex)
    return path.read_text()
