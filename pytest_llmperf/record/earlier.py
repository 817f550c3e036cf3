"""An earlier run as a source for planning: what its gates saw, and how long each part of it took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pytest_llmperf.errors import LlmperfError, UsageError, first_line
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.home import shown
from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.wire import verdict_from_json

_OF_THE_MODEL = {"share", "points"}
"""Units of what does not depend on the machine."""

PhaseKind = Literal["starts", "answers", "long answers", "texts", "load", "scheduled loads"]


@dataclass(frozen=True)
class Phase:
    """Something that takes time and is done once, however many gates need it.

    ``key`` tells it from others of its kind: task and variant, concurrency, or purpose and schedule.
    ``amount`` is in items or rounds.
    """

    kind: PhaseKind
    row: str
    key: tuple[str | int, ...] = ()
    amount: int = 1

    def __str__(self) -> str:
        return " ".join([self.row, *map(str, self.key)]) if self.key else f"{self.kind} of {self.row}"


@dataclass(frozen=True)
class Duration:
    """Seconds by kind of phase, and the phases of which nothing is recorded."""

    seconds: Mapping[PhaseKind, float]
    unknown: Sequence[Phase]

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Earlier:
    """What planning reads of a record."""

    path: Path
    device: str
    verdicts: Sequence[Verdict] = field(repr=False)
    facts: Mapping[str, Any] = field(repr=False)

    def verdict(self, gate: Gate, device: str) -> Verdict | None:
        """What the same gate saw, with the most data where there were several; None where nothing fits.

        Of another device only what depends on the model and not on the machine.
        """
        if device != self.device and gate.verdict_unit not in _OF_THE_MODEL:
            return None
        same = [
            one
            for one in self.verdicts
            if (one.metric, one.unit) == (gate.label, gate.verdict_unit) and one.observed is not None
        ]
        # A gate that was decided early knows less of the discordance than the one that saw all items.
        return max(same, key=lambda one: one.n, default=None)

    def duration(self, phases: Iterable[Phase]) -> Duration:
        """How long these took then, scaled to what is planned now."""
        seconds: dict[PhaseKind, float] = {}
        unknown = []
        for phase in phases:
            each = self._seconds_each(phase)
            if each is None:
                unknown.append(phase)
            else:
                seconds[phase.kind] = seconds.get(phase.kind, 0.0) + each * phase.amount
        return Duration(seconds, unknown)

    def _seconds_each(self, phase: Phase) -> float | None:
        """Of one start, item or round; None if the record does not say."""
        match phase.kind:
            case "starts":
                starts = [one for one in self.facts.get("servers", ()) if one["row"] == phase.row]
                known = [one["ready_s"] for one in starts if one.get("ready_s") is not None]
                return max(known, default=None)
            case "answers":
                for one in self.facts.get("answers", ()):
                    if (one["row"], one["task"], one["variant"]) == (phase.row, *phase.key) and one["items"]:
                        return float(one["seconds"]) / float(one["items"])
            case "load":
                concurrency, *lengths = phase.key
                for one in self.facts.get("load", ()):
                    workload = one.get("workload") or {}
                    recorded = [workload.get("input_tokens"), workload.get("output_tokens")]
                    if lengths and None not in recorded and recorded != lengths:
                        continue
                    if (one["row"], one["concurrency"]) == (phase.row, concurrency) and one["rounds"]:
                        return fmean(float(each["window_s"]) for each in one["rounds"])
            case "scheduled loads":
                purpose, *schedule = phase.key
                return self._seconds_on_schedule(phase.row, purpose, schedule)
            case "texts":
                for one in self.facts.get("perplexity", ()):
                    if (one["row"], one["texts"]) == (phase.row, *phase.key) and one["documents"]:
                        return float(one["seconds"]) / float(one["documents"])
            case "long answers":
                for one in self.facts.get("long_answers", ()):
                    if (one["row"], one["what"]) == (phase.row, " ".join(map(str, phase.key))) and one[
                        "asked"
                    ]:
                        return float(one["seconds"]) / float(one["asked"])
        return None

    def _seconds_on_schedule(
        self, row: str, purpose: str | int, schedule: Sequence[str | int]
    ) -> float | None:
        """Of all loads of that purpose (and schedule, where there is one) together."""
        windows = [
            float(one["window_s"])
            for load in self.facts.get("scheduled_load", ())
            if (load["row"], load["purpose"]) == (row, purpose)
            and (not schedule or load["schedule"] == schedule[0])
            for one in load["rounds"]
        ]
        return sum(windows) if windows else None


def read_earlier(path: Path, profile: str) -> Earlier:
    """The record at ``path``; :class:`UsageError`, one line, if there is none or it is of another profile."""
    option = f"--llmperf-plan={shown(path)}"
    if not path.is_file():
        raise UsageError(f"{option}: no such file; to plan without a record put --llmperf-plan last")
    try:
        record = read_record(path)
        verdicts = [verdict_from_json(one) for one in record.get("verdicts", ())]
    except (LlmperfError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{option}: not the record of a run ({first_line(error)})") from error
    if (theirs := record.get("profile")) != profile:
        raise UsageError(f"{option}: the record is of the profile {theirs}, this run is of {profile}")
    return Earlier(path, str(record.get("device", {}).get("name", "")), verdicts, record)
