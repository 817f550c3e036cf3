"""A mutation test of a recorded run: its data are damaged and judged again. Starts no server and runs no test."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.config.run_config import Options, Settings, resolve
from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.gates.mutation import Result, mutation_test
from pytest_llmperf.record.gate_files import RecordedGate, load_gates
from pytest_llmperf.record.store import read_record
from pytest_llmperf.report.mutation_table import MutatedGate, complaints, mutation_table, result_counts
from pytest_llmperf.runs.asking import asks
from pytest_llmperf.runs.dry_run import DryRun, refuse_workers

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from pytest_llmperf.record.model import Record


def configure(config: pytest.Config, options: Options) -> MutationRun:
    """Return the run of ``--llmperf-mutation-test``. Raises ``UsageError`` if the record or the options don't allow it.

    Profile and rows are those of the record unless others are asked for, since they are part of the tests' names; the
    machine need not be the one that recorded.
    """
    for other in ("record", "plan"):
        if config.getoption(f"llmperf_{other}", default=None) is not None:
            raise UsageError(f"--llmperf-mutation-test measures nothing and goes without --llmperf-{other}")
    refuse_workers(config, "--llmperf-mutation-test runs no test")
    path = Path(config.getoption("llmperf_mutation_test"))
    record = _read(path)
    kept = load_gates(path, record)
    options = dataclasses.replace(
        options,
        profile=options.profile or record.profile,
        model=options.model or record.candidates,
        baseline=options.baseline or (record.baseline or None),
    )
    return MutationRun(config, resolve(options, None, "CPU"), kept)


class MutationRun(DryRun):
    """Mutation-tests the recorded gates of the selected tests."""

    def __init__(self, config: pytest.Config, settings: Settings, kept: Sequence[RecordedGate]) -> None:
        super().__init__(config, settings)
        self.kept = kept
        self.gates: list[MutatedGate] = []
        self._without: list[str] = []
        """Selected tests without a gate in the record."""

    def look_at(self, items: list[pytest.Item]) -> int:
        selected = {item.nodeid for item in items}
        kept = [recorded for recorded in self.kept if recorded.test in selected]
        for number, recorded in enumerate(kept, start=1):
            self._progress(f"mutation-testing gate {number} of {len(kept)}: {recorded.gate.label}")
            self.gates.append(self._tested(recorded))
        with_gates = {recorded.test for recorded in kept}
        self._without = [item.nodeid for item in items if asks(item) and item.nodeid not in with_gates]
        # A mutation test of nothing is not green.
        return sum(not gate.mutation.green for gate in self.gates) or int(not self.gates)

    def _tested(self, kept: RecordedGate) -> MutatedGate:
        claim = self.settings.budget.budgets.claim_of(kept.gate.origin)
        damage, bound = (claim.damage, claim.bound) if claim else (None, None)
        return MutatedGate(kept.test, mutation_test(kept.gate, kept.status, claim=damage, now=bound))

    def report(self, reporter: TerminalReporter) -> None:
        reporter.section("llmperf mutation test")
        for line in mutation_table(self.gates):
            self.screen.line(reporter, line.text, **line.markup)
        for complaint in complaints(self.gates):
            self.screen.say(reporter, complaint, red=True)
        nothing = "nothing was tested, the record has no gate of the selected tests"
        self.screen.say(reporter, result_counts(self.gates) or nothing)
        if self.gates and all(gate.mutation.result is Result.UNCLAIMED for gate in self.gates):
            self.screen.say(reporter, "no gate claims to catch anything: write catches into budgets.toml")
        if self._without:
            named = ", ".join(self._without)
            self.screen.say(
                reporter, f"{len(self._without)} selected tests have no gate in the record: {named}"
            )
        if others := len(self.kept) - len(self.gates):
            self.screen.say(reporter, f"{others} gates of the record are of tests that were not selected")


def _read(path: Path) -> Record:
    try:
        return read_record(path)
    except LlmperfError as error:
        raise UsageError(f"--llmperf-mutation-test {error}") from error
