"""The conversations of one run: rounds of the same shape, each with texts of its own, judged turn by turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.base import Judge
from pytest_llmperf.load.conversation import Conversation, hold
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions
from pytest_llmperf.measure.load_results import LoadData, LoadResult, MeasuredLoad
from pytest_llmperf.measure.memo import Memo
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.speed import Speed


class Conversations:
    """Conversations with one server, each shape once a run."""

    def __init__(self, speed: Speed, memo: Memo) -> None:
        self._speed, self._memo = speed, memo

    def turns(self, served: Served, shape: Conversation, rounds: int) -> tuple[MeasuredLoad, ...]:
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
            found.append(MeasuredLoad(shape.users, runs, metrics, clock, device))
        return tuple(found)

    def _hold(
        self, served: Served, shape: Conversation, rounds: int
    ) -> list[tuple[list[LoadRun], list[Metrics]]]:
        self._speed.prepare(served)
        progress = self._speed.servers.progress
        by_turn: list[tuple[list[LoadRun], list[Metrics]]] = [([], []) for _ in range(shape.turns)]
        with self._speed.devices.beside(served, what="conversations", concurrency=shape.users):
            for number in range(rounds):

                def on_turn(turn: int, at: int = number) -> None:
                    progress(f"{served.name}: conversations, round {at + 1} of {rounds}, turn {turn}")

                options = SendOptions(
                    warmup=shape.users if number == 0 else 0, workers=self._speed.servers.sizes.workers
                )
                held = hold(served.server, shape, self._speed.workload(), options, on_turn)
                for (runs, metrics), run in zip(by_turn, held, strict=True):
                    runs.append(run)
                    metrics.append(of_run(run))
                    self._speed.note(served.name, run, metrics[-1], purpose="conversations")
        return by_turn


@dataclass(frozen=True)
class ConversationResult:
    """The results of conversations: ``.turn(2).ttft.p95``, ``.turn(2).cached_share``; so every metric of a load."""

    judge: Judge = field(repr=False)
    users: int
    turns: Sequence[LoadData] = field(repr=False)
    suffix: str = ""

    def turn(self, number: int) -> LoadResult:
        """The requests of one turn, from 1. Raises :class:`UsageError` for one that there is not."""
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(self.turns):
            raise UsageError(f"turn({number!r}): there are turns 1 to {len(self.turns)}")
        return LoadResult(
            self.judge,
            self.users,
            self.turns[number - 1],
            f"{self.suffix}, turn {number} of {len(self.turns)}",
        )
