"""The timed requests of a run, as its record keeps them: noted round by round, so that an interrupted run has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.load.results import Metrics, error_kinds, tails, trace_columns
from pytest_llmperf.load.run import Run
from pytest_llmperf.load.server_metrics import together
from pytest_llmperf.load.steady import METHOD, steady_part


@dataclass
class NotedLoad:
    """What was measured of one row at one concurrency, with one start of its server."""

    row: str
    start: int
    """Number of the pair of starts, from 1."""
    purpose: str
    """``rounds`` of a comparison, ``open loop``, ``sweep`` or ``max rate``."""
    runs: list[Run] = field(default_factory=list)
    metrics: list[Metrics] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        run = self.runs[0]
        clumped = sum(one.clumped for one in self.metrics)
        return {
            "row": self.row,
            "concurrency": run.concurrency,
            "purpose": self.purpose,
            "start": self.start,
            "workers": max(1, *(len(one.workers) for one in self.runs)),
            "schedule": run.open_loop.schedule if run.open_loop else None,
            "rate": run.open_loop.rate_per_s if run.open_loop else None,
            "workload": {
                **dataclasses.asdict(dataclasses.replace(run.workload, given=None)),
                "given": repr(run.workload.given) if run.workload.given else None,
            },
            "rounds": [
                {
                    "requests": one.requests,
                    "errors": dict(one.errors),
                    "window_s": one.window_s,
                    "ttft_s": list(one.judged("ttft")),
                    "tpot_s": list(one.judged("tpot")),
                    "e2el_s": list(one.samples["e2el"]),
                    "output_tokens": one.output_tokens,
                    "client_cpu_share": run.client.cpu_share,
                    "client_late_share": run.client.late_share,
                    "clumped_share": one.clumped_share,
                    "taken_out": one.taken_out or None,
                }
                for run, one in zip(self.runs, self.metrics, strict=True)
            ],
            "tails": tails(self.metrics),
            "error_kinds": error_kinds([trace for run in self.runs for trace in run.traces]),
            "clumped_share": clumped / gaps if (gaps := sum(one.gaps for one in self.metrics)) else 0.0,
            "delivered_concurrency": fmean(run.delivered_concurrency for run in self.runs),
            "server_metrics": server.facts()
            if (server := together([run.server_samples for run in self.runs]))
            else None,
            "steady": self._steady(),
        }

    def _steady(self) -> dict[str, Any]:
        """Of one long run; rounds of a wave begin and end together, and have no steady part."""
        if len(self.runs) == 1:
            return steady_part(self.runs[0]).facts(self.runs[0])
        why = f"not looked for: {len(self.runs)} short rounds, each with its begin and its end"
        return {"method": METHOD, "found": False, "why": why}


class Loads:
    """All loads of this process."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, int | str, str, int, str], NotedLoad] = {}
        self._fresh: list[tuple[NotedLoad, int]] = []
        """Rounds whose requests nobody has taken yet."""

    def note(self, row: str, run: Run, metrics: Metrics, start: int = 1, *, purpose: str = "rounds") -> None:
        """One more round."""
        arrivals = f"{len(run.traces)} of {run.open_loop.schedule}" if run.open_loop else run.concurrency
        # Two schedules that are the same may carry other prompts.
        key = (row, arrivals, repr(run.workload), start, purpose)
        load = self._noted.setdefault(key, NotedLoad(row, start, purpose))
        self._fresh.append((load, len(load.runs)))
        load.runs.append(run)
        load.metrics.append(metrics)

    def facts(self, facts_of: Callable[[NotedLoad], dict[str, Any]] = NotedLoad.facts) -> dict[str, Any]:
        """For the record: ``load``, what was measured round by round at a fixed concurrency, and ``scheduled_load``,
        all else."""
        rounds = [facts_of(load) for load in self._noted.values() if load.purpose == "rounds"]
        others = [facts_of(load) for load in self._noted.values() if load.purpose != "rounds"]
        return {name: loads for name, loads in (("load", rounds), ("scheduled_load", others)) if loads}

    @property
    def begin_s(self) -> float:
        """When the first of all requests was to be sent, on the process's clock."""
        runs = [run for load in self._noted.values() for run in load.runs]
        return min(trace.intended_s for run in runs for trace in run.traces)

    def take_rows(self) -> Iterator[dict[str, Any]]:
        """The requests that were not taken before, as rows of ``record.tables.TRACES`` on the process's clock."""
        fresh, self._fresh = self._fresh, []
        for load, number in fresh:
            run = load.runs[number]
            about = {
                "row": load.row,
                "kind": "open" if run.open_loop else "closed",
                "concurrency": None if run.open_loop else run.concurrency,
                "rate": run.open_loop.rate_per_s if run.open_loop else None,
                "start": load.start,
                "round": number,
            }
            for trace in run.traces:
                yield about | _row(trace)


def _row(trace: Trace) -> dict[str, Any]:
    arrivals = trace.arrivals
    return {
        "index": trace.index,
        "intended_s": trace.intended_s,
        "sent_s": trace.sent_s,
        "first_s": arrivals[0].time_s if arrivals else None,
        "last_s": arrivals[-1].time_s if arrivals else None,
        "end_s": trace.end_s,
        **trace_columns(trace),
        "output_tokens": trace.completion_tokens,
        "outcome": trace.outcome.value,
        "error": trace.error,
    }
