"""Goodput: the share of requests that a user was content with, and the highest rate that keeps them content.

A service-level objective (SLO) is a set of limits that one request meets or not; a failed request never meets it
(Zhong et al. 2024, DistServe, OSDI). In an open loop latencies count from the intended time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.arrivals import poisson
from pytest_llmperf.load.metrics import tpot_s
from pytest_llmperf.load.open_loop import run_open_loop
from pytest_llmperf.load.run import Run
from pytest_llmperf.load.seen_times import seen_times
from pytest_llmperf.load.workload import Fits, Workload
from pytest_llmperf.serving.server import Server
from pytest_llmperf.stats.binomial import clopper_pearson_lower, clopper_pearson_upper
from pytest_llmperf.stats.order_statistics import least_n_upper


@dataclass(frozen=True)
class Slo:
    """Limits of one request, in seconds; None: no limit. At least one is needed."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2el_s: float | None = None

    def __post_init__(self) -> None:
        limits = {name: getattr(self, name) for name in ("ttft_s", "tpot_s", "e2el_s")}
        if all(limit is None for limit in limits.values()):
            raise ValueError("the SLO has no limit; need at least one of ttft_s, tpot_s and e2el_s")
        for name, limit in limits.items():
            if limit is not None and not (math.isfinite(limit) and limit > 0):
                raise ValueError(f"{name} is {limit}; need a finite number of seconds above 0")

    def met_by(self, trace: Trace) -> bool:
        """Whether this request met every limit.

        A failed one did not, nor did one without any token if the first token has a limit; an answer of one
        token has no time per output token, and meets that limit; one whose tokens all came at one instant does
        not. Raises ``NotMeasured`` if the limit needs a
        token count that the server did not give.
        """
        if not trace.ok:
            return False
        if self.tpot_s is not None and trace.completion_tokens is None:
            raise NotMeasured(
                f"request {trace.index} has no usage.completion_tokens, and the SLO limits the time per output "
                "token; need a server that sends usage, or an SLO without tpot_s"
            )
        if self.ttft_s is not None and (trace.ttft_s is None or trace.ttft_s > self.ttft_s):
            return False
        if self.tpot_s is not None and (trace.visible_tokens or 0) > 1:
            each_s = tpot_s(trace)
            if each_s is None or each_s > self.tpot_s:
                return False
        return self.e2el_s is None or trace.end_s - trace.intended_s <= self.e2el_s

    def unseen(self, run: Run) -> str:
        """Why its limits cannot be judged on a run: tokens were not seen when they came, or answers have lengths of
        their own. Empty if they can."""
        limits = [name for name in ("ttft", "tpot") if getattr(self, f"{name}_s") is not None]
        missing = seen_times([trace for trace in run.traces if trace.ok]).missing if limits else {}
        found = [f"{name}: {missing[name]}" for name in limits if name in missing]
        if self.e2el_s is not None and run.length_problem:
            found.append(f"e2el: {run.length_problem}")
        return next(iter(found), "")


