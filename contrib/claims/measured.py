"""Evidence on a claim from a run's record: a value with its bounds, or nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from contrib.claims.averaging import of_answers
from contrib.claims.claim import Build, Claim, Kind
from contrib.claims.measurement import Measurement
from contrib.claims.record import (
    DEVICE_MEMORY,
    ClaimsRecord,
    LoadOf,
    LoadRound,
    read_claims_record,
)
from pytest_llmperf.errors import UsageError
from pytest_llmperf.home import shown
from pytest_llmperf.record import SCHEMA
from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.summary import RightAnswers
from pytest_llmperf.record.tables import load_answers
from pytest_llmperf.stats import hodges_lehmann, order_statistics

_PEAK_MEMORY = f"peak {DEVICE_MEMORY} ratio"
"""The metric of a run's gate on memory; a run's record has the peaks nowhere else."""


def load_evidence(path: Path) -> Evidence:
    """The record of a run, or one that a script wrote for claims alone and that lacks the rest of a run's record.

    Raises :class:`UsageError`, one line, if it cannot be read or is of another schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{shown(path)} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{shown(path)} is not a record: {error}") from None
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise UsageError(f"{shown(path)}: schema is {schema!r}, claims read {SCHEMA!r}")
    return Evidence(record, path)


@dataclass(frozen=True)
class Evidence:
    """A record, read for claims. ``path``: the file that it was read from, beside which its answers lie.

    Raises :class:`UsageError` where :func:`~contrib.claims.record.read_claims_record` does.
    """

    record: Mapping[str, Any]
    path: Path | None = None

    def __post_init__(self) -> None:
        # A mistake in the file is told before anything is decided by it.
        _ = self.facts

    @cached_property
    def facts(self) -> ClaimsRecord:
        """Facts of the record that a claim can be judged by."""
        return read_claims_record(self.record, self.path)

    @property
    def device(self) -> str:
        """As NVML names it; ``CPU`` without a GPU."""
        return self.facts.device.name or "CPU"

    def must_be_of(self, profile: str) -> None:
        """:class:`UsageError` for a record that is about other models than the claims."""
        if (theirs := self.facts.profile) != profile:
            raise UsageError(
                f"the record is of the profile {theirs}, the claims are about the models of the profile {profile}; "
                f"record a run with --llmperf-profile={profile}"
            )

    def answers_are_noise(self, build: Build) -> bool:
        """The server's weights were random numbers, so that only its speed and memory mean something."""
        return any(start.is_noise for start in self.facts.starts_of(build))

    def beside(self, claim: Claim) -> str:
        """Observation of the record on a claim that arithmetic has already decided; empty if there is none."""
        plain = Build(claim.model.name)
        on = f"on {self.device}"
        if claim.kind == "context":
            filled = [
                (request.prompt_tokens or 0) + (request.completion_tokens or 0)
                for request in self.facts.contexts
                if request.is_of(plain) and request.ok
            ]
            if filled:
                return f"{self._engine(plain)} {on} answered a request of {max(filled):,} tokens together"
        if claim.kind == "starts":
            for refusal in self.facts.refused_starts:
                if refusal.is_of(plain) and refusal.asked == claim.written and not refusal.started:
                    words = re.sub(r"^\(\w+ pid=\d+\)\s*", "", refusal.said).partition(" [type=")[0]
                    return f"{self._engine(plain)} {on} ended with: {words[:160]}"
        if claim.kind == "served id":
            for names in self.facts.served_ids:
                if names.is_of(plain) and names.started_on == claim.model.weights:
                    return f"{names.engine} {on}, started so, names it {', '.join(names.ids)}"
        if claim.kind == "size" and (loaded := self._loaded_bytes(claim.build)) is not None:
            return f"loaded {on} it takes {loaded / 1e9:.2f} GB"
        return ""

    def _engine(self, build: Build) -> str:
        return next((start.engine for start in self.facts.starts_of(build) if start.engine), "the engine")

    def of(self, claim: Claim) -> Measurement | None:
        """Measurement of the claim's quantity; None if the record has none."""
        build = claim.build
        if claim.kind == "ratio":
            assert claim.of is not None
            assert claim.against is not None
            against = Build(claim.against.name)
            if claim.of == "accuracy":
                return self._retention(claim, build, against)
            return self._ratio(claim.of, build, against, claim.concurrency)
        if claim.kind == "averaging":
            if self.path is None or "answers_file" not in self.record or self.answers_are_noise(build):
                return None
            return of_answers(claim, load_answers(self.path, read_record(self.path)))
        if claim.kind == "accuracy":
            return None if self.answers_are_noise(build) else self._accuracy(build, claim.key, claim.variant)
        if claim.kind == "gate":
            return None if self.answers_are_noise(build) else self._verdict(claim.key, claim.unit)
        return self._level(claim.kind, build, claim.concurrency)

    def _level(self, kind: Kind, build: Build, concurrency: int) -> Measurement | None:
        if kind in ("speed", "first token"):
            values = [value for value in self._rounds(kind, build, concurrency) if value is not None]
            return _median(values, f"{len(values)} rounds") if values else None
        if kind == "cold start":
            return self._cold_start(build)
        if kind == "peak memory":
            return self._memory(build) or self._memory_by_parts(build)
        return None

    def _cold_start(self, build: Build) -> Measurement | None:
        """Median of the starts that had the machine for themselves: a start beside others shares cores with them."""
        alone = [start for start in self.facts.starts_of(build) if start.alone]
        seconds = [each for start in alone for each in start.seconds_to_ready]
        what = f"{len(seconds)} start{'s' * (len(seconds) > 1)}"
        if any(start.lean for start in alone):
            what += " without compilation and graphs"
        if self.answers_are_noise(build):
            what += ", no weights to read"
        return _median(seconds, what) if seconds else None

    def _rounds(self, kind: Kind, build: Build, concurrency: int) -> list[float | None]:
        """For each round tokens per second, or the median time to first token; None for one with errors."""
        rounds = [
            each
            for load in self.facts.load
            if load.is_of(build) and load.concurrency == concurrency and self._is_usual(load)
            for each in load.rounds
        ]
        return [None if each.errors else _of_round(kind, each) for each in rounds]

    def _is_usual(self, load: LoadOf) -> bool:
        """True if a load has the profile's lengths: one that a test chose for itself is of another kind."""
        sizes, requests = self.facts.sizes, load.workload
        if sizes is None or requests is None:
            return True
        usual = (sizes.prompt_tokens, sizes.answer_tokens)
        own = (requests.input_tokens, requests.output_tokens)
        return None in (*usual, *own) or own == usual

    def _ratio(self, kind: Kind, build: Build, against: Build, concurrency: int) -> Measurement | None:
        if kind in ("speed", "first token"):
            ours, theirs = (self._rounds(kind, side, concurrency) for side in (build, against))
            if len(ours) != len(theirs):
                return None
            logs = [
                math.log(one / other)
                for one, other in zip(ours, theirs, strict=True)
                if one is not None and other is not None
            ]
            if not logs:
                return None
            least = hodges_lehmann.least_n()
            low, high = hodges_lehmann.bounds(logs) if len(logs) >= least else (None, None)
            return Measurement(
                math.exp(hodges_lehmann.estimate(logs)),
                None if low is None else math.exp(low),
                None if high is None else math.exp(high),
                len(logs),
                f"{len(logs)} interleaved rounds",
                least,
            )
        quotient = _quotient(self._level(kind, build, concurrency), self._level(kind, against, concurrency))
        return quotient and replace(quotient, what=f"{quotient.n} start{'s' * (quotient.n > 1)} of each")

    def _retention(self, claim: Claim, build: Build, against: Build) -> Measurement | None:
        """The share of the other's accuracy that is left, each asked as its row promises."""
        if self.answers_are_noise(build) or self.answers_are_noise(against):
            return None
        ours, theirs = (self._accuracy(side, claim.key, claim.variant) for side in (build, against))
        quotient = _quotient(ours, theirs)
        if quotient is None or ours is None or theirs is None:
            return None
        return replace(quotient, what=f"{100 * ours.value:.1f} % against {100 * theirs.value:.1f} %")

    def _memory(self, build: Build) -> Measurement | None:
        """The device's peak, which one start shows as well as ten: the engine takes what it is told to take."""
        if least := [peak for peak in self.facts.memory if peak.is_of(build)]:
            peaks = [peak.peak_bytes for peak in least]
            starts = f"{len(peaks)} start{'s' * (len(peaks) > 1)}"
            kind = "" if least[0].kind == DEVICE_MEMORY else f", {least[0].kind}"
            what = f"{starts}, cache for {least[0].cache_tokens:,} tokens{kind}"
            return Measurement(max(peaks), min(peaks), max(peaks), len(peaks), what)
        for verdict in self.facts.verdicts:
            if verdict.metric != _PEAK_MEMORY:
                continue
            of_side = {
                self.facts.only_candidate: verdict.candidate,
                self.facts.baseline: verdict.baseline,
            }
            if (value := of_side.get(build.row)) is not None:
                return Measurement(value, value, value, 1, "one start")
        return None

    def _memory_by_parts(self, build: Build) -> Measurement | None:
        """Memory of a quantised build: its loaded weights, and what the plain build takes besides its own weights."""
        plain = Build(build.model)
        whole = None if plain == build else self._memory(plain)
        ours, theirs = self._loaded_bytes(build), self._loaded_bytes(plain)
        if whole is None or ours is None or theirs is None:
            return None
        beside = whole.value - theirs
        what = (
            f"{ours / 1e9:.2f} GB of weights as they were loaded, and the {beside / 1e9:.2f} GB that the plain "
            f"build took beside its {theirs / 1e9:.2f} GB: {whole.what}"
        )
        return Measurement(ours + beside, ours + beside, ours + beside, whole.n, what)

    def _loaded_bytes(self, build: Build) -> float | None:
        """Size of the weights by the engine's log, of the start that took most."""
        logs = [start.milestones for start in self.facts.starts_of(build) if start.milestones is not None]
        return max((log.model_bytes for log in logs if log.model_bytes), default=None)

    def _accuracy(self, build: Build, task: str, variant: str) -> Measurement | None:
        for counts in self.facts.answers:
            if not counts.is_of(build) or (counts.task, counts.variant) != (task, variant):
                continue
            right = RightAnswers.of(counts.outcomes or {}, counts.items or 0, counts.samples)
            if right is None:
                return None
            what = (
                f"{right.right:,} of {right.answers:,} items"
                if right.items == right.answers
                else f"{right.right:,} of {right.answers:,} answers to {right.items:,} items"
            )
            return Measurement(right.share, *right.interval(), right.items, what)
        return None

    def _verdict(self, metric: str, unit: str) -> Measurement | None:
        if not metric:
            return None
        for verdict in self.facts.verdicts:
            if (verdict.metric, verdict.unit) == (metric, unit) and verdict.observed is not None:
                low, high = verdict.interval or (None, None)
                return Measurement(verdict.observed, low, high, verdict.n, f"n = {verdict.n:,}")
        return None


def _quotient(ours: Measurement | None, theirs: Measurement | None) -> Measurement | None:
    """Bounds of a quotient from those of its parts: wider than need be, and never too narrow at 90 %."""
    if ours is None or theirs is None or theirs.value == 0.0:
        return None
    low = None if ours.low is None or theirs.high is None else ours.low / theirs.high
    high = None if ours.high is None or not theirs.low else ours.high / theirs.low
    n = min(ours.n, theirs.n)
    return Measurement(ours.value / theirs.value, low, high, n, "", max(ours.least_n, theirs.least_n))


def _of_round(kind: Kind, each: LoadRound) -> float | None:
    if kind == "first token":
        return median(each.ttft_s) if each.ttft_s else None
    return each.output_tokens / each.window_s if each.output_tokens and each.window_s else None


def _median(values: Sequence[float], what: str) -> Measurement:
    low, high = order_statistics.bounds(values, 0.5)
    return Measurement(
        order_statistics.quantile(values, 0.5), low, high, len(values), what, order_statistics.least_n(0.5)
    )
