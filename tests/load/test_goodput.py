"""What meets an SLO, and between which two rates it stops being kept."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmperf.client.trace import Arrival, RequestOutcome, Trace
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load import run as run_module
from pytest_llmperf.load.arrivals import constant
from pytest_llmperf.load.goodput import Goodput, RateSearch, Slo, goodput, max_rate, max_rate_of
from pytest_llmperf.load.patterns import OpenLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Workload

Truth = Callable[[ReferenceOptions], ReferenceServer]

SHAPE = Workload(input_tokens=32, output_tokens=16)


def trace(*times: float, **more: Any) -> Trace:
    """To be sent at 0, sent at 0.5; its tokens came at these times."""
    fields: dict[str, Any] = {
        "index": 0,
        "intended_s": 0.0,
        "sent_s": 0.5,
        "headers_s": 0.5,
        "arrivals": tuple(Arrival(time_s, "x") for time_s in times),
        "end_s": times[-1] if times else 1.0,
        "outcome": RequestOutcome.OK,
        "completion_tokens": len(times),
    }
    return Trace(**{**fields, **more})


@pytest.mark.parametrize(
    ("slo", "met"),
    [
        (Slo(ttft_s=1.0), True),
        (Slo(ttft_s=0.99), False),
        (Slo(tpot_s=0.5), True),
        (Slo(tpot_s=0.49), False),
        (Slo(e2el_s=2.0), True),
        (Slo(e2el_s=1.99), False),
        (Slo(ttft_s=1.0, tpot_s=0.5, e2el_s=2.0), True),
        (Slo(ttft_s=1.0, tpot_s=0.5, e2el_s=1.9), False),
        (Slo(ttft_s=1.0, tpot_s=0.4, e2el_s=2.0), False),
        (Slo(ttft_s=0.9, tpot_s=0.5, e2el_s=2.0), False),
    ],
)
def test_every_limit_counts_and_time_counts_from_the_intended_sending(slo: Slo, met: bool) -> None:
    assert slo.met_by(trace(1.0, 1.5, 2.0)) is met


def test_a_failed_request_and_one_without_a_token_meet_nothing() -> None:
    assert not Slo(e2el_s=100).met_by(trace(1.0, 2.0, outcome=RequestOutcome.CUT))
    assert not Slo(ttft_s=100).met_by(trace())


def test_an_answer_of_one_token_has_no_time_per_output_token_to_miss() -> None:
    assert Slo(tpot_s=0.001).met_by(trace(5.0))


def test_a_limit_on_uncounted_tokens_is_not_measured() -> None:
    uncounted = trace(1.0, 1.5, completion_tokens=None)
    assert Slo(ttft_s=1).met_by(uncounted)
    with pytest.raises(NotMeasured, match="usage"):
        Slo(tpot_s=1).met_by(uncounted)


@pytest.mark.parametrize("limits", [{}, {"ttft_s": 0}, {"e2el_s": -1}, {"tpot_s": math.nan}])
def test_an_slo_that_limits_nothing_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need"):
        Slo(**limits)


def test_goodput_counts_who_was_in_time_and_failures_as_misses(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=10, gap_ms=1, slow_share=0.25, slow_ms=400))
    run = run_load(known.server, SHAPE, OpenLoop(constant(50, 20)), SendOptions(warmup=0))
    found = goodput(run, Slo(ttft_s=0.3))
    assert (found.met, found.requests) == (15, 20)
    assert found.share == 0.75
    known = truth(ReferenceOptions(ttft_ms=10, gap_ms=1, http_500_share=0.5))
    failing = run_load(known.server, SHAPE, OpenLoop(constant(50, 20)), SendOptions(warmup=0))
    assert goodput(failing, Slo(e2el_s=5)).met == 10


def step(limit: float, below: float = 1.0, above: float = 0.0) -> Callable[[float], Goodput]:
    """The SLO is met by ``below`` of the requests up to ``limit``, and by ``above`` of them beyond."""
    return lambda rate: Goodput(round(400 * (below if rate <= limit else above)), 400)


@pytest.mark.parametrize("limit", [1.2, 3.0, 7.7, 15.0])
def test_bisection_closes_in_on_the_limit(limit: float) -> None:
    found = max_rate(step(limit), RateSearch(1, 16, precision=0.05))
    assert found.kept_at is not None
    assert found.broken_at is not None
    assert found.kept_at <= limit < found.broken_at <= 1.05 * found.kept_at
    assert len(found.trials) <= 2 + 6


def test_fewer_trials_leave_a_wider_interval_and_no_wrong_one() -> None:
    found = max_rate(step(7.7), RateSearch(1, 16, precision=0.001, max_trials=4))
    assert len(found.trials) == 4
    assert found.kept_at == pytest.approx(4)
    assert found.broken_at == pytest.approx(8)


def test_a_limit_outside_the_rates_is_said_to_be_there() -> None:
    above = max_rate(step(100), RateSearch(1, 16))
    assert (above.kept_at, above.broken_at, len(above.trials)) == (16, None, 2)
    below = max_rate(step(0.5), RateSearch(1, 16))
    assert (below.kept_at, below.broken_at, len(below.trials)) == (None, 1, 1)
    assert "below the lowest rate tried" in str(below)
    assert "at least 16" in str(above)


def test_what_cannot_be_called_stays_inside_the_interval() -> None:
    def try_at(rate: float) -> Goodput:
        share = 1.0 if rate < 5 else 0.95 if rate < 6 else 0.5
        return Goodput(round(400 * share), 400)

    found = max_rate(try_at, RateSearch(1, 16, precision=0.05, max_trials=20))
    assert found.kept_at is not None
    assert found.broken_at is not None
    assert 5 / 1.05 <= found.kept_at < 5
    assert 6 <= found.broken_at <= 6 * 1.05
    unsure = [trial.rate_per_s for trial in found.trials if trial.kept is None]
    assert unsure
    assert all(5 <= rate < 6 for rate in unsure)


def test_no_trial_is_spent_between_two_rates_that_cannot_be_called() -> None:
    def try_at(rate: float) -> Goodput:
        share = 1.0 if rate < 2 else 0.95 if rate < 9 else 0.5
        return Goodput(round(400 * share), 400)

    found = max_rate(try_at, RateSearch(1, 16, precision=0.05, max_trials=30))
    unsure = sorted(trial.rate_per_s for trial in found.trials if trial.kept is None)
    # 4 is tried first; the others close in on 2 and on 9 from within, and nothing is tried between them and 4.
    assert not [rate for rate in unsure if 3 < rate < 4 or 4 < rate < 8]
    assert found.kept_at is not None
    assert found.broken_at is not None
    assert 2 / 1.05 <= found.kept_at < 2
    assert 9 <= found.broken_at <= 9 * 1.05


def test_the_interval_holds_the_true_maximum_as_often_as_it_says() -> None:
    chance = random.Random("goodput")
    true_max = 10.0

    def try_at(rate: float) -> Goodput:
        # Exactly 0.95 at the maximum, and falling slowly there: the hardest case.
        share = 1 / (1 + math.exp(3 * (rate / true_max - 1)) / 19)
        return Goodput(sum(chance.random() < share for _ in range(300)), 300)

    wrong = 0
    for _ in range(100):
        found = max_rate(try_at, RateSearch(1, 100, precision=0.05))
        wrong += (found.kept_at or 0.0) > true_max or (found.broken_at or math.inf) < true_max
    # The bound is 5 of 100; ten or more would have a chance of 3 % at exactly 5 %.
    assert wrong < 10


def test_too_few_requests_are_refused_and_the_number_needed_is_told() -> None:
    with pytest.raises(NotMeasured, match=r"20 requests at 1 requests/s; need at least 121"):
        max_rate(lambda _: Goodput(20, 20), RateSearch(1, 2))
    assert max_rate(lambda _: Goodput(121, 121), RateSearch(1, 2)).kept_at == 2


@pytest.mark.parametrize(("lowest", "highest"), [(0, 1), (2, 1), (1, 1), (1, math.inf), (math.nan, 1)])
def test_rates_that_span_nothing_are_refused(lowest: float, highest: float) -> None:
    with pytest.raises(ValueError, match="lowest"):
        max_rate(step(1), RateSearch(lowest, highest))


def test_the_capacity_of_a_server_with_slots_is_found(truth: Truth, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whether this machine is idle enough for a clock that is right to 10 ms is not the question here.
    monkeypatch.setattr(run_module, "LATE_ABOVE_S", math.inf)
    # 4 slots of 26 ms each serve 154 requests/s; at 300/s the 80th request waits for 0.25 s.
    known = truth(ReferenceOptions(ttft_ms=11, gap_ms=1, slots=4))
    runs: list[LoadRun] = []
    found = max_rate_of(
        known.server,
        SHAPE,
        Slo(ttft_s=0.15),
        RateSearch(60, 1500, share=0.9, precision=1.3, max_trials=4),
        requests=80,
        on_run=runs.append,
    )
    assert found.kept_at is not None
    assert found.broken_at is not None
    assert 60 <= found.kept_at < 4 / 0.026
    assert 100 < found.broken_at <= 301
    assert len(runs) == len(found.trials)
    assert len({run.open_loop.schedule for run in runs if run.open_loop}) == len(runs)


def test_a_warm_cache_ends_the_search_instead_of_deciding_it(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=1, gap_ms=1, warm_share=0.5))
    with pytest.raises(NotMeasured, match="warm prefix cache"):
        max_rate_of(known.server, SHAPE, Slo(ttft_s=1), RateSearch(100, 200), requests=20)