@dataclass(frozen=True)
class Goodput:
    """How many of the requests of one run met the SLO."""

    met: int
    requests: int
    window_s: float

    @property
    def share(self) -> float:
        return self.met / self.requests

    @property
    def per_s(self) -> float:
        """Requests that met it, per second of the run."""
        return self.met / self.window_s

    def share_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Bounds of the share, each right with that confidence (Clopper and Pearson), as if requests were
        independent. In a queue they are not quite: see :func:`max_rate`."""
        return (
            clopper_pearson_lower(self.met, self.requests, confidence),
            clopper_pearson_upper(self.met, self.requests, confidence),
        )


def goodput(run: Run, slo: Slo) -> Goodput:
    """Of all requests of the run, the failed ones among them. Raises ``NotMeasured`` as :meth:`Slo.met_by` does, and
    where the SLO has limits for tokens that were not seen when they came."""
    if why := slo.unseen(run):
        raise NotMeasured(f"goodput cannot be told: {why}")
    return Goodput(sum(slo.met_by(trace) for trace in run.traces), len(run.traces), run.window_s)


@dataclass(frozen=True)
class Trial:
    """One rate that was tried."""

    rate_per_s: float
    goodput: Goodput
    kept: bool | None
    """Whether the SLO was kept, with confidence; None: too close to the share to say."""


@dataclass(frozen=True)
class MaxRate:
    """The highest rate that keeps an SLO lies between two rates that were tried, in requests per second."""

    kept_at: float | None
    """The highest rate at which it was shown to be kept; None: at none, not even at the lowest."""
    broken_at: float | None
    """The lowest rate at which it was shown to be broken; None: at none, not even at the highest."""
    share: float
    confidence: float
    trials: tuple[Trial, ...]
    """In the order of time."""

    def __str__(self) -> str:
        low = "below the lowest rate tried" if self.kept_at is None else f"at least {self.kept_at:.4g}"
        high = "no rate tried is too high" if self.broken_at is None else f"below {self.broken_at:.4g}"
        return f"highest rate with {self.share:.4g} of the requests within the SLO: {low}, {high} requests/s"


MOST_TRIALS = 12
"""Rates that a search tries: a bisection from one to a thousand requests a second needs eleven for a tenth."""


def _of_each(confidence: float, trials: int) -> float:
    """The confidence of each of the two bounds of each trial, for all of them to be right together."""
    return 1 - (1 - confidence) / (2 * trials)


def least_requests(share: float, confidence: float = 0.95, most_trials: int = MOST_TRIALS) -> int:
    """Requests of one trial below which no rate can be called kept."""
    return least_n_upper(share, _of_each(confidence, most_trials))


def max_rate(
    try_at: Callable[[float], Goodput],
    *,
    lowest: float,
    highest: float,
    share: float = 0.95,
    precision: float = 0.1,
    confidence: float = 0.95,
    most_trials: int = MOST_TRIALS,
) -> MaxRate:
    """Find by bisection the highest rate at which at least ``share`` of the requests meets the SLO.

    ``try_at(rate)`` measures. A rate is called kept or broken only where an exact bound of its share says so; with
    the error 1 − ``confidence`` divided among all ``most_trials`` × 2 bounds, all calls are right together with that
    confidence, and the true maximum lies in the interval, if a higher rate never gives a higher share. One that
    cannot be called lies near the maximum: it is kept inside, and the rates below and above it are searched on.
    Ends when no two neighbouring rates of those that matter differ by more than a factor 1 + ``precision``, or
    after ``most_trials``. The bounds take requests for independent; a queue makes neighbours alike, so that
    short runs near the maximum are surer of themselves than they should be: let a run last many times longer than a
    request.

    Raises ``ValueError`` for limits that make no sense, ``NotMeasured`` if a trial has too few requests for any
    share to be called kept.
    """
    if not 0 < lowest < highest < math.inf:
        raise ValueError(f"rates from {lowest} to {highest}; need 0 < lowest < highest")
    if not (precision > 0 and most_trials >= 2):
        raise ValueError(f"precision is {precision}, most_trials {most_trials}; need above 0 and at least 2")
    each = _of_each(confidence, most_trials)
    needed = least_requests(share, confidence, most_trials)
    trials: list[Trial] = []

    def tried(rate: float) -> Trial:
        found = try_at(rate)
        if found.requests < needed:
            raise NotMeasured(
                f"{found.requests} requests at {rate:.4g} requests/s; need at least {needed} to show that "
                f"{share:.4g} of them meet the SLO"
            )
        low, high = found.share_interval(each)
        trials.append(Trial(rate, found, True if low >= share else False if high < share else None))
        return trials[-1]

    tried(lowest)
    if trials[0].kept is not False:
        tried(highest)
        while len(trials) < most_trials:
            pair = _widest(trials, 1 + precision)
            if pair is None:
                break
            tried(math.sqrt(pair[0] * pair[1]))
    kept, broken = _ends(trials)
    return MaxRate(kept, broken, share, confidence, tuple(trials))


def _ends(trials: Sequence[Trial]) -> tuple[float | None, float | None]:
    kept = [trial.rate_per_s for trial in trials if trial.kept is True]
    broken = [trial.rate_per_s for trial in trials if trial.kept is False]
    return max(kept, default=None), min(broken, default=None)


def _widest(trials: Sequence[Trial], factor: float) -> tuple[float, float] | None:
    """The neighbours, of the rates from the highest kept to the lowest broken one, whose ratio is largest; None if
    none is above ``factor``.

    A gap between two rates that cannot be called is not worth a trial: it would not be called either.
    """
    kept, broken = _ends(trials)
    inside = sorted(
        (trial.rate_per_s, trial.kept is None)
        for trial in trials
        if (kept is None or trial.rate_per_s >= kept) and (broken is None or trial.rate_per_s <= broken)
    )
    pairs = [
        (high / low, low, high)
        for (low, unsure), (high, unsure_too) in pairwise(inside)
        if high / low > factor and not (unsure and unsure_too)
    ]
    return max(pairs)[1:] if pairs else None


def max_rate_of(
    server: Server,
    workload: Workload,
    slo: Slo,
    *,
    lowest: float,
    highest: float,
    requests: int,
    share: float = 0.95,
    precision: float = 0.1,
    confidence: float = 0.95,
    most_trials: int = MOST_TRIALS,
    seed: int = 0,
    timeout_s: float = 300.0,
    on_run: Callable[[Run], None] | None = None,
    workers: int = 1,
) -> MaxRate:
    """:func:`max_rate` of a server with Poisson arrivals, ``requests`` at each rate and a new seed each time, sent by
    ``workers`` processes.

    Raises ``NotMeasured`` if a run at some rate is not the load that was asked for (client-bound, warm cache): a
    limit of the client is never reported as the server's.
    """
    fits: Fits = {}
    count = 0

    def try_at(rate: float) -> Goodput:
        nonlocal count
        schedule = poisson(rate, requests, seed=seed + count)
        count += 1
        run = run_open_loop(server, workload, schedule, timeout_s=timeout_s, fits=fits, workers=workers)
        if on_run:
            on_run(run)
        if run.own_problems:
            raise NotMeasured(f"at {rate:.4g} requests/s: {'; '.join(run.own_problems)}")
        return goodput(run, slo)

    return max_rate(
        try_at,
        lowest=lowest,
        highest=highest,
        share=share,
        precision=precision,
        confidence=confidence,
        most_trials=most_trials,
    )
