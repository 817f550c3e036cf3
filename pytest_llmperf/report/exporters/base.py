"""The seam for further outputs of a run: an exporter is one class, returned by ``pytest_llmperf_exporters``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.gates.judgement import Policy
from pytest_llmperf.gates.run_verdict import RunVerdict
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.home import shown
from pytest_llmperf.record.store import write_whole

if TYPE_CHECKING:
    import pytest


@dataclass(frozen=True)
class LocatedVerdict:
    """A verdict with its test (pytest's node id) and its line in the suite.

    ``file`` is relative to the repository; ``line`` counts from 1, 0 where it is not known. ``candidate`` is the row
    that the test is repeated for, empty where it is not repeated.
    """

    verdict: Verdict
    test: str
    file: str = ""
    line: int = 0
    candidate: str = ""


@dataclass(frozen=True)
class RunResults:
    """The ledger's account of a run at its end."""

    gates: Sequence[LocatedVerdict]
    """Every verdict in the order of the tests; a test that judged nothing has an INVALID one."""
    verdict: RunVerdict
    about: Mapping[str, str]
    """``candidate`` (several: separated by commas), ``baseline``, ``profile`` and ``device``."""
    policy: Policy = "fail"
    """``fail``: an INCONCLUSIVE gate makes the run red; ``warn``: it does not."""
    problems: Sequence[str] = ()
    """Why the run as a whole is red, besides its gates."""
    notes: Sequence[str] = ()
    """What there is to say of the waivers: those that end soon, can go, or match no test. Nothing in it is red."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Paths of the ``record`` and the ``page``, where they were written."""
    finished_s: float = 0.0
    """Seconds since the epoch."""
    relevant: bool = True
    """False for a session that neither asked about a model nor for a file."""

    @property
    def title(self) -> str:
        return title_of(self.about)

    @property
    def candidates(self) -> Sequence[str]:
        """The rows that were judged."""
        return [name for name in self.about.get("candidate", "").split(",") if name]


def title_of(about: Mapping[str, str]) -> str:
    """Return ``distill against math``."""
    return f"{about.get('candidate', '').replace(',', ', ')} against {about.get('baseline', '')}"


class Exporter:
    """Hands the results of a run to another tool. Override what is needed; nothing here has to be called.

    With pytest-xdist only ``test_ended`` is called in the workers, everything else in the controlling process.
    An exception in any method but ``begin`` is told at the end of the run and makes it red, since what the exporter
    left may be of an earlier run.
    """

    name: str = ""
    """For messages; the class's name if empty."""
    asked: bool = False
    """True if the user asked for this output by an option: then even a session without a single gate is judged."""

    def begin(self, about: Mapping[str, str]) -> None:
        """Prepare before the first test: mark the output as unfinished. Raise :class:`UsageError` to refuse the run."""

    def test_ended(self, report: pytest.TestReport, verdicts: Sequence[Verdict]) -> None:
        """Look at the last report of a test that asks about a model, in the process that ran it."""

    def finish(self, results: RunResults) -> str:
        """Write the output, and return a line for the end of the run, or an empty string.

        Called again, and to replace what it has written, if something changed the results later (a file that could
        not be written makes the run INVALID).
        """
        del results
        return ""

    def log_lines(self, results: RunResults) -> Iterable[str]:
        """Return lines to print after everything else, for a CI service that reads the log."""
        del results
        return ()


class FileExporter(Exporter, ABC):
    """Writes one text file, atomically: unfinished before the first test, whole at the end."""

    def __init__(self, name: str, path: Path, option: str = "") -> None:
        """``option`` is the command-line option by which the file was asked for, if it was."""
        self.name, self.path, self._option = name, path, option
        self.asked = bool(option)

    @abstractmethod
    def text(self, results: RunResults) -> str:
        """Return what the file is to contain."""

    def unfinished(self, about: Mapping[str, str]) -> str:
        """Return what the file contains until the run has ended."""
        return f"UNFINISHED: {title_of(about)}: the run has not come to its end\n"

    def begin(self, about: Mapping[str, str]) -> None:
        try:
            write_whole(self.path, self.unfinished(about))
        except LlmperfError as error:
            why = f"{self._option or self.name} {self.path} cannot be written: {error.__cause__ or error}"
            raise UsageError(why) from error

    def finish(self, results: RunResults) -> str:
        try:
            write_whole(self.path, self.text(results))
        except LlmperfError as error:
            raise LlmperfError(f"no {self.name} at {shown(self.path)}: {error.__cause__ or error}") from error
        return f"{self.name}: {shown(self.path)}"
