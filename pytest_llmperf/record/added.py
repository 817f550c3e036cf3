"""An earlier run to which this one adds its data: which look this is, and what the gates had then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest_llmperf
from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.early_stopping import spending
from pytest_llmperf.home import shown
from pytest_llmperf.record.case_files import KeptCase, load_cases
from pytest_llmperf.record.store import read_record

_SAME = ("profile", "device", "baseline")
"""What two runs must have in common, apart from their rows and what they send."""


@dataclass(frozen=True)
class Added:
    """The looks before this one, and the gates of the last of them."""

    path: Path
    record: Mapping[str, Any] = field(repr=False)
    kept: Sequence[KeptCase] = field(repr=False)
    spent: tuple[float, ...]
    """The error of each look, this one last."""
    chain: Sequence[Mapping[str, str]]
    """Names and checksums of the records that were added to, the oldest first."""

    @property
    def look(self) -> int:
        """Number of this look; the first run was number 1."""
        return len(self.spent)

    def with_data(self, test: str, gate: Gate, nth: int) -> Gate:
        """Return ``gate`` with the data of the ``nth`` (from 0) gate of ``test`` that asked the same, if any."""
        same = [kept for kept in self.kept if kept.test == test and gate.same_question(kept.case)]
        # A test may ask the same twice with two bounds; a bound that was not asked then is refused by add_to.
        fitting = [kept for kept in same if kept.case.bound == gate.bound] or same
        if nth >= len(fitting):
            return gate
        return gate.add_to(fitting[nth].case, fitting[nth].status, self.spent)

    def other_engine(self, engines: Mapping[str, str]) -> str:
        """Why this run's servers are not those of the record, by row; empty if they are."""
        for one in self.record.get("servers", ()):
            then, now = one.get("engine"), engines.get(one["row"])
            if then is not None and now is not None and then != now:
                return f"{shown(self.path)} is of {one['row']} on {then}, this run is on {now}: start anew"
        return ""

    def asked(self, task: str, variant: str) -> int:
        """How many items of a task were asked in the looks before, of the row that was asked the most."""
        answers = self._answers(task, variant)
        return max((int(one.get("before", 0)) + int(one["items"]) for one in answers), default=0)

    def data_differ(self, task: str, variant: str, described: str, sha256_of_first: Any) -> str:
        """Why the items are not those that were asked then; empty if they are. ``sha256_of_first(n)`` is theirs."""
        for one in self._answers(task, variant):
            n = int(one.get("before", 0)) + int(one["items"])
            if one["data"] != described or one["items_sha256"] != sha256_of_first(n):
                what = f"other items of {task}, or in another order ({one['data']})"
                return f"{shown(self.path)} asked {what}: its data cannot be added to"
        return ""

    def _answers(self, task: str, variant: str) -> list[Mapping[str, Any]]:
        answers = self.record.get("answers", ())
        return [one for one in answers if (one["task"], one["variant"]) == (task, variant)]


def read_added(path: Path, facts: Mapping[str, Any], candidates: Sequence[str]) -> Added:
    """The record at ``path``, to which a run with these ``facts`` adds.

    Raises :class:`UsageError`, one line, if it is no record, keeps no data, was the last of the looks that were
    announced, or is not of the same device, rows and budgets' profile.
    """
    option = f"--llmperf-add={shown(path)}"
    try:
        record = read_record(path)
    except LlmperfError as error:
        raise UsageError(f"{option}: {error}") from error
    kept = load_cases(path, record)
    if trouble := _incomparable(record, facts, candidates):
        raise UsageError(f"{option}: {trouble}; start anew without it")
    look, declared = int(record.get("look", 1)) + 1, record.get("looks")
    if declared is not None and look > declared:
        raise UsageError(f"{option}: it was the last of the {declared} looks that --llmperf-looks announced")
    file = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return Added(path, record, kept, spending(look, declared), [*record.get("adds_to", ()), file])


def _incomparable(record: Mapping[str, Any], facts: Mapping[str, Any], candidates: Sequence[str]) -> str:
    """Why the data of a record and of a run with ``facts`` are not of one kind; empty if they are."""
    facts = json.loads(json.dumps(facts))  # lists where it has tuples, as the record does
    for key in _SAME:
        if key in record and record[key] != facts[key]:
            return f"{key} was {_short(record[key])} then and is {_short(facts[key])} now"
    if unknown := [name for name in candidates if name not in record.get("candidates", ())]:
        return f"it did not judge {unknown[0]}"
    then = record.get("rows")
    if then is None:
        return "it does not say how its rows were served"
    for name, fingerprint in facts["rows"].items():
        if then.get(name) != fingerprint:
            return (
                f"row {name} of the catalogue is not what it was then (weights, revision, arguments, sampling)"
                f"{_written_by(record)}"
            )
    for name, content in facts.get("content", {}).items():
        known = (record.get("content") or {}).get(name)
        if known is not None and content is not None and known != content:
            return (
                f"the files of row {name} are not what they were then (weights, or a file in its arguments)"
            )
    for load in record.get("load", ()):
        if load["workload"] != facts["workload"]:
            return "its speed suites sent other requests"
    return ""


def _written_by(record: Mapping[str, Any]) -> str:
    """That another version of the plugin wrote the record, if so: its rows may have had other keys."""
    environment = record.get("environment")
    version = environment.get("plugin") if isinstance(environment, Mapping) else None
    if version in (None, pytest_llmperf.__version__):
        return ""
    return f", or the record is of another version of pytest-llmperf ({version})"


def _short(value: Any) -> str:
    return str(value.get("name", value)) if isinstance(value, Mapping) else str(value)
