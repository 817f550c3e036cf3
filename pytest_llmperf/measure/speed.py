"""Timed loads at a fixed concurrency, each once a run; and what all timed loads share."""

from __future__ import annotations

import math
import os
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

from pytest_llmperf.config.sizes import LoadShape
from pytest_llmperf.errors import InfrastructureError, NotMeasured
from pytest_llmperf.gates.ratio import tail_size
from pytest_llmperf.json_values import Json, list_of, object_of
from pytest_llmperf.load.interleave import Round, Rounds, interleaved
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.roofline import Roofline
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workers import workers_for
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.measure.clock_error import ClockError, clock_error_at, facts_of, load_like, measured_at
from pytest_llmperf.measure.devices import Devices
from pytest_llmperf.measure.load_log import LoadLog, LoggedLoad
from pytest_llmperf.measure.memo import Memo
from pytest_llmperf.measure.on_device import OnDevice, limit_of, on_device
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import Servers, find_dead_server
from pytest_llmperf.report.progress import Pace
from pytest_llmperf.serving.gpu import measured_bandwidth

LEAST_ROUNDS = 12
"""Rounds of one pair of starts. The start is the sample, and its own error only has to be small beside the 1 to 3 % by
which starts differ: twelve rounds with 5 % noise leave 1.5 %."""

LOOKS = (8, 12, 18, 27, 40)
"""Rounds of one pair of starts after which gates look, before they get all. Eight tell a server that is much slower,
and equal ones under a wide budget; half as many again each time keep the error that a look costs small."""
START_LOOKS = (3, 5, 8, 11, 15)
"""The same where starts are the sample: the fewest that tell how they differ, and so on."""
LOOK_APART = 1.25
"""No look so shortly before the end: the last one has this many times its data at least."""
STAYS_WARM_S = 1.0
"""Pause after which a load is warmed up again: clocks have fallen, and others have used the caches."""

Failure = InfrastructureError | NotMeasured


