"""Speed: what is measured under a timed load, once a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmperf.config.sizes import LoadShape
from pytest_llmperf.errors import InfrastructureError, NotMeasured
from pytest_llmperf.load.interleave import Round, Rounds, interleaved
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.row_limit import RowLimit
from pytest_llmperf.load.run import Run
from pytest_llmperf.load.runner import ClosedLoop, SendOptions, run_load
from pytest_llmperf.load.workers import workers_for
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.measure.clock_error import ClockError, ClockErrors, load_like
from pytest_llmperf.measure.deaths import death_of
from pytest_llmperf.measure.devices import Devices
from pytest_llmperf.measure.loads import Loads, NotedLoad
from pytest_llmperf.measure.on_device import OnDevice, limit_of, on_device
from pytest_llmperf.measure.once import Once
from pytest_llmperf.measure.scheduled import Scheduled, rounded_up
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.starts import Failure, over_starts
from pytest_llmperf.report.progress import Pace
from pytest_llmperf.serving.bandwidth import measured_bandwidth

if TYPE_CHECKING:
    from pytest_llmperf.measure.measurements import Measurements


class Speed:
    """Every timed load of one run; two tests that need the same one share it."""

    def __init__(self, run: Measurements) -> None:
        self._run = run
        self._once = Once()
        self.loads = Loads()
        self._clock = ClockErrors()
        self.scheduled = Scheduled(run, self)
        self.devices = Devices(run.tell)
        self._limits: dict[str, RowLimit | str] = {}
        self._measured_bandwidth: float | str | None = None

    def facts(self) -> dict[str, Any]:
        """For the record."""
        if not (noted := self.loads.facts(self._load_facts)):
            return self.devices.facts()
        return noted | {"calibration": self._clock.facts()} | self.devices.facts(self.loads.begin_s)

    def _load_facts(self, load: NotedLoad) -> dict[str, Any]:
        facts = load.facts()
        device = self.on_device(self._run.row(load.row), facts["concurrency"], load.runs, load.metrics)
        for one, energy_j, share in zip(facts["rounds"], device.energy_j, device.share, strict=True):
            one |= {"energy_j": energy_j, "roofline_share": share}
        return facts | {"roofline_unknown": device.no_share}

    def on_device(
        self, served: Served, concurrency: int, runs: Sequence[Run], rounds: Sequence[Metrics]
    ) -> OnDevice:
        """What the device did for these rounds, and what it could have done."""
        if served.name not in self._limits:
            name = self._run.settings.device_name
            self._limits[served.name] = limit_of(served, name, self._bandwidth)
        return on_device(self.devices, self._limits[served.name], concurrency, runs, rounds)

    def _bandwidth(self, served: Served) -> float | str:
        """Of the device, measured between two loads: bytes a second, or why they are not known."""
        if self._measured_bandwidth is None:
            self._run.progress("the memory bandwidth of the device")
            python = served.model.engine_python or sys.executable
            self._measured_bandwidth = measured_bandwidth(python, os.environ)
        return self._measured_bandwidth

    def clock_error(self, runs: Sequence[Run], *sides: Sequence[Metrics]) -> ClockError:
        """The client's own error at the load of these runs, and at the pace of the quicker side."""
        concurrency = runs[0].concurrency
        if runs[0].open_loop:
            concurrency = rounded_up(concurrency)
        workers = max(1, *(len(run.workers) for run in runs))
        tokens = runs[0].workload.output_tokens
        loads = [load_like(concurrency, tokens, side, workers) for side in sides if side]
        load = min(loads, key=lambda one: one.gap_ms)
        self._run.progress(f"the client's own error, {concurrency} at a time")
        return self._clock.at(load)

    def rounds(
        self, candidate: Served, baseline: Served, concurrency: int, shape: LoadShape
    ) -> tuple[Rounds, ...]:
        """Interleaved rounds of both sides, of each pair of their starts."""
        starts = self._run.settings.starts
        usual = shape == self._run.sizes.load

        def key(of: int) -> tuple[str, str, str, int, LoadShape]:
            return ("rounds", candidate.name, baseline.name, of, shape)

        def measure() -> tuple[Rounds, ...] | Failure:
            # Starts are dear: those that are made for one concurrency serve all that will be asked for.
            later = [
                c
                for c in self._run.concurrencies
                if starts > 1 and usual and c != concurrency and key(c) not in self._once
            ]
            found = over_starts(
                lambda *how: self._interleaved(candidate, baseline, shape, *how),
                lambda: self._run.start_anew(candidate, baseline),
                [concurrency, *later],
                shape.rounds,
                starts,
            )
            self._once.remember({key(other): found[other] for other in later})
            return found[concurrency]

        outcome = self._once(key(concurrency), measure, candidate, baseline)
        if isinstance(outcome, tuple):
            return outcome
        raise outcome

    def _interleaved(
        self, candidate: Served, baseline: Served, shape: LoadShape, concurrency: int, count: int, start: int
    ) -> Rounds:
        what = f"{candidate.name} and {baseline.name} in turn, {concurrency} at a time"
        if self._run.settings.starts > 1:
            what += f", start {start} of {self._run.settings.starts}"
        for side in (candidate, baseline):
            self._run.memory(side)
            self.note_sampling(side, shape)
        done = 0
        pace = Pace(2 * count)

        def progress(one: Round) -> None:
            nonlocal done
            self.note(
                {"candidate": candidate, "baseline": baseline}[one.side].name, one.run, one.metrics, start
            )
            done += 1
            self._run.progress(f"{what}: round {pace.describe(done)}")

        try:
            with self.devices.beside(candidate, baseline, what="load", concurrency=concurrency):
                return interleaved(
                    candidate.server,
                    baseline.server,
                    self.workload(shape),
                    ClosedLoop(concurrency, self._run.sizes.requests_per_round(concurrency)),
                    rounds=count,
                    on_round=progress,
                    options=SendOptions(workers=self._run.settings.workers),
                )
        except (InfrastructureError, NotMeasured) as error:
            # Asked now, because the next question to a dead server starts it again.
            raise death_of(candidate, baseline) or error from None

    def alone(
        self, served: Served, concurrency: int, shape: LoadShape
    ) -> tuple[tuple[Run, ...], tuple[Metrics, ...]]:
        """The same rounds of one side only, for a run that compares nothing."""

        def measure() -> tuple[tuple[Run, ...], tuple[Metrics, ...]]:
            self._run.memory(served)
            self.note_sampling(served, shape)
            what, count = f"{served.name}, {concurrency} at a time", shape.rounds
            said = self._run.settings.workers
            runs: list[Run] = []
            metrics: list[Metrics] = []
            pace, workers = Pace(count), said or 1
            with self.devices.beside(served, what="load", concurrency=concurrency):
                for number in range(count):
                    self._run.progress(f"{what}: round {pace.describe(number)}")
                    runs.append(
                        run_load(
                            served.server,
                            self.workload(shape),
                            ClosedLoop(concurrency, self._run.sizes.requests_per_round(concurrency)),
                            SendOptions(warmup=concurrency if number == 0 else 0, workers=workers),
                        )
                    )
                    # At once, for a round without an answer ends the load: the next ones would have none either.
                    metrics.append(of_run(runs[-1]))
                    self.note(served.name, runs[-1], metrics[-1])
                    if said is None:
                        workers = max(workers, workers_for(runs[-1].client.cpu_share))
            return tuple(runs), tuple(metrics)

        return self._once(("alone", served.name, concurrency, shape), measure, served)

    def note(self, row: str, run: Run, metrics: Metrics, start: int = 1, *, purpose: str = "rounds") -> None:
        """Keep one more run for the record; tell if something stood still in it, or its server refuses something."""
        self.loads.note(row, run, metrics, start, purpose=purpose)
        for text in run.server.capabilities.notes:
            self._run.tell(f"{row}: {text}")
        if run.disturbance:
            # Without the figures of a starved client, which differ from round to round.
            what = run.disturbance.split(":")[0]
            out = "it is not judged" if run.open_loop else "such rounds are taken out"
            self._run.tell(f"{row}, a load of {run.concurrency} at a time: {what}; {out}")

    def note_sampling(self, served: Served, shape: LoadShape | None = None) -> None:
        """A load is sent to ``served``: with which sampling, is kept for the record."""
        workload = self.workload(shape)
        body = {"max_tokens": workload.output_tokens, **workload.sampling}
        self._run.sampling.note(served.model, served.weights_directory, "load", body)

    def workload(self, shape: LoadShape | None = None) -> Workload:
        """What the speed suites send: unique prompts, answers of fixed length, sampled alike on both sides.

        Greedy, because a server otherwise takes the sampling of the model's ``generation_config.json``, and two
        models would be compared by the price of top-p.
        """
        shape = shape or self._run.sizes.load
        return Workload(
            input_tokens=shape.prompt_tokens,
            output_tokens=shape.answer_tokens,
            sampling={"temperature": 0.0},
        )
