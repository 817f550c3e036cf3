"""Timed loads at a fixed concurrency, each once a run; and what all timed loads share."""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pytest_llmperf.config.sizes import LoadShape
from pytest_llmperf.errors import InfrastructureError, NotMeasured
from pytest_llmperf.load.interleave import Round, Rounds, interleaved
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.roofline import Roofline
from pytest_llmperf.load.run import Run
from pytest_llmperf.load.runner import ClosedLoop, SendOptions, run_load
from pytest_llmperf.load.workers import workers_for
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.measure.clock_error import ClockError, clock_error_at, facts_of, load_like, measured_at
from pytest_llmperf.measure.devices import Devices
from pytest_llmperf.measure.load_log import LoadEntry, LoadLog
from pytest_llmperf.measure.memo import Memo
from pytest_llmperf.measure.on_device import OnDevice, limit_of, on_device
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import Servers, find_dead_server
from pytest_llmperf.report.progress import Pace
from pytest_llmperf.serving.gpu import measured_bandwidth

LEAST_ROUNDS = 12
"""Rounds of one pair of starts. The start is the sample, and its own error only has to be small beside the 1 to 3 % by
which starts differ: twelve rounds with 5 % noise leave 1.5 %."""

Failure = InfrastructureError | NotMeasured


class Speed:
    """The closed loops of one run, with the log, the devices and the clock's error of all its loads."""

    def __init__(self, servers: Servers, memo: Memo) -> None:
        self.servers = servers
        self._memo = memo
        self.log = LoadLog()
        self.devices = Devices(servers.tell)

    def facts(self) -> dict[str, Any]:
        """For the record."""
        if not (noted := self.log.facts(self._load_facts)):
            return self.devices.facts()
        calibrations = [facts_of(key[1], made) for key, made in self._memo.of_kind("clock error")]
        return noted | {"calibration": calibrations} | self.devices.facts(self.log.begin_s)

    def _load_facts(self, load: LoadEntry) -> dict[str, Any]:
        facts = load.facts()
        device = self.on_device(self.servers.row(load.row), facts["concurrency"], load.runs, load.metrics)
        rounds = [
            measured | {"energy_j": energy_j, "roofline_share": share}
            for measured, energy_j, share in zip(facts["rounds"], device.energy_j, device.share, strict=True)
        ]
        return facts | {"rounds": rounds, "roofline_unknown": device.no_share}

    def on_device(
        self, served: Served, concurrency: int, runs: Sequence[Run], rounds: Sequence[Metrics]
    ) -> OnDevice:
        """Energy of these rounds, and the share of the device's limit that they reached."""
        name = self.servers.settings.device_name

        def limit() -> Roofline | str:
            return limit_of(served, name, self._bandwidth)

        return on_device(self.devices, self._memo(("limit", served.name), limit), concurrency, runs, rounds)

    def _bandwidth(self, served: Served) -> float | str:
        """The memory bandwidth of the device, measured between two loads: bytes a second, or why it is not known."""

        def measure() -> float | str:
            self.servers.progress("the memory bandwidth of the device")
            return measured_bandwidth(served.model.engine_python or sys.executable, os.environ)

        return self._memo(("bandwidth",), measure)

    def clock_error(self, runs: Sequence[Run], *sides: Sequence[Metrics]) -> ClockError:
        """The client's own error at the load of these runs, and at the pace of the quicker side."""
        concurrency = runs[0].concurrency
        if runs[0].open_loop:
            # To a power of two: the peak of an open loop differs from run to run, and the client's error hardly.
            concurrency = 1 << max(0, concurrency - 1).bit_length()
        workers = max(1, *(len(run.workers) for run in runs))
        tokens = runs[0].workload.output_tokens
        loads = [load_like(concurrency, tokens, side, workers) for side in sides if side]
        load = min(loads, key=lambda load: load.gap_ms)
        self.servers.progress(f"the client's own error, {concurrency} at a time")
        return clock_error_at(self._memo(("clock error", load), lambda: measured_at(load)))

    def rounds(
        self, candidate: Served, baseline: Served, concurrency: int, shape: LoadShape
    ) -> tuple[Rounds, ...]:
        """Interleaved rounds of both sides, of each pair of their starts."""
        starts = self.servers.settings.starts
        usual = shape == self.servers.sizes.load

        def key(of: int) -> tuple[str, str, str, int, LoadShape]:
            return ("rounds", candidate.name, baseline.name, of, shape)

        def measure() -> tuple[Rounds, ...] | Failure:
            # Starts take long: those that are made for one concurrency serve all that will be asked for.
            later = [
                c
                for c in self.servers.concurrencies
                if starts > 1 and usual and c != concurrency and key(c) not in self._memo
            ]
            found = over_starts(
                lambda *how: self._interleaved(candidate, baseline, shape, *how),
                lambda: self.servers.start_anew(candidate, baseline),
                [concurrency, *later],
                shape.rounds,
                starts,
            )
            self._memo.remember({key(other): found[other] for other in later})
            return found[concurrency]

        outcome = self._memo(key(concurrency), measure, candidate, baseline)
        if isinstance(outcome, tuple):
            return outcome
        raise outcome

    def _interleaved(
        self, candidate: Served, baseline: Served, shape: LoadShape, concurrency: int, count: int, start: int
    ) -> Rounds:
        what = f"{candidate.name} and {baseline.name} in turn, {concurrency} at a time"
        if self.servers.settings.starts > 1:
            what += f", start {start} of {self.servers.settings.starts}"
        for side in (candidate, baseline):
            self.prepare(side, shape)
        done = 0
        seed = random.Random(f"{self.servers.settings.order_seed} {concurrency} {start}").getrandbits(32)
        pace = Pace(2 * count)

        def progress(measured: Round) -> None:
            nonlocal done
            side = {"candidate": candidate, "baseline": baseline}[measured.side]
            self.note(side.name, measured.run, measured.metrics, start, order_seed=seed)
            done += 1
            self.servers.progress(f"{what}: round {pace.describe(done)}")

        try:
            with self.devices.beside(candidate, baseline, what="load", concurrency=concurrency):
                return interleaved(
                    candidate.server,
                    baseline.server,
                    self.workload(shape),
                    ClosedLoop(concurrency, self.servers.sizes.requests_per_round(concurrency)),
                    rounds=count,
                    seed=seed,
                    on_round=progress,
                    options=SendOptions(workers=self.servers.sizes.workers),
                )
        except (InfrastructureError, NotMeasured) as error:
            # Asked now, because the next question to a dead server starts it again.
            raise find_dead_server(candidate, baseline) or error from None

    def alone(
        self, served: Served, concurrency: int, shape: LoadShape
    ) -> tuple[tuple[Run, ...], tuple[Metrics, ...]]:
        """The same rounds of one side only, for a run that compares nothing."""

        def measure() -> tuple[tuple[Run, ...], tuple[Metrics, ...]]:
            self.prepare(served, shape)
            what, count = f"{served.name}, {concurrency} at a time", shape.rounds
            fixed = self.servers.sizes.workers
            runs: list[Run] = []
            metrics: list[Metrics] = []
            pace, workers = Pace(count), fixed or 1
            with self.devices.beside(served, what="load", concurrency=concurrency):
                for number in range(count):
                    self.servers.progress(f"{what}: round {pace.describe(number)}")
                    runs.append(
                        run_load(
                            served.server,
                            self.workload(shape),
                            ClosedLoop(concurrency, self.servers.sizes.requests_per_round(concurrency)),
                            SendOptions(warmup=concurrency if number == 0 else 0, workers=workers),
                        )
                    )
                    # At once, for a round without an answer ends the load: the next ones would have none either.
                    metrics.append(of_run(runs[-1]))
                    self.note(served.name, runs[-1], metrics[-1])
                    if fixed is None:
                        workers = max(workers, workers_for(runs[-1].client.cpu_share))
            return tuple(runs), tuple(metrics)

        return self._memo(("alone", served.name, concurrency, shape), measure, served)

    def note(
        self,
        row: str,
        run: Run,
        metrics: Metrics,
        start: int = 1,
        *,
        purpose: str = "rounds",
        order_seed: int | None = None,
    ) -> None:
        """Keep one more run for the record; tell if something stood still in it, or its server refuses something."""
        self.log.note(row, run, metrics, start, purpose=purpose, order_seed=order_seed)
        for text in run.server.capabilities.notes:
            self.servers.tell(f"{row}: {text}")
        if run.disturbance:
            # Without the figures of a starved client, which differ from round to round.
            what = run.disturbance.split(":")[0]
            out = "it is not judged" if run.open_loop else "such rounds are taken out"
            self.servers.tell(f"{row}, a load of {run.concurrency} at a time: {what}; {out}")

    def prepare(self, served: Served, shape: LoadShape | None = None) -> None:
        """Start the server and the watch on its memory; note the sampling of the load for the record."""
        self.servers.memory(served)
        workload = self.workload(shape)
        body = {"max_tokens": workload.output_tokens, **workload.sampling}
        self.servers.sampling.note(served.model, served.weights_directory, "load", body)

    def workload(self, shape: LoadShape | None = None) -> Workload:
        """The requests of a load: unique prompts, answers of fixed length, sampled alike on both sides.

        Greedy, because a server otherwise takes the sampling of the model's ``generation_config.json``, and two
        models would be compared by the price of top-p.
        """
        shape = shape or self.servers.sizes.load
        return Workload(
            input_tokens=shape.prompt_tokens,
            output_tokens=shape.answer_tokens,
            sampling={"temperature": 0.0},
        )