class Speed:
    """The closed loops of one run, with the log, the devices and the clock's error of all its loads."""

    def __init__(self, servers: Servers, memo: Memo) -> None:
        self.servers = servers
        self._memo = memo
        self.log = LoadLog()
        self.devices = Devices(servers.tell)

    def facts(self) -> dict[str, Json]:
        """For the record."""
        if not (noted := self.log.facts(self._load_facts)):
            return self.devices.facts()
        calibrations = [facts_of(key[1], made) for key, made in self._memo.of_kind("clock error")]
        return noted | {"calibration": calibrations} | self.devices.facts(self.log.begin_s)

    def _load_facts(self, load: LoggedLoad) -> dict[str, Json]:
        facts = load.facts()
        device = self.on_device(self.servers.row(load.row), load.runs[0].concurrency, load.runs, load.metrics)
        rounds = [
            {**object_of(measured), "energy_j": energy_j, "roofline_share": share}
            for measured, energy_j, share in zip(
                list_of(facts["rounds"]), device.energy_j, device.share, strict=True
            )
        ]
        return facts | {"rounds": rounds, "roofline_unknown": device.no_share}

    def on_device(
        self, served: Served, concurrency: int, runs: Sequence[LoadRun], rounds: Sequence[Metrics]
    ) -> OnDevice:
        """Energy of these rounds, and the share of the device's limit that they reached."""
        devices = served.placement.devices
        name = devices[0].name if devices else self.servers.settings.device_name

        def limit() -> Roofline | str:
            return limit_of(served, name, self._bandwidth)

        limited = self._memo(("limit", served.name, name), limit)
        return on_device(self.devices, served.name, limited, concurrency, runs, rounds)

    def _bandwidth(self, served: Served) -> float | str:
        """The memory bandwidth of the device, measured between two loads: bytes a second, or why it is not known."""

        def measure() -> float | str:
            self.servers.progress("the memory bandwidth of the device")
            environment = {**os.environ, **served.placement.environment}
            return measured_bandwidth(served.model.engine_python or sys.executable, environment)

        return self._memo(("bandwidth", *(device.name for device in served.placement.devices)), measure)

    def clock_error(self, runs: Sequence[LoadRun], *sides: Sequence[Metrics]) -> ClockError:
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
    ) -> InterleavedRounds:
        """Interleaved rounds of both sides, of each pair of their starts; none is measured by this call."""
        key = ("interleaved", candidate.name, baseline.name, concurrency, shape)
        return self._memo(
            key, lambda: InterleavedRounds(self, self._memo, candidate, baseline, concurrency, shape)
        )

    def saving(self) -> tuple[int, int]:
        """Number of interleaved rounds that were measured and that were planned: the rest was not needed to decide."""
        every = [rounds for _, rounds in self._memo.of_kind("interleaved") if rounds.measured]
        return sum(rounds.measured for rounds in every), sum(rounds.schedule[-1] for rounds in every)

    def interleaved(
        self,
        candidate: Served,
        baseline: Served,
        shape: LoadShape,
        concurrency: int,
        *,
        start: int,
        rounds: range,
        of: int,
        workers: int | None,
        warm: bool,
    ) -> Rounds:
        """Measure ``rounds`` of this start, numbered from 0, of which there may be ``of``.

        ``warm``: the servers have just had the rounds before, and need no warm-up; ``workers`` is their number of
        client processes.
        """
        what = f"{candidate.name} and {baseline.name} in turn, {concurrency} at a time"
        if self.servers.settings.starts > 1:
            what += f", start {start} of {self.servers.settings.starts}"
        for side in (candidate, baseline):
            self.prepare(side, shape)
        done = 2 * rounds.start
        seed = random.Random(f"{self.servers.seed} {concurrency} {start}").getrandbits(32)
        pace = Pace(2 * of, done)

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
                    rounds=len(rounds),
                    before=rounds.start,
                    seed=seed,
                    on_round=progress,
                    options=SendOptions(workers=workers, warmup=0 if warm else None),
                )
        except (InfrastructureError, NotMeasured) as error:
            # Asked now, because the next question to a dead server starts it again.
            raise find_dead_server(candidate, baseline) or error from None

    def alone(
        self, served: Served, concurrency: int, shape: LoadShape
    ) -> tuple[tuple[LoadRun, ...], tuple[Metrics, ...]]:
        """The same rounds of one side only, for a run that compares nothing."""

        def measure() -> tuple[tuple[LoadRun, ...], tuple[Metrics, ...]]:
            self.prepare(served, shape)
            return self.one_sided(served, concurrency, shape, range(shape.rounds))

        return self._memo(("alone", served.name, concurrency, shape), measure, served)

    def one_sided(
        self,
        served: Served,
        concurrency: int,
        shape: LoadShape,
        rounds: range,
        *,
        workers: int | None = None,
        warm: bool = False,
    ) -> tuple[tuple[LoadRun, ...], tuple[Metrics, ...]]:
        """Measure ``rounds`` of one side, numbered from 0, the last of which ends the load.

        ``warm``: the server has just had the rounds before, and needs no warm-up; ``workers`` is their number of client
        processes.
        """
        what, fixed = f"{served.name}, {concurrency} at a time", workers or self.servers.sizes.workers
        runs: list[LoadRun] = []
        metrics: list[Metrics] = []
        pace, workers = Pace(rounds.stop, rounds.start), fixed or 1
        with self.devices.beside(served, what="load", concurrency=concurrency):
            for number in rounds:
                self.servers.progress(f"{what}: round {pace.describe(number)}")
                warmup = 0 if runs or warm else concurrency
                runs.append(
                    run_load(
                        served.server,
                        self.workload(shape),
                        ClosedLoop(concurrency, self.servers.sizes.requests_per_round(concurrency)),
                        SendOptions(warmup=warmup, workers=workers),
                    )
                )
                # At once, for a round without an answer ends the load: the next ones would have none either.
                metrics.append(of_run(runs[-1]))
                self.note(served.name, runs[-1], metrics[-1], one_sided=rounds.start > 0)
                if fixed is None:
                    workers = max(workers, workers_for(runs[-1].client.cpu_share))
        return tuple(runs), tuple(metrics)

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
        """Keep one more run for the record; tell if something stood still in it, or its server refuses something."""
        self.log.note(row, run, metrics, start, purpose=purpose, order_seed=order_seed, one_sided=one_sided)
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


