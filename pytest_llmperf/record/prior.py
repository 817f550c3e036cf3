"""An earlier run's record as an input of this one: the looks that a run adds its data to, and a basis for planning."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import pytest_llmperf
from pytest_llmperf.errors import LlmperfError, UsageError, first_line
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.early_stopping import spending
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.home import shown
from pytest_llmperf.json_values import JsonObject, list_of, object_of
from pytest_llmperf.record.gate_files import RecordedGate, load_gates
from pytest_llmperf.record.store import read_record

if TYPE_CHECKING:
    from pytest_llmperf.record.model import AnswersEntry, LoadEntry, Record

# Further looks


@dataclass(frozen=True)
class PriorLooks:
    """The looks before this one, and the gates of the last of them."""

    path: Path
    record: Record = field(repr=False)
    kept: Sequence[RecordedGate] = field(repr=False)
    spent: tuple[float, ...]
    """Error probability of each look, this one last."""
    chain: Sequence[Mapping[str, str]]
    """Name (``file``) and ``sha256`` of each record that was added to, the oldest first."""

    @property
    def look(self) -> int:
        """Number of this look; the first run was number 1."""
        return len(self.spent)

    def with_data(self, test: str, gate: Gate, nth: int) -> Gate:
        """Return ``gate`` with the data of the ``nth`` (from 0) gate of ``test`` that asked the same, if any."""
        same = [kept for kept in self.kept if kept.test == test and gate.same_question(kept.gate)]
        # A test may ask the same twice with two bounds; a bound that was not asked then is refused by add_to.
        fitting = [kept for kept in same if kept.gate.bound == gate.bound] or same
        if nth >= len(fitting):
            return gate
        return gate.add_to(fitting[nth].gate, fitting[nth].status, self.spent)

    def other_engine(self, engines: Mapping[str, str]) -> str:
        """Why this run's servers (engine by entry) are not those of the record; empty if they are."""
        for server in self.record.servers:
            now = engines.get(server.row)
            if server.engine is not None and now is not None and server.engine != now:
                return f"{shown(self.path)} is of {server.row} on {server.engine}, this run is on {now}: start anew"
        return ""

    def asked(self, task: str, variant: str) -> int:
        """Items of a task that the earlier looks asked, of the entry that was asked most."""
        return max((entry.before + entry.items for entry in self._answers(task, variant)), default=0)

    def data_differ(
        self, task: str, variant: str, described: str, sha256_of_first: Callable[[int], str]
    ) -> str:
        """Why the items are not those of the earlier looks; empty if they are.

        ``sha256_of_first(n)`` is the checksum of this run's first ``n`` items.
        """
        for entry in self._answers(task, variant):
            if entry.data != described or entry.items_sha256 != sha256_of_first(entry.before + entry.items):
                what = f"other items of {task}, or in another order ({entry.data})"
                return f"{shown(self.path)} asked {what}: its data cannot be added to"
        return ""

    def _answers(self, task: str, variant: str) -> list[AnswersEntry]:
        return [entry for entry in self.record.answers if (entry.task, entry.variant) == (task, variant)]


