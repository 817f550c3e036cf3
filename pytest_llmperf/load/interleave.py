"""Interleaved rounds of two servers, so that drift of the machine affects both alike."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pytest_llmperf.client.capabilities import raise_if_all_failed
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.run import LoadRun, problems_of
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workers import workers_for
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.serving.server import Server

Side = Literal["candidate", "baseline"]


@dataclass(frozen=True)
class Round:
    """One round of one side."""

    number: int
    side: Side
    run: LoadRun
    metrics: Metrics


@dataclass(frozen=True)
class Rounds:
    """Both sides, round by round; ``candidate[i]`` and ``baseline[i]`` ran one right after the other."""

    candidate: tuple[Metrics, ...]
    baseline: tuple[Metrics, ...]
    candidate_runs: tuple[LoadRun, ...]
    baseline_runs: tuple[LoadRun, ...]

    def __len__(self) -> int:
        return len(self.candidate)

    def __add__(self, later: Rounds) -> Rounds:
        """Both one after the other."""
        return Rounds(
            self.candidate + later.candidate,
            self.baseline + later.baseline,
            self.candidate_runs + later.candidate_runs,
            self.baseline_runs + later.baseline_runs,
        )

    def first(self, n: int) -> Rounds:
        """The first ``n`` of each side."""
        return Rounds(self.candidate[:n], self.baseline[:n], self.candidate_runs[:n], self.baseline_runs[:n])

    @property
    def workers(self) -> int:
        """The most client processes that a round had."""
        return max(1, *(len(run.workers) for run in (*self.candidate_runs, *self.baseline_runs)))

    @property
    def problems(self) -> tuple[str, ...]:
        """Why these rounds must not be judged, each with its model entry; empty if they may."""
        return tuple(
            f"{side[0].server.row}: {problem}"
            for side in (self.candidate_runs, self.baseline_runs)
            if side
            for problem in problems_of(side)
        )


def turns(rounds: int, seed: int) -> Iterator[tuple[int, Side]]:
    """(round, side) in the order of time: a coin decides for every two rounds between ABBA and BAAB.

    Each side leads once in both, so that a linear drift cancels; no rhythm of the machine can keep to one side.
    """
    coin = random.Random(seed)
    sides: tuple[Side, Side] = ("candidate", "baseline")
    for number in range(rounds):
        sides = sides[::-1] if number % 2 or coin.random() < 0.5 else sides
        for side in sides:
            yield number, side


def interleaved(
    candidate: Server,
    baseline: Server,
    workload: Workload,
    pattern: ClosedLoop,
    *,
    rounds: int,
    before: int = 0,
    seed: int = 0,
    on_round: Callable[[Round], None] | None = None,
    options: SendOptions | None = None,
) -> Rounds:
    """``rounds`` rounds of each side in the order of :func:`turns`, each round with the load of ``pattern``.

    Both sides get the same words and the same numbers in a round, and new ones in the next. Before the first round
    both are warmed up with discarded requests of the same shape. With ``options.workers`` None, the warm-up decides
    how many client processes are needed. ``before``: rounds of the same load that were measured earlier, whose order
    goes on. Raises as :func:`run_load` does, and ``NotMeasured`` if a side's round has no
    success at all.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; need at least 1")
    options = options or SendOptions()
    servers: dict[Side, Server] = {"candidate": candidate, "baseline": baseline}
    # Fitted prompts belong to one server's tokenizer.
    sending: dict[Side, SendOptions] = {side: replace(options, warmup=0, fits={}) for side in servers}
    warm = pattern.concurrency if options.warmup is None else options.warmup
    workers = options.workers or 1
    if warm:
        for side, server in servers.items():
            warmed = run_load(server, workload, ClosedLoop(pattern.concurrency, warm), sending[side])
            raise_if_all_failed(warmed.traces, f"the warm-up of {server.row}")
            if options.workers is None:
                workers = max(workers, workers_for(warmed.client.cpu_share))
    nonces = [secrets.token_hex(8) for _ in range(before + rounds)]
    done: dict[Side, list[Round]] = {"candidate": [], "baseline": []}
    for number, side in turns(before + rounds, seed):
        if number < before:
            continue
        run = run_load(
            servers[side], workload, pattern, replace(sending[side], nonce=nonces[number], workers=workers)
        )
        try:
            one = Round(number, side, run, of_run(run))
        except NotMeasured as error:
            raise NotMeasured(f"round {number} of {servers[side].row}: {error}") from error
        done[side].append(one)
        if on_round:
            on_round(one)
    return Rounds(
        candidate=tuple(one.metrics for one in done["candidate"]),
        baseline=tuple(one.metrics for one in done["baseline"]),
        candidate_runs=tuple(one.run for one in done["candidate"]),
        baseline_runs=tuple(one.run for one in done["baseline"]),
    )
