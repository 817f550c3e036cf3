"""``--llmperf-reference``: the run compared with a promoted record."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.config.options import anchored
from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.home import shown
from pytest_llmperf.record.compare import compare
from pytest_llmperf.record.references import reference_for
from pytest_llmperf.record.tables import load_answers
from pytest_llmperf.report.comparison import comparison_lines, outcome_counts

if TYPE_CHECKING:
    import pytest

    from pytest_llmperf.record.model import Record


def references_of(config: pytest.Config) -> Path:
    """Return the directory of this project's references, whether the run is compared with them or not."""
    return Path(anchored("llmperf_references", config.getini("llmperf_references"), config.rootpath))


@dataclass
class Referenced:
    """The comparison of this run with a reference; ``gaps``: what a missing one does, ``fail`` or ``warn``."""

    directory: Path
    gaps: str
    lines: list[str] = field(default_factory=list)
    """For the end of the run; the first names the reference."""
    why: str = ""
    """Why the run is red beside its reference; empty if it is not."""

    @classmethod
    def of(cls, config: pytest.Config) -> Referenced | None:
        """Return None without the option; raises :class:`UsageError` if the run writes no record to compare, or is
        one of several shards."""
        if not config.getoption("llmperf_reference"):
            return None
        if config.getoption("llmperf_record") is None:
            raise UsageError(
                "--llmperf-reference compares this run's record: give --llmperf-record PATH as well"
            )
        shard = config.getoption("llmperf_shard")
        if shard is not None and not shard.endswith("/1"):
            directory = shown(references_of(config))
            raise UsageError(
                f"--llmperf-reference: this is shard {shard}, and a reference is compared with a whole run, "
                "in which no test is missing; leave it out, merge the shards, and run "
                f"`pytest-llmperf compare {directory}/NAME/record.json merged.json --gaps fail`"
            )
        return cls(references_of(config), config.getoption("llmperf_reference_gaps"))

    def compare(self, path: Path, now: Record) -> None:
        """Compare the record ``now``, whose tables lie beside ``path``."""
        try:
            reference = reference_for(now, self.directory)
            if reference is None:
                promote = f"pytest-llmperf promote {shown(path)} --to {shown(self.directory)}"
                missing = f"no reference of this profile, device and these rows in {shown(self.directory)}"
                self.lines = [f"{missing}; make one: {promote}"]
                self.why = "there is no reference to compare with" if self.gaps == "fail" else ""
                return
            before = reference.record
            found = compare(before, now, load_answers(reference.path, before), load_answers(path, now))
        except LlmperfError as error:
            self.lines = [f"not compared with a reference: {error}"]
            self.why = self.lines[0]
            return
        self.lines = [f"compared with the reference {reference}", *comparison_lines(found)]
        if found.regressed or (self.gaps == "fail" and found.gaps):
            self.why = f"{outcome_counts(found)}, beside the reference {reference}"
