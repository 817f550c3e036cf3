"""Summarise the facts of a run: every metric with its interval, and what the run cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmperf.json_values import Json
from pytest_llmperf.record.by_identity import ByIdentity
from pytest_llmperf.stats import binomial, clustered_quantile, order_statistics

if TYPE_CHECKING:
    from pytest_llmperf.record.model import AnswersEntry, LoadEntry, Record

CONFIDENCE = 0.95
"""Confidence of each end of an interval alone, as everywhere in this package: both ends make a 90 % interval."""

_TIMES = (
    ("ttft_p50", "ttft_s", 0.5),
    ("ttft_p95", "ttft_s", 0.95),
    ("tpot_p50", "tpot_s", 0.5),
    ("e2el_p50", "e2el_s", 0.5),
    ("e2el_p95", "e2el_s", 0.95),
)
"""Name of the metric, series of each round, and quantile."""


class MetricSummary:
    """The record's ``metrics``. Those of entries that are the same objects as before are not computed again."""

    def __init__(self) -> None:
        self._of_answers = ByIdentity(_of_answers)
        self._of_load = ByIdentity(_of_load)

    def of(self, facts: Record) -> list[dict[str, Json]]:
        """Return accuracies of all answers, times and throughputs of all loads."""
        loads: dict[tuple[str, str], list[LoadEntry]] = {}
        for load in facts.load:
            # Several starts of one server are one load.
            loads.setdefault((load.row, _name(load)), []).append(load)
        found = [
            *map(self._of_answers, facts.answers),
            *(self._of_load(*starts) for starts in loads.values()),
        ]
        self._of_answers.forget_unused()
        self._of_load.forget_unused()
        return [metric for metrics in found for metric in metrics]


@dataclass
class _Cost:
    row: str
    answers: int = 0
    requests: int = 0
    completion_tokens: int | None = 0
    seconds: float = 0.0
    joules: float | None = None


def costs(facts: Record) -> list[dict[str, Json]]:
    """The record's ``costs``, by entry: answers, requests, tokens, seconds, and joules where a device was sampled."""
    rows: dict[str, _Cost] = {}
    for asked in facts.answers:
        cost = rows.setdefault(asked.row, _Cost(asked.row))
        cost.answers += sum(asked.outcomes.values())
        cost.completion_tokens = _sum(cost.completion_tokens, asked.completion_tokens)
        cost.seconds += asked.seconds or 0.0
    for load in facts.load:
        cost = rows.setdefault(load.row, _Cost(load.row))
        for round_ in load.rounds:
            cost.requests += round_.requests
            cost.completion_tokens = _sum(cost.completion_tokens, round_.output_tokens)
            cost.seconds += round_.window_s or 0.0
    for sampled in facts.telemetry:
        if sampled.energy_j is not None:
            cost = rows.setdefault(sampled.row, _Cost(sampled.row))
            cost.joules = (cost.joules or 0.0) + sampled.energy_j
    return [asdict(cost) | {"seconds": round(cost.seconds, 3)} for cost in rows.values()]


def _sum(so_far: int | None, more: int | None) -> int | None:
    """None as soon as one count is not known: a sum without it would look like one with it."""
    return None if so_far is None or more is None else so_far + more


@dataclass(frozen=True)
class RightAnswers:
    """The share of right answers of an entry of the record's ``answers``, with the sampling error of its counts."""

    right: int
    answers: int
    items: int
    """Sample size of the interval: answers to one item are correlated, and count as one at least."""

    @classmethod
    def of(cls, outcomes: Mapping[str, int], items: int, samples: int) -> RightAnswers | None:
        """Build from the counts of an entry; None if every answer was lost to the infrastructure."""
        answers = sum(outcomes.values()) - outcomes.get("infra", 0)
        if not answers:
            return None
        return cls(outcomes.get("correct", 0), answers, answers if samples == 1 else min(answers, items))

    @property
    def share(self) -> float:
        return self.right / self.answers

    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's, each end one-sided at 95 %."""
        successes = self.share * self.items
        return (
            binomial.clopper_pearson_lower(successes, self.items, CONFIDENCE),
            binomial.clopper_pearson_upper(successes, self.items, CONFIDENCE),
        )


def accuracy_interval(entry: AnswersEntry) -> tuple[float, float] | None:
    """Return the interval of an entry's accuracy wherever it is shown, each end one-sided at 95 %.

    None without an answer, and where asking stopped before all planned items: such counts stop when they look clear, so
    that only the interval of the gate that stopped them holds.
    """
    found = RightAnswers.of(entry.outcomes, entry.items, entry.samples)
    return None if found is None or 0 < entry.items < entry.planned else found.interval()


def _of_answers(entry: AnswersEntry) -> list[dict[str, Json]]:
    found = RightAnswers.of(entry.outcomes, entry.items, entry.samples)
    if found is None:
        return []
    accuracy: dict[str, Json] = {
        "row": entry.row,
        "metric": "accuracy",
        "of": f"{entry.task}, {entry.variant}",
        "value": found.share,
        "interval": list(accuracy_interval(entry) or (None, None)),
        "n": found.items,
        "unit": "share",
        "better": "higher",
    }
    return [accuracy]


def _of_load(*starts: LoadEntry) -> list[dict[str, Json]]:
    about: dict[str, Json] = {"row": starts[0].row, "of": _name(starts[0])}
    rounds = [each for load in starts for each in load.rounds]
    found = []
    for metric, series, q in _TIMES:
        groups = [[time for time in getattr(each, series) if time is not None] for each in rounds]
        if groups := [times for times in groups if times]:
            found.append(about | {"metric": metric, "unit": "s", "better": "lower"} | _quantile(groups, q))
    rates = [
        each.output_tokens / each.window_s
        for each in rounds
        if each.output_tokens is not None and each.window_s
    ]
    if rates:
        ends = order_statistics.bounds(rates, 0.5, CONFIDENCE)
        value: dict[str, Json] = {"value": median(rates), "interval": list(ends), "n": len(rates)}
        found.append(about | {"metric": "throughput", "unit": "tok/s", "better": "higher"} | value)
    return found


def _name(load: LoadEntry) -> str:
    at = f"{load.concurrency} at a time" if load.concurrency else "on a schedule"
    return f"{at}, {load.workload.input_tokens} → {load.workload.output_tokens} tokens"


def _quantile(groups: Sequence[Sequence[float]], q: float) -> dict[str, Json]:
    """The samples of one round share what happened on the machine in it: they are a cluster."""
    samples = [value for group in groups for value in group]
    *ends, _ = clustered_quantile.bounds(groups, q, CONFIDENCE)
    return {"value": order_statistics.quantile(samples, q), "interval": ends, "n": len(samples)}
