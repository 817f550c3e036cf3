"""Two servers in turn, in short rounds: what drifts on the machine meets both alike."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pytest_llmperf.client.capabilities import raise_if_all_failed
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.closed_loop import run_closed_loop
from pytest_llmperf.load.fleet import workers_for
from pytest_llmperf.load.metrics import Metrics, of_run
from pytest_llmperf.load.run import Run, problems_of
from pytest_llmperf.load.workload import Fits, Workload
from pytest_llmperf.serving.server import Server


@dataclass(frozen=True)
class Round:
    """One round of one side."""

    number: int
    side: str
    """``a`` or ``b``."""
    run: Run
    metrics: Metrics


@dataclass(frozen=True)
class Rounds:
    """Both sides, round by round; ``a[i]`` and ``b[i]`` ran one right after the other."""

    a: tuple[Metrics, ...]
    b: tuple[Metrics, ...]
    runs_a: tuple[Run, ...]
    runs_b: tuple[Run, ...]
    order: str
    """Sides in the order of time: ``abbaabba…``."""

    def log_ratios(self, name: str) -> list[float]:
        """ln(a/b) of :meth:`Metrics.value` of ``name``, one a round. Raises ``NotMeasured`` if a value is not
        above 0."""
        ratios = []
        for number, (a, b) in enumerate(zip(self.a, self.b, strict=True)):
            left, right = a.value(name), b.value(name)
            if not (left > 0 and right > 0):
                raise NotMeasured(
                    f"{name} in round {number} is {left} against {right}; a ratio needs both above 0"
                )
            ratios.append(math.log(left / right))
        return ratios

    @property
    def problems(self) -> tuple[str, ...]:
        """Why these rounds must not be judged, with the side; empty if there is nothing."""
        return tuple(
            f"{side[0].server.row}: {problem}"
            for side in (self.runs_a, self.runs_b)
            if side
            for problem in problems_of(side)
        )


def abba(rounds: int) -> Iterator[tuple[int, str]]:
    """(round, side) in the order of time: each side leads in every other round, so that a linear drift
    cancels."""
    for number in range(rounds):
        for side in "ab" if number % 2 == 0 else "ba":
            yield number, side


def interleaved(
    a: Server,
    b: Server,
    workload: Workload,
    *,
    concurrency: int,
    rounds: int,
    requests_per_round: int,
    warmup: int | None = None,
    timeout_s: float = 300.0,
    on_round: Callable[[Round], None] | None = None,
    workers: int | None = None,
) -> Rounds:
    """``rounds`` rounds of each side in the order ABBA.

    Both sides get the same words and the same numbers in a round, and new ones in the next. Before the first
    round both are warmed with ``warmup`` requests of the same shape (None: one per worker), which are thrown
    away. ``workers`` are the client's processes; None: one, or as many as the warm-up shows to be needed. Raises as
    :func:`run_closed_loop` does, and ``NotMeasured`` if a side's round has no success at all.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; need at least 1")
    servers = {"a": a, "b": b}
    fits: dict[str, Fits] = {"a": {}, "b": {}}
    warm = concurrency if warmup is None else warmup
    needed = workers or 1
    if warm:
        for side, server in servers.items():
            warmed = run_closed_loop(
                server,
                workload,
                concurrency=concurrency,
                requests=warm,
                warmup=0,
                timeout_s=timeout_s,
                fits=fits[side],
                workers=workers or 1,
            )
            raise_if_all_failed(warmed.traces, f"the warm-up of {server.row}")
            if workers is None:
                needed = max(needed, workers_for(warmed.client.cpu_share))
    nonces = [secrets.token_hex(8) for _ in range(rounds)]
    done: dict[str, list[Round]] = {"a": [], "b": []}
    order = []
    for number, side in abba(rounds):
        run = run_closed_loop(
            servers[side],
            workload,
            concurrency=concurrency,
            requests=requests_per_round,
            warmup=0,
            timeout_s=timeout_s,
            nonce=nonces[number],
            fits=fits[side],
            workers=needed,
        )
        try:
            one = Round(number, side, run, of_run(run))
        except NotMeasured as error:
            raise NotMeasured(f"round {number} of {servers[side].row}: {error}") from error
        done[side].append(one)
        order.append(side)
        if on_round:
            on_round(one)
    return Rounds(
        a=tuple(one.metrics for one in done["a"]),
        b=tuple(one.metrics for one in done["b"]),
        runs_a=tuple(one.run for one in done["a"]),
        runs_b=tuple(one.run for one in done["b"]),
        order="".join(order),
    )