class InterleavedRounds:
    """The rounds of two servers at one concurrency, measured as far as gates need them, and none twice.

    With one pair of starts a gate gets some of its rounds, with several all rounds of some pairs. A failure is
    remembered, and raised again.
    """

    def __init__(
        self,
        speed: Speed,
        memo: Memo,
        candidate: Served,
        baseline: Served,
        concurrency: int,
        shape: LoadShape,
    ) -> None:
        self._speed, self._memo = speed, memo
        self._sides = (candidate, baseline)
        self._concurrency, self._shape = concurrency, shape
        settings = speed.servers.settings
        self._starts = settings.starts
        self._each = rounds_of_each(shape.rounds, settings.starts)
        self.schedule = schedule_of(shape.rounds, settings.starts)
        self.looks = () if settings.full else self.schedule
        """:attr:`schedule` for gates; empty where they get all rounds at once."""
        self._only = Rounds((), (), (), ())
        """Rounds measured so far, if there is only one pair of starts."""
        self._crashes: tuple[int, ...] = ()
        self._ended_s = -math.inf

    @property
    def measured(self) -> int:
        """Rounds that were measured."""
        if self._starts == 1:
            return len(self._only)
        outcomes = [self._memo.known(self._key(number)) for number in range(1, self._starts + 1)]
        return sum(len(found) for found in outcomes if isinstance(found, Rounds))

    @property
    def first_look(self) -> int:
        return self.looks[0] if self.looks else self.schedule[-1]

    @property
    def tail_size(self) -> int:
        """The rounds that a quantile gets, whatever else is asked: enough for a p95."""
        return tail_size(self.schedule) if self.looks else self.schedule[-1]

    def first(self, n: int) -> tuple[Rounds, ...]:
        """The first ``n`` rounds, by pair of starts; ``n`` is of :attr:`schedule`."""
        if self._starts == 1:
            if n > len(self._only):
                self._only += self._part(n)
            return (self._only.first(n),)
        return tuple(self._start(number) for number in range(1, n // self._each + 1))

    def tail(self) -> tuple[Sequence[LoadRun], Sequence[Metrics]]:
        """:attr:`tail_size` rounds of the candidate, for gates that speak of it alone.

        Those that the comparison has so far (its first look at least), and further ones without the baseline: the
        ratios are decided by fewer rounds than a p95 needs. The same whenever they are asked for.
        """
        if self._starts > 1 or not self.looks:
            return _of_candidate(self.first(self.tail_size))

        def measure() -> tuple[Sequence[LoadRun], Sequence[Metrics]]:
            paired = self.first(min(self.tail_size, max(self.first_look, len(self._only))))
            runs, metrics = _of_candidate(paired)
            if len(runs) == self.tail_size:
                return runs, metrics
            candidate, _ = self._sides
            self._prepare()
            further_runs, further = self._speed.one_sided(
                candidate,
                self._concurrency,
                self._shape,
                range(len(runs), self.tail_size),
                workers=self._only.workers,
                warm=self._is_warm,
            )
            # The baseline has rested meanwhile.
            self._ended_s = -math.inf
            return [*runs, *further_runs], [*metrics, *further]

        return self._memo(self._key("tail"), measure, self._sides[0])

    @property
    def _is_warm(self) -> bool:
        return time.monotonic() - self._ended_s < STAYS_WARM_S

    def _prepare(self) -> None:
        """Start both servers; ``NotMeasured`` if they are not the processes of the rounds before."""
        for side in self._sides:
            self._speed.prepare(side, self._shape)
        crashes = tuple(side.crashes for side in self._sides)
        if len(self._only) and crashes != self._crashes:
            names = " and ".join(side.name for side in self._sides)
            raise NotMeasured(
                f"a server died between two rounds and was started again ({names}): half of the rounds are of "
                "another process"
            )
        self._crashes = crashes

    def _part(self, n: int) -> Rounds:
        """The rounds that are missing to ``n`` at the only pair of starts."""
        before = len(self._only)

        def measure() -> Rounds:
            self._prepare()
            found = self._speed.interleaved(
                *self._sides,
                self._shape,
                self._concurrency,
                start=1,
                rounds=range(before, n),
                of=self.schedule[-1],
                workers=self._only.workers if before else self._speed.servers.sizes.workers,
                warm=self._is_warm,
            )
            self._ended_s = time.monotonic()
            return found

        return self._memo(self._key(before), measure, *self._sides)

    def _start(self, number: int) -> Rounds:
        """All rounds of one pair of starts, from 1.

        Starts take long: the one that is made for this concurrency serves all that will be asked for. A concurrency
        that fails is left out from then on, and the others go on.
        """

        def measure() -> Rounds | Failure:
            if number > 1:
                self._speed.servers.start_anew(*self._sides)
            found = {
                concurrency: self._one_start(concurrency, number) for concurrency in self._together(number)
            }
            self._memo.remember({self._key(number, other): found[other] for other in found})
            return found[self._concurrency]

        outcome = self._memo(self._key(number), measure, *self._sides)
        if isinstance(outcome, Rounds):
            return outcome
        raise outcome

    def _together(self, number: int) -> list[int]:
        """The concurrencies that are measured in this start: this one, and those that will be asked for."""
        servers = self._speed.servers
        later = servers.concurrencies if self._shape == servers.sizes.load else ()
        others = [c for c in later if c != self._concurrency and self._key(number, c) not in self._memo]
        return [self._concurrency, *(c for c in others if not self._has_failed(c, number))]

    def _has_failed(self, concurrency: int, before: int) -> bool:
        keys = [self._key(number, concurrency) for number in range(1, before)]
        return any(key in self._memo and not isinstance(self._memo.known(key), Rounds) for key in keys)

    def _one_start(self, concurrency: int, number: int) -> Rounds | Failure:
        try:
            return self._speed.interleaved(
                *self._sides,
                self._shape,
                concurrency,
                start=number,
                rounds=range(self._each),
                of=self._each,
                workers=self._speed.servers.sizes.workers,
                warm=False,
            )
        except (InfrastructureError, NotMeasured) as error:
            return error

    def _key(self, part: int | str, concurrency: int | None = None) -> tuple[Any, ...]:
        """``part``: the number of the start, or of the rounds before; or what else is measured."""
        names = [side.name for side in self._sides]
        return ("rounds", *names, concurrency or self._concurrency, self._shape, part)


def _of_candidate(starts: Sequence[Rounds]) -> tuple[Sequence[LoadRun], Sequence[Metrics]]:
    return (
        [run for rounds in starts for run in rounds.candidate_runs],
        [metrics for rounds in starts for metrics in rounds.candidate],
    )


def rounds_of_each(rounds: int, starts: int) -> int:
    """Rounds of one pair of starts, when ``rounds`` were asked for in all."""
    return rounds if starts == 1 else max(LEAST_ROUNDS, math.ceil(rounds / starts))


def schedule_of(rounds: int, starts: int) -> tuple[int, ...]:
    """Rounds of all starts together after which gates look, the last: all that are measured at most."""
    looks, each = (LOOKS, 1) if starts == 1 else (START_LOOKS, rounds_of_each(rounds, starts))
    most = rounds if starts == 1 else starts
    return (*(each * n for n in looks if LOOK_APART * n <= most), each * most)
