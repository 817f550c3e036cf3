"""Goodput: the share of requests that met their service-level objective, and the highest rate that keeps it.

A service-level objective (SLO) is a set of limits that one request meets or not; a failed request never meets it
(Zhong et al. 2024, DistServe, OSDI). In an open loop latencies count from the intended time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.arrivals import poisson
from pytest_llmperf.load.metrics import metric_named, tpot_s
from pytest_llmperf.load.patterns import OpenLoop
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.seen_times import seen_times
from pytest_llmperf.load.workload import Workload
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
        """True if the request met every limit.

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

    def unseen(self, run: LoadRun) -> str:
        """Why its limits cannot be judged on a run: tokens were not seen when they came, or answers have lengths of
        their own. Empty if they can."""
        limits = [name for name in ("ttft", "tpot") if getattr(self, f"{name}_s") is not None]
        problems = seen_times([trace for trace in run.traces if trace.ok]).problems if limits else {}
        needs = {name: metric_named(name).needs for name in limits}
        found = [f"{name}: {problems[need]}" for name, need in needs.items() if need in problems]
        if self.e2el_s is not None and run.length_problem:
            found.append(f"e2el: {run.length_problem}")
        return next(iter(found), "")


@dataclass(frozen=True)
class Goodput:
    """The number of requests of one run that met the SLO."""

    met: int
    requests: int

    @property
    def share(self) -> float:
        return self.met / self.requests

    def share_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Bounds of the share, each right with that confidence (Clopper and Pearson), as if requests were
        independent. In a queue they are not quite: see :func:`max_rate`."""
        return (
            clopper_pearson_lower(self.met, self.requests, confidence),
            clopper_pearson_upper(self.met, self.requests, confidence),
        )


def goodput(run: LoadRun, slo: Slo) -> Goodput:
    """Goodput of all requests of the run, failed ones included. Raises ``NotMeasured`` as :meth:`Slo.met_by` does, and
    where the SLO has limits for tokens that were not seen when they came."""
    if why := slo.unseen(run):
        raise NotMeasured(f"goodput cannot be judged: {why}")
    return Goodput(sum(slo.met_by(trace) for trace in run.traces), len(run.traces))


@dataclass(frozen=True)
class Trial:
    """One rate that was tried."""

    rate_per_s: float
    goodput: Goodput
    kept: bool | None
    """True if the SLO was shown to be kept, False if broken; None: too close to the share to say."""


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


MAX_TRIALS = 12
"""Rates that a search tries: a bisection from one to a thousand requests a second needs eleven for a tenth."""


@dataclass(frozen=True)
class RateSearch:
    """Range and precision of a search for the highest rate; rates in requests per second."""

    lowest: float
    highest: float
    share: float = 0.95
    """Share of the requests that must meet the SLO."""
    precision: float = 0.1
    """Stop when neighbouring rates differ by no more than this share."""
    confidence: float = 0.95
    """Confidence of all calls of one search together."""
    max_trials: int = MAX_TRIALS

    def __post_init__(self) -> None:
        if not 0 < self.lowest < self.highest < math.inf:
            raise ValueError(f"rates from {self.lowest} to {self.highest}; need 0 < lowest < highest")
        if not (self.precision > 0 and self.max_trials >= 2):
            raise ValueError(
                f"precision is {self.precision}, max_trials {self.max_trials}; need above 0 and at least 2"
            )

    @property
    def confidence_of_each(self) -> float:
        """Confidence of each of the two bounds of each trial, so that all are right together."""
        return 1 - (1 - self.confidence) / (2 * self.max_trials)

    @property
    def min_requests(self) -> int:
        """Requests of one trial below which no rate can be called kept."""
        return least_n_upper(self.share, self.confidence_of_each)


def max_rate(try_at: Callable[[float], Goodput], search: RateSearch) -> MaxRate:
    """Find by bisection the highest rate at which at least ``search.share`` of the requests meet the SLO.

    ``try_at(rate)`` measures. A rate is called kept or broken only where an exact bound of its share says so; with
    the error 1 − ``confidence`` divided among all ``max_trials`` × 2 bounds, all calls are right together with that
    confidence, and the true maximum lies in the interval, if a higher rate never gives a higher share. A rate that
    cannot be called lies near the maximum: it stays inside the interval, and the search goes on below and above it.
    Ends when no two neighbouring rates inside differ by more than a factor 1 + ``precision``, or after
    ``max_trials``. The bounds treat requests as independent; a queue makes neighbours alike, so short runs near the
    maximum are surer than they should be: let a run last many times longer than a request.

    Raises ``NotMeasured`` if a trial has too few requests for any share to be called kept.
    """
    trials: list[Trial] = []

    def try_rate(rate: float) -> Trial:
        found = try_at(rate)
        if found.requests < search.min_requests:
            raise NotMeasured(
                f"{found.requests} requests at {rate:.4g} requests/s; need at least {search.min_requests} to show that "
                f"{search.share:.4g} of them meet the SLO"
            )
        low, high = found.share_interval(search.confidence_of_each)
        kept = True if low >= search.share else False if high < search.share else None
        trials.append(Trial(rate, found, kept))
        return trials[-1]

    if try_rate(search.lowest).kept is not False:
        try_rate(search.highest)
        while len(trials) < search.max_trials:
            pair = _widest(trials, 1 + search.precision)
            if pair is None:
                break
            try_rate(math.sqrt(pair[0] * pair[1]))
    kept, broken = _ends(trials)
    return MaxRate(kept, broken, search.share, search.confidence, tuple(trials))


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
    search: RateSearch,
    *,
    requests: int,
    on_run: Callable[[LoadRun], None] | None = None,
    options: SendOptions | None = None,
) -> MaxRate:
    """:func:`max_rate` of a server with Poisson arrivals, ``requests`` at each rate and a new seed each time.

    Raises ``NotMeasured`` if a run at some rate is not the load that was asked for (client-bound, warm cache): a
    limit of the client is never reported as the server's.
    """
    options = options or SendOptions()
    seeds = itertools.count()

    def try_at(rate: float) -> Goodput:
        run = run_load(server, workload, OpenLoop(poisson(rate, requests, seed=next(seeds))), options)
        if on_run:
            on_run(run)
        if run.own_problems:
            raise NotMeasured(f"at {rate:.4g} requests/s: {'; '.join(run.own_problems)}")
        return goodput(run, slo)

    return max_rate(try_at, search)