def rounds_of_each(rounds: int, starts: int) -> int:
    """Rounds of one pair of starts, when ``rounds`` were asked for in all."""
    return rounds if starts == 1 else max(LEAST_ROUNDS, math.ceil(rounds / starts))


def over_starts(
    measure: Callable[[int, int, int], Rounds],
    start_anew: Callable[[], None],
    concurrencies: Sequence[int],
    rounds: int,
    starts: int,
) -> dict[int, tuple[Rounds, ...] | Failure]:
    """By concurrency, the rounds of each pair of starts, or why they could not be measured.

    ``measure`` takes concurrency, number of rounds, and number of the pair of starts (from 1). Each pair meets every
    concurrency before the next one is started, because starting is what takes long. A concurrency that fails is left
    out from then on, and the others go on. Raises what ``start_anew`` raises.
    """
    each = rounds_of_each(rounds, starts)
    found: dict[int, list[Rounds]] = {concurrency: [] for concurrency in concurrencies}
    failed: dict[int, Failure] = {}
    for number in range(1, starts + 1):
        if number > 1:
            start_anew()
        for concurrency in [c for c in found if c not in failed]:
            try:
                found[concurrency].append(measure(concurrency, each, number))
            except (InfrastructureError, NotMeasured) as error:
                failed[concurrency] = error
        if len(failed) == len(found):
            break
    return {
        concurrency: failed.get(concurrency) or tuple(measured) for concurrency, measured in found.items()
    }
