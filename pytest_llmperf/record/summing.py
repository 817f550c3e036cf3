"""From the facts of a run to what people compare: every metric with its interval, and what the run has cost. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from pytest_llmperf.stats import binomial, clustered_quantile, order_statistics

CONFIDENCE = 0.95
"""Of each end of an interval by itself, as everywhere in this package: both together are a 90 % interval."""

_TIMES = (
    ("ttft_p50", "ttft_s", 0.5),
    ("ttft_p95", "ttft_s", 0.95),
    ("tpot_p50", "tpot_s", 0.5),
    ("e2el_p50", "e2el_s", 0.5),
    ("e2el_p95", "e2el_s", 0.95),
)
"""Name, the record's series of each round, and the quantile."""


def metrics(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The record's ``metrics``: accuracies of all answers, times and throughputs of all loads."""
    return [*_of_answers(facts), *_of_loads(facts)]


def costs(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The record's ``costs``, by row: answers, requests, tokens, seconds, and joules where a device was sampled."""
    rows: dict[str, dict[str, Any]] = {}

    def row(name: str) -> dict[str, Any]:
        empty = {"answers": 0, "requests": 0, "completion_tokens": 0, "seconds": 0.0, "joules": None}
        return rows.setdefault(name, {"row": name, **empty})

    for one in facts.get("answers", ()):
        cost = row(one["row"])
        cost["answers"] += sum((one.get("outcomes") or {}).values())
        cost["completion_tokens"] = _sum(cost["completion_tokens"], one.get("completion_tokens"))
        cost["seconds"] += one.get("seconds") or 0.0
    for load in facts.get("load", ()):
        cost = row(load["row"])
        for one in load["rounds"]:
            cost["requests"] += one.get("requests") or 0
            cost["completion_tokens"] = _sum(cost["completion_tokens"], one.get("output_tokens"))
            cost["seconds"] += one.get("window_s") or 0.0
    for one in facts.get("telemetry", ()):
        if (joules := _energy(one)) is not None:
            cost = row(one["row"])
            cost["joules"] = (cost["joules"] or 0.0) + joules
    return [one | {"seconds": round(one["seconds"], 3)} for one in rows.values()]


def _sum(so_far: int | None, more: int | None) -> int | None:
    """None as soon as one count is not known: a sum without it would look like one with it."""
    return None if so_far is None or more is None else so_far + more


def _energy(telemetry: Mapping[str, Any]) -> float | None:
    """A number, or readings of a counter."""
    energy = telemetry.get("energy_j")
    if isinstance(energy, int | float):
        return float(energy)
    known = [one for one in energy or () if isinstance(one, int | float)]
    return float(known[-1] - known[0]) if len(known) > 1 else None


@dataclass(frozen=True)
class RightAnswers:
    """The share of right answers of an entry of the record's ``answers``, and what counts alone say of its error."""

    right: int
    answers: int
    items: int
    """What the interval counts: answers to one item resemble each other, and are worth one at least."""

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> RightAnswers | None:
        """None where not one answer says anything about the model."""
        outcomes = entry.get("outcomes") or {}
        answers = sum(outcomes.values()) - outcomes.get("infra", 0)
        if not answers:
            return None
        items = answers if entry.get("samples", 1) == 1 else min(answers, entry["items"])
        return cls(outcomes.get("correct", 0), answers, items)

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


def _of_answers(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for one in facts.get("answers", ()):
        if found := RightAnswers.of(one):
            yield {
                "row": one["row"],
                "metric": "accuracy",
                "of": f"{one['task']}, {one['variant']}",
                "value": found.share,
                "interval": list(found.interval()),
                "n": found.items,
                "unit": "share",
                "better": "higher",
            }


def _of_loads(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    together: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for load in facts.get("load", ()):
        # Several starts of one server are one load.
        together.setdefault((load["row"], _name(load)), []).extend(load["rounds"])
    for (row, name), rounds in together.items():
        about = {"row": row, "of": name}
        for metric, key, q in _TIMES:
            groups = [_numbers(one.get(key)) for one in rounds]
            if groups := [one for one in groups if one]:
                yield about | {"metric": metric, "unit": "s", "better": "lower"} | _quantile(groups, q)
        rates = [
            one["output_tokens"] / one["window_s"]
            for one in rounds
            if one.get("output_tokens") is not None and one.get("window_s")
        ]
        if rates:
            ends = order_statistics.bounds(rates, 0.5, CONFIDENCE)
            value = {"value": median(rates), "interval": list(ends), "n": len(rates)}
            yield about | {"metric": "throughput", "unit": "tok/s", "better": "higher"} | value


def _name(load: Mapping[str, Any]) -> str:
    workload = load.get("workload") or {}
    shape = f"{workload.get('input_tokens')} → {workload.get('output_tokens')} tokens"
    at = f"{load['concurrency']} at a time" if load.get("concurrency") else "on a schedule"
    return f"{at}, {shape}"


def _quantile(groups: Sequence[Sequence[float]], q: float) -> dict[str, Any]:
    """Samples of one round share what happened on the machine in it."""
    samples = [value for group in groups for value in group]
    *ends, _ = clustered_quantile.bounds(groups, q, CONFIDENCE)
    return {"value": order_statistics.quantile(samples, q), "interval": ends, "n": len(samples)}


def _numbers(values: object) -> list[float]:
    return [float(one) for one in values if one is not None] if isinstance(values, list) else []
