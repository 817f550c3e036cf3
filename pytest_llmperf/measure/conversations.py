"""The conversations of one run: rounds of one shape or recording, each with texts of its own, judged turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.base import Judge
from pytest_llmperf.load.conversation import Conversation, hold
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions
from pytest_llmperf.load.session_file import RecordedSessions
from pytest_llmperf.load.session_replay import replay_sessions
from pytest_llmperf.measure.load_results import LoadData, LoadResult, MeasuredLoad
from pytest_llmperf.measure.memo import Memo
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.speed import Speed


class Conversations:
    """Conversations with one server, each shape once a run."""

    def __init__(self, speed: Speed, memo: Memo) -> None:
        self._speed, self._memo = speed, memo

    def turns(
        self, served: Served, shape: Conversation | RecordedSessions, rounds: int
    ) -> tuple[MeasuredLoad, ...]:
        """The rounds of each turn."""
        by_turn = self._memo(
            ("conversations", served.name, shape, rounds),
            lambda: self._hold(served, shape, rounds),
            served,
        )
        found = []
        for runs, metrics in by_turn:
            clock = self._speed.clock_error(runs, metrics)
            device = self._speed.on_device(served, shape.users, runs, metrics)
            if isinstance(shape, Conversation):
                found.append(MeasuredLoad(shape.users, runs, metrics, clock, device))
                continue
            late_s = tuple(late_s for run in runs if run.open_loop for late_s in run.open_loop.own_delay_s)
            clock = replace(clock, late_s=late_s)
            if shape.turns > 1:
                device = device.shared(runs[0].rate_problem)
            found.append(MeasuredLoad(repr(shape), runs, metrics, clock, device))
        return tuple(found)

    def _hold(
        self, served: Served, shape: Conversation | RecordedSessions, rounds: int
    ) -> list[tuple[list[LoadRun], list[Metrics]]]:
        self._speed.prepare(served)
        by_turn: list[tuple[list[LoadRun], list[Metrics]]] = [([], []) for _ in range(shape.turns)]
        with self._speed.devices.beside(served, what="conversations", concurrency=shape.users):
            for number in range(rounds):
                held = self._round(served, shape, number, rounds)
                for (runs, metrics), run in zip(by_turn, held, strict=True):
                    runs.append(run)
                    metrics.append(of_run(run))
                    self._speed.note(served.name, run, metrics[-1], purpose="conversations")
        return by_turn

    def _round(
        self, served: Served, shape: Conversation | RecordedSessions, number: int, rounds: int
    ) -> list[LoadRun]:
        def on_turn(turn: int) -> None:
            self._speed.servers.progress(f"{what}, turn {turn}")

        def on_request(done: int, total: int) -> None:
            self._speed.servers.progress(f"{what}, {done} of {total} requests")

        what = f"{served.name}: conversations, round {number + 1} of {rounds}"
        workers = self._speed.servers.sizes.workers
        if isinstance(shape, Conversation):
            options = SendOptions(warmup=shape.users if number == 0 else 0, workers=workers)
            return hold(served.server, shape, self._speed.workload(), options, on_turn)
        options = SendOptions(warmup=None if number == 0 else 0, on_progress=on_request)
        return replay_sessions(served.server, shape, self._speed.workload(), options)


@dataclass(frozen=True)
class ConversationResult:
    """The results of conversations: ``.turn(2).ttft.p95``, ``.turn(2).cached_share``; so every metric of a load."""

    judge: Judge = field(repr=False)
    at: int | str
    """The load in reports: the number of users, or the file of the recording."""
    turns: Sequence[LoadData] = field(repr=False)
    suffix: str = ""

    def __getattr__(self, metric: str) -> NoReturn:
        # Python asks here for names that are nowhere else: also for its own, to which no hint belongs.
        hint = "" if metric.startswith("_") else f": metrics are asked for by turn, as in .turn(1).{metric}"
        raise AttributeError(f"{type(self).__name__} has no {metric!r}{hint}")

    def turn(self, number: int) -> LoadResult:
        """The requests of one turn, from 1. Raises :class:`UsageError` for one that there is not."""
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(self.turns):
            raise UsageError(f"turn({number!r}): there are turns 1 to {len(self.turns)}")
        return LoadResult(
            self.judge,
            self.at,
            self.turns[number - 1],
            f"{self.suffix}, turn {number} of {len(self.turns)}",
            part="round",
        )