def read_prior_looks(path: Path, facts: JsonObject, candidates: Sequence[str]) -> PriorLooks:
    """Read the record at ``path``, to which a run with these ``facts`` adds.

    Raises :class:`UsageError`, one line, if it is no record, keeps no data, was the last of the looks that were
    announced, or is of another device, profile or entries.
    """
    option = f"--llmperf-add={shown(path)}"
    try:
        record = read_record(path)
    except LlmperfError as error:
        raise UsageError(f"{option}: {error}") from error
    kept = load_gates(path, record)
    if trouble := incomparable(record, facts, candidates):
        raise UsageError(f"{option}: {trouble}; start anew without it")
    look, declared = record.look + 1, record.looks
    if declared is not None and look > declared:
        raise UsageError(f"{option}: it was the last of the {declared} looks that --llmperf-looks announced")
    chain = [{"file": link.file, "sha256": link.sha256} for link in record.adds_to]
    chain.append({"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    return PriorLooks(path, record, kept, spending(look, declared), chain)


def incomparable(record: Record, facts: JsonObject, candidates: Sequence[str]) -> str:
    """Why the data of ``record`` and of a run with ``facts`` cannot be pooled; empty if they can."""
    then = record.as_json()
    facts = json.loads(json.dumps(facts))  # lists where it has tuples, as the record does
    for key in ("profile", "placement", "device", "baseline"):
        if key in then and then[key] != facts[key]:
            return f"{key} was {_short(then[key])} then and is {_short(facts[key])} now"
    if unknown := [name for name in candidates if name not in record.candidates]:
        return f"it did not judge {unknown[0]}"
    if not record.rows:
        return "it does not say how its rows were served"
    for name, fingerprint in object_of(facts["rows"]).items():
        if record.rows.get(name) != fingerprint:
            return (
                f"row {name} of the catalogue is not what it was then (weights, revision, arguments, sampling)"
                f"{_written_by(record)}"
            )
    for name, content in object_of(facts.get("content")).items():
        known = record.content.get(name)
        if known is not None and content is not None and known != content:
            return (
                f"the files of row {name} are not what they were then (weights, or a file in its arguments)"
            )
    loads = map(object_of, list_of(then.get("load")))
    if any(load.get("workload") != facts["workload"] for load in loads):
        return "its speed suites sent other requests"
    return ""


def _written_by(record: Record) -> str:
    """Name the version of the plugin that wrote the record if it is another: its entries may have had other keys."""
    version = record.environment.plugin
    if version in (None, pytest_llmperf.__version__):
        return ""
    return f", or the record is of another version of pytest-llmperf ({version})"


def _short(value: Any) -> str:
    return str(value.get("name", value)) if isinstance(value, Mapping) else str(value)


# Planning

_OF_THE_MODEL = {"share", "points"}
"""Units of what does not depend on the machine."""

PhaseKind = Literal["starts", "answers", "long answers", "texts", "fidelity", "load", "scheduled loads"]


@dataclass(frozen=True)
class Phase:
    """Something that takes time and is done once, however many gates need it.

    ``key`` distinguishes phases of a kind: task and variant, concurrency and lengths, or purpose and schedule.
    ``amount`` is in items or rounds.
    """

    kind: PhaseKind
    row: str
    key: tuple[str | int, ...] = ()
    amount: int = 1

    def __str__(self) -> str:
        if self.kind == "scheduled loads":
            return " ".join([self.row, *map(str, self.key[:2])])
        return " ".join([self.row, *map(str, self.key)]) if self.key else f"{self.kind} of {self.row}"


def prompt_tokens(phase: Phase) -> int:
    """Tokens of each generated prompt of a phase; 0 where it has none of a stated length."""
    if phase.kind != "long answers":
        return 0
    number, _, noun = str(phase.key[-1]).partition(" ")
    return int(number) if noun == "tokens" and number.isdecimal() else 0


@dataclass(frozen=True)
class Duration:
    """Seconds by kind of phase, and the phases without a recorded time.

    ``estimated``: phases whose time follows from that of prompts of another length, with the prompt tokens a second.
    """

    seconds: Mapping[PhaseKind, float]
    unknown: Sequence[Phase]
    estimated: Sequence[tuple[Phase, float]] = ()

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True)
class PlanningRecord:
    """A record as a source for planning: what its gates saw, and how long each phase took."""

    path: Path
    record: Record = field(repr=False)
    verdicts: Sequence[Verdict] = field(repr=False)

    @property
    def device(self) -> str:
        return self.record.device.name

    def verdict(self, gate: Gate, device: str) -> Verdict | None:
        """The verdict of the same gate, of several the one with most data; None without one.

        A record of another device only tells what depends on the model and not on the machine.
        """
        if device != self.device and gate.verdict_unit not in _OF_THE_MODEL:
            return None
        same = [
            verdict
            for verdict in self.verdicts
            if (verdict.metric, verdict.unit) == (gate.label, gate.verdict_unit)
            and verdict.observed is not None
        ]
        # A gate that was decided early knows less of the discordance than the one that saw all items.
        return max(same, key=lambda verdict: verdict.n, default=None)

    def kv_cache_tokens(self, row: str) -> int | None:
        """Tokens that the key-value cache of a row held; None if its server did not tell."""
        told = [server.milestones for server in self.record.servers if server.row == row]
        return next((each.kv_cache_tokens for each in told if each and each.kv_cache_tokens), None)

    def duration(self, phases: Iterable[Phase]) -> Duration:
        """Durations in the recorded run, scaled to the planned amounts."""
        seconds: dict[PhaseKind, float] = {}
        unknown, estimated = [], []
        for phase in phases:
            each = self._seconds_each(phase)
            rate = self._prompt_tokens_per_s(phase) if each is None else None
            if rate is not None:
                estimated.append((phase, rate))
                each = prompt_tokens(phase) / rate
            if each is None:
                unknown.append(phase)
            else:
                seconds[phase.kind] = seconds.get(phase.kind, 0.0) + each * phase.amount
        return Duration(seconds, unknown, estimated)

    def _prompt_tokens_per_s(self, phase: Phase) -> float | None:
        """Prompt tokens a second of the row's recorded prompts whose length is nearest; None without any."""
        wanted = prompt_tokens(phase)
        asked = [
            (entry.tokens, entry.asked * entry.tokens / entry.seconds)
            for entry in self.record.long_answers
            if wanted and entry.row == phase.row and entry.tokens and entry.asked and entry.seconds
        ]
        return min(asked, key=lambda each: abs(math.log(each[0] / wanted)), default=(0, None))[1]

    def _conversation_s(
        self, row: str, name: str, turns: int, prompt_tokens: int, answer_tokens: int, pauses_ms: int
    ) -> float | None:
        """Seconds of one round of conversations; None if a turn of theirs is not recorded.

        Turns follow each other, with pauses between them; those of recorded sessions overlap, and the longest counts.
        """
        found: list[float] = []
        on_schedule = False
        for turn in range(1, turns + 1):
            windows: list[float] = []
            for load in self.record.scheduled_load:
                shape = load.workload
                if (
                    (load.row, load.purpose) == (row, "conversations")
                    and (shape.input_tokens, shape.output_tokens) == (prompt_tokens, answer_tokens)
                    and (shape.given or "").startswith(f"turn {turn} of conversations {name}, ")
                ):
                    windows += [each.window_s or 0.0 for each in load.rounds]
                    on_schedule = load.schedule is not None
            if not windows:
                return None
            found.append(sum(windows) / len(windows))
        return max(found) if on_schedule else sum(found) + pauses_ms / 1e3

    def _seconds_each(self, phase: Phase) -> float | None:
        """Seconds of one start, item or round; None if they are not recorded."""
        record, row, key = self.record, phase.row, phase.key
        asked: Iterator[tuple[float | None, int | None]]
        match phase.kind:
            case "starts":
                ready = [server.ready_s for server in record.servers if server.row == row]
                return max((seconds for seconds in ready if seconds is not None), default=None)
            case "answers":
                asked = ((e.seconds, e.items) for e in record.answers if e.key == (row, *key))
            case "load":
                return next((_mean_window_s(load) for load in record.load if _is_load(load, phase)), None)
            case "scheduled loads":
                purpose, *schedule = key
                if purpose == "conversations":
                    name, *numbers = schedule
                    return self._conversation_s(row, str(name), *map(int, numbers))
                windows = [
                    each.window_s or 0.0
                    for load in record.scheduled_load
                    if (load.row, load.purpose) == (row, purpose)
                    and (not schedule or load.schedule == schedule[0])
                    for each in load.rounds
                ]
                return sum(windows) if windows else None
            case "texts":
                asked = (
                    (e.seconds, e.documents) for e in record.perplexity if (e.row, e.texts) == (row, *key)
                )
            case "fidelity":
                asked = (
                    ((e.answering_s or 0.0) + (e.scoring_s or 0.0), e.answers)
                    for e in record.fidelity
                    if (e.row, e.task, e.sampling) == (row, *key)
                )
            case "long answers":
                what = " ".join(map(str, key))
                asked = ((e.seconds, e.asked) for e in record.long_answers if (e.row, e.what) == (row, what))
        return next((seconds / count for seconds, count in asked if seconds is not None and count), None)


def _is_load(load: LoadEntry, phase: Phase) -> bool:
    concurrency, *lengths = phase.key
    recorded = [load.workload.input_tokens, load.workload.output_tokens]
    if lengths and None not in recorded and recorded != lengths:
        return False
    return (load.row, load.concurrency) == (phase.row, concurrency) and bool(load.rounds)


def _mean_window_s(load: LoadEntry) -> float:
    return fmean(each.window_s or 0.0 for each in load.rounds)


def read_planning_record(path: Path, profile: str) -> PlanningRecord:
    """Read the record at ``path``; :class:`UsageError`, one line, if there is none or it is of another profile."""
    option = f"--llmperf-plan={shown(path)}"
    if not path.is_file():
        raise UsageError(f"{option}: no such file; to plan without a record put --llmperf-plan last")
    try:
        record = read_record(path)
    except LlmperfError as error:
        raise UsageError(f"{option}: not the record of a run ({first_line(error)})") from error
    if record.profile != profile:
        raise UsageError(f"{option}: the record is of the profile {record.profile}, this run is of {profile}")
    return PlanningRecord(path, record, record.judged)
