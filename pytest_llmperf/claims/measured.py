"""What a run's record holds against a claim: a value with its bounds, or nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from pytest_llmperf.claims.averaging import of_answers
from pytest_llmperf.claims.claim import Claim, Kind
from pytest_llmperf.claims.measurement import Measurement
from pytest_llmperf.errors import UsageError
from pytest_llmperf.record.summing import RightAnswers
from pytest_llmperf.record.tables import load_answers
from pytest_llmperf.stats import hodges_lehmann, order_statistics


@dataclass(frozen=True)
class Evidence:
    """A record, read for claims. ``path``: the file that it was read from, beside which its answers lie."""

    record: Mapping[str, Any]
    path: Path | None = None

    @property
    def device(self) -> str:
        """As NVML names it; ``CPU`` without a GPU."""
        return str(self.record.get("device", {}).get("name", "")) or "CPU"

    def must_be_of(self, profile: str) -> None:
        """:class:`UsageError` for a record that is about other models than the claims."""
        if (theirs := self.record.get("profile")) != profile:
            raise UsageError(
                f"the record is of the profile {theirs}, the claims are about the models of the profile {profile}; "
                f"record a run with --llmperf-profile={profile}"
            )

    def answers_are_noise(self, row: str) -> bool:
        """The server's weights were random numbers, so that only its speed and memory mean something."""
        return any(
            server["row"] == row and "--load-format dummy" in str(server.get("command", "")).replace("=", " ")
            for server in self.record.get("servers", ())
        )

    def beside(self, claim: Claim) -> str:
        """What the record saw of something that arithmetic has decided already; empty if nothing."""
        if claim.kind == "context":
            filled = [
                int(one["prompt_tokens"]) + int(one["completion_tokens"])
                for one in self.record.get("contexts", ())
                if one["row"] == claim.model.name and one["ok"]
            ]
            if filled:
                engine = self._engine(claim.model.name)
                return f"{engine} on {self.device} answered a request of {max(filled):,} tokens together"
        if claim.kind == "starts":
            for one in self.record.get("refused_starts", ()):
                if (one["row"], one["asked"]) == (claim.model.name, claim.written) and not one["started"]:
                    said = re.sub(r"^\(\w+ pid=\d+\)\s*", "", one["said"]).partition(" [type=")[0]
                    return f"{self._engine(claim.model.name)} on {self.device} ended with: {said[:160]}"
        if claim.kind == "served id":
            for one in self.record.get("served_ids", ()):
                if one["row"] == claim.model.name and one["started_on"] == claim.model.weights:
                    return f"{one['engine']} on {self.device}, started so, names it {', '.join(one['ids'])}"
        if claim.kind == "size":
            row = claim.model.name if claim.stored.bits is None else f"{claim.model.name}-{claim.stored.name}"
            if (loaded := self._loaded_bytes(row)) is not None:
                return f"loaded on {self.device} it takes {loaded / 1e9:.2f} GB"
        return ""

    def _engine(self, row: str) -> str:
        engines = [one.get("engine") for one in self.record.get("servers", ()) if one["row"] == row]
        return str(next(filter(None, engines), "the engine"))

    def of(self, claim: Claim) -> Measurement | None:
        """What was measured of the claim's quantity; None if the record has nothing of it."""
        # A quantised build is a row of its own: distill-int8.
        row = claim.model.name if claim.stored.bits is None else f"{claim.model.name}-{claim.stored.name}"
        if claim.kind == "ratio":
            assert claim.of is not None
            assert claim.against is not None
            if claim.of == "accuracy":
                return self._retention(claim, row, claim.against.name)
            return self._ratio(claim.of, row, claim.against.name, claim.concurrency)
        if claim.kind == "averaging":
            noise = self.answers_are_noise(row)
            return (
                None
                if noise or self.path is None
                else of_answers(claim, load_answers(self.path, self.record))
            )
        if claim.kind == "accuracy":
            return None if self.answers_are_noise(row) else self._accuracy(row, claim.key, claim.variant)
        if claim.kind == "gate":
            return None if self.answers_are_noise(row) else self._verdict(claim.key, claim.unit)
        return self._level(claim.kind, row, claim.concurrency)

    def _level(self, kind: Kind, row: str, concurrency: int) -> Measurement | None:
        if kind in ("speed", "first token"):
            values = [value for value in self._rounds(kind, row, concurrency) if value is not None]
            return _median(values, f"{len(values)} rounds") if values else None
        if kind == "cold start":
            return self._cold_start(row)
        if kind == "peak memory":
            return self._memory(row) or self._memory_by_parts(row)
        return None

    def _cold_start(self, row: str) -> Measurement | None:
        """Of each start that had the machine for itself: what is started beside others shares cores with them."""
        mine = [one for one in self.record.get("servers", ()) if one["row"] == row and one.get("alone", True)]
        starts = [
            float(seconds)
            for one in mine
            for seconds in one.get("every_ready_s") or [one.get("ready_s")]
            if seconds is not None
        ]
        what = f"{len(starts)} start{'s' * (len(starts) > 1)}"
        if any(one.get("lean") for one in mine):
            what += " without compilation and graphs"
        if self.answers_are_noise(row):
            what += ", no weights to read"
        return _median(starts, what) if starts else None

    def _rounds(self, kind: Kind, row: str, concurrency: int) -> list[float | None]:
        """For each round tokens per second, or the median time to first token; None for one with errors."""
        rounds = [
            one
            for load in self.record.get("load", ())
            if (load["row"], load["concurrency"]) == (row, concurrency) and self._is_usual(load)
            for one in load["rounds"]
        ]
        return [None if one["errors"] else _of_round(kind, one) for one in rounds]

    def _is_usual(self, load: Mapping[str, Any]) -> bool:
        """Whether a load is of the profile's lengths: one that a test chose for itself is of another kind."""
        sizes, workload = self.record.get("sizes") or {}, load.get("workload") or {}
        usual = (sizes.get("prompt_tokens"), sizes.get("answer_tokens"))
        own = (workload.get("input_tokens"), workload.get("output_tokens"))
        return None in (*usual, *own) or own == usual

    def _ratio(self, kind: Kind, row: str, against: str, concurrency: int) -> Measurement | None:
        if kind in ("speed", "first token"):
            ours, theirs = (self._rounds(kind, name, concurrency) for name in (row, against))
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
        quotient = _quotient(self._level(kind, row, concurrency), self._level(kind, against, concurrency))
        return quotient and replace(quotient, what=f"{quotient.n} start{'s' * (quotient.n > 1)} of each")

    def _retention(self, claim: Claim, row: str, against: str) -> Measurement | None:
        """The share of the other's accuracy that is left, each asked as its row promises."""
        if self.answers_are_noise(row) or self.answers_are_noise(against):
            return None
        ours, theirs = (self._accuracy(name, claim.key, claim.variant) for name in (row, against))
        quotient = _quotient(ours, theirs)
        if quotient is None or ours is None or theirs is None:
            return None
        return replace(quotient, what=f"{100 * ours.value:.1f} % against {100 * theirs.value:.1f} %")

    def _memory(self, row: str) -> Measurement | None:
        """The device's peak, which one start shows as well as ten: the engine takes what it is told to take."""
        least = [one for one in self.record.get("memory", ()) if one["row"] == row]
        if least:
            peaks = [float(one["peak_bytes"]) for one in least]
            told = (
                f"{len(peaks)} start{'s' * (len(peaks) > 1)}, cache for {least[0]['cache_tokens']:,} tokens"
            )
            if (kind := least[0].get("kind", "device memory")) != "device memory":
                told += f", {kind}"
            return Measurement(max(peaks), min(peaks), max(peaks), len(peaks), told)
        for verdict in self.record.get("verdicts", ()):
            if verdict["metric"] != "peak device memory ratio":
                continue
            of_side = {
                self._candidate: verdict["candidate"],
                self.record.get("baseline"): verdict["baseline"],
            }
            if (value := of_side.get(row)) is not None:
                return Measurement(float(value), float(value), float(value), 1, "one start")
        return None

    def _memory_by_parts(self, row: str) -> Measurement | None:
        """Of a quantised build: its weights as they were loaded, and what the plain build takes beside its own."""
        plain = row.partition("-")[0]
        whole = None if plain == row else self._memory(plain)
        ours, theirs = self._loaded_bytes(row), self._loaded_bytes(plain)
        if whole is None or ours is None or theirs is None:
            return None
        beside = whole.value - theirs
        told = (
            f"{ours / 1e9:.2f} GB of weights as they were loaded, and the {beside / 1e9:.2f} GB that the plain "
            f"build took beside its {theirs / 1e9:.2f} GB: {whole.what}"
        )
        return Measurement(ours + beside, ours + beside, ours + beside, whole.n, told)

    def _loaded_bytes(self, row: str) -> float | None:
        """What the engine's log says that the weights take, of the start that took most."""
        loaded = [
            float(one["milestones"]["model_bytes"])
            for one in self.record.get("servers", ())
            if one["row"] == row and one.get("milestones", {}).get("model_bytes")
        ]
        return max(loaded, default=None)

    @property
    def _candidate(self) -> str | None:
        names = self.record.get("candidates", ())
        return names[0] if len(names) == 1 else None

    def _accuracy(self, row: str, task: str, variant: str) -> Measurement | None:
        for one in self.record.get("answers", ()):
            if (one["row"], one["task"], one["variant"]) != (row, task, variant):
                continue
            found = RightAnswers.of(one)
            if found is None:
                return None
            what = (
                f"{found.right:,} of {found.answers:,} items"
                if found.items == found.answers
                else f"{found.right:,} of {found.answers:,} answers to {found.items:,} items"
            )
            return Measurement(found.share, *found.interval(), found.items, what)
        return None

    def _verdict(self, metric: str, unit: str) -> Measurement | None:
        if not metric:
            return None
        for one in self.record.get("verdicts", ()):
            if (one["metric"], one["unit"]) == (metric, unit) and one["observed"] is not None:
                low, high = one["interval"] or (None, None)
                return Measurement(float(one["observed"]), low, high, one["n"], f"n = {one['n']:,}")
        return None


def _quotient(ours: Measurement | None, theirs: Measurement | None) -> Measurement | None:
    """Bounds of a quotient from those of its parts: wider than need be, and never too narrow at 90 %."""
    if ours is None or theirs is None or theirs.value == 0.0:
        return None
    low = None if ours.low is None or theirs.high is None else ours.low / theirs.high
    high = None if ours.high is None or not theirs.low else ours.high / theirs.low
    n = min(ours.n, theirs.n)
    return Measurement(ours.value / theirs.value, low, high, n, "", max(ours.least_n, theirs.least_n))


def _of_round(kind: Kind, one: Mapping[str, Any]) -> float | None:
    if kind == "first token":
        return median(one["ttft_s"]) if one["ttft_s"] else None
    return one["output_tokens"] / one["window_s"] if one["output_tokens"] and one["window_s"] else None


def _median(values: Sequence[float], what: str) -> Measurement:
    low, high = order_statistics.bounds(values, 0.5)
    return Measurement(
        order_statistics.quantile(values, 0.5), low, high, len(values), what, order_statistics.least_n(0.5)
    )
