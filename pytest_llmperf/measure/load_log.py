"""The timed loads of a run for its record, noted round by round, so that an interrupted run has them as well."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import fmean
from typing import cast

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.json_values import Json
from pytest_llmperf.load.metrics import all_metrics
from pytest_llmperf.load.results import Metrics, error_kinds, tails, trace_columns
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.server_metrics import together
from pytest_llmperf.load.steady import METHOD, steady_part
from pytest_llmperf.record.tables import TraceRow


@dataclass
class LoggedLoad:
    """The rounds of one row under one load, with one start of its server."""

    row: str
    start: int
    """Number of the pair of starts, from 1."""
    purpose: str
    """``rounds`` of a comparison, ``open loop``, ``conversations``, ``sweep`` or ``max rate``."""
    order_seed: int | None = None
    """Seed from which the order of the sides in the rounds of a comparison was drawn."""
    runs: list[LoadRun] = field(default_factory=list)
    metrics: list[Metrics] = field(default_factory=list)
    one_sided: list[bool] = field(default_factory=list)
    """By round: the other side of the comparison had none beside it."""
    _facts: dict[str, Json] = field(default_factory=dict)
    _told: int = 0
    """Number of rounds that these facts are of."""

    def facts(self) -> dict[str, Json]:
        """The entry of the record, computed once for the rounds that there are. Must not be changed."""
        if self._told != len(self.runs):
            self._facts, self._told = self._computed(), len(self.runs)
        return self._facts

    def _computed(self) -> dict[str, Json]:
        run = self.runs[0]
        clumped = sum(metrics.clumped for metrics in self.metrics)
        return {
            "row": self.row,
            "concurrency": run.concurrency,
            "purpose": self.purpose,
            "start": self.start,
            "order_seed": self.order_seed,
            "workers": max(1, *(len(run.workers) for run in self.runs)),
            "schedule": run.open_loop.schedule if run.open_loop else None,
            # Requests that are all due at once have no rate.
            "rate": run.open_loop.rate_per_s
            if run.open_loop and math.isfinite(run.open_loop.rate_per_s)
            else None,
            "workload": {
                **dataclasses.asdict(dataclasses.replace(run.workload, given=None)),
                "given": repr(run.workload.given) if run.workload.given else None,
            },
            "rounds": [
                {
                    "requests": metrics.requests,
                    "errors": dict(metrics.errors),
                    "window_s": metrics.window_s,
                    "ttft_s": list(metrics.judged("ttft")),
                    "tpot_s": list(metrics.judged("tpot")),
                    "e2el_s": list(metrics.samples["e2el"]),
                    "output_tokens": metrics.output_tokens,
                    "client_cpu_share": run.client.cpu_share,
                    "client_late_share": run.client.late_share,
                    "clumped_share": metrics.clumped_share,
                    "taken_out": metrics.taken_out or None,
                    "one_sided": one_sided,
                    **_totals(metrics),
                }
                for run, metrics, one_sided in zip(self.runs, self.metrics, self.one_sided, strict=True)
            ],
            "tails": tails(self.metrics),
            "error_kinds": error_kinds([trace for run in self.runs for trace in run.traces]),
            "clumped_share": clumped / gaps
            if (gaps := sum(metrics.gaps for metrics in self.metrics))
            else 0.0,
            "delivered_concurrency": fmean(run.delivered_concurrency for run in self.runs),
            "server_metrics": server.facts()
            if (server := together([run.server_samples for run in self.runs]))
            else None,
            "steady": self._steady(),
        }

    def _steady(self) -> dict[str, Json]:
        """The steady part of one long run; rounds of one wave begin and end together, and have none."""
        if len(self.runs) == 1:
            return steady_part(self.runs[0]).facts(self.runs[0])
        why = f"not looked for: {len(self.runs)} short rounds, each with its begin and its end"
        return {"method": METHOD, "found": False, "why": why}


def _totals(metrics: Metrics) -> dict[str, Json]:
    """Numerator and denominator of the metrics that have them; empty where the server tells none."""
    told = {metric.name: metrics.totals(metric) for metric in all_metrics()}
    # A metric of somebody else may give what JSON does not have; its gate refuses it.
    found: dict[str, Json] = {
        name: list(totals)
        for name, totals in told.items()
        if totals is not None and all(map(math.isfinite, totals))
    }
    return {"totals": found} if found else {}


class LoadLog:
    """All loads of this process."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, int | str, str, int, str], LoggedLoad] = {}
        self._fresh: list[tuple[LoggedLoad, int]] = []
        """Entry and round number of the requests that :meth:`take_rows` has not returned yet."""
        self._told: dict[int, dict[str, Json]] = {}
        """The last facts of each load, by the identity of its entry."""

    def note(
        self,
        row: str,
        run: LoadRun,
        metrics: Metrics,
        start: int = 1,
        *,
        purpose: str = "rounds",
        order_seed: int | None = None,
        one_sided: bool = False,
    ) -> None:
        """One more round; ``one_sided``: the other side of the comparison had none beside it."""
        arrivals = f"{len(run.traces)} of {run.open_loop.schedule}" if run.open_loop else run.concurrency
        # Two schedules that are the same may carry other prompts.
        key = (row, arrivals, repr(run.workload), start, purpose)
        load = self._noted.setdefault(key, LoggedLoad(row, start, purpose, order_seed=order_seed))
        self._fresh.append((load, len(load.runs)))
        load.runs.append(run)
        load.metrics.append(metrics)
        load.one_sided.append(one_sided)

    def facts(self, facts_of: Callable[[LoggedLoad], dict[str, Json]] = LoggedLoad.facts) -> dict[str, Json]:
        """For the record: ``load``, the rounds at a fixed concurrency, and ``scheduled_load``, all other loads."""
        told: dict[str, list[dict[str, Json]]] = {"load": [], "scheduled_load": []}
        for load in self._noted.values():
            facts = facts_of(load)
            # The same object as last time where nothing has changed: the record encodes it once.
            if self._told.get(id(load)) != facts:
                self._told[id(load)] = facts
            told["load" if load.purpose == "rounds" else "scheduled_load"].append(self._told[id(load)])
        return {name: loads for name, loads in told.items() if loads}

    @property
    def begin_s(self) -> float:
        """The time at which the first request was due, seconds on the process's clock."""
        runs = [run for load in self._noted.values() for run in load.runs]
        return min(trace.intended_s for run in runs for trace in run.traces)

    def take_rows(self) -> Iterator[TraceRow]:
        """The requests that were not taken before, as rows of ``record.tables.TRACES`` on the process's clock."""
        fresh, self._fresh = self._fresh, []
        for load, number in fresh:
            run = load.runs[number]
            yield from (_row(load, run, number, trace) for trace in run.traces)


def _row(load: LoggedLoad, run: LoadRun, number: int, trace: Trace) -> TraceRow:
    arrivals = trace.arrivals
    row: TraceRow = {
        "row": load.row,
        "kind": "open" if run.open_loop else "closed",
        "concurrency": None if run.open_loop else run.concurrency,
        "rate": run.open_loop.rate_per_s if run.open_loop else None,
        "start": load.start,
        "round": number,
        "index": trace.index,
        "intended_s": trace.intended_s,
        "sent_s": trace.sent_s,
        "first_s": arrivals[0].time_s if arrivals else None,
        "last_s": arrivals[-1].time_s if arrivals else None,
        "end_s": trace.end_s,
        "output_tokens": trace.completion_tokens,
        "outcome": trace.outcome.value,
        "error": trace.error,
    }
    # The registry of metrics is open: their columns have no names here.
    return cast(TraceRow, row | trace_columns(trace))
