"""From the rounds of a load to gates: what may be judged, and what is said where nothing may."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pytest_llmperf.client.trace import Arrival, RequestOutcome, Trace
from pytest_llmperf.gates.base import strict
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.load import metrics
from pytest_llmperf.load.client_health import ClientHealth
from pytest_llmperf.load.goodput import Slo
from pytest_llmperf.load.interleave import Rounds
from pytest_llmperf.load.results import of_run
from pytest_llmperf.load.run import LoadRun, ScheduleKept
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.measure.clock_error import ClockError
from pytest_llmperf.measure.load_results import LoadResult, MeasuredLoad, MeasuredPair, Pair
from pytest_llmperf.measure.on_device import OnDevice
from pytest_llmperf.measure.scheduled import met_by_slice
from pytest_llmperf.serving.server import Server

GAP_S = 0.002


def answer(held: int = 1, *, slower: float = 1.0, **fields: Any) -> Trace:
    """32 tokens of 2 ms, let go ``held`` at a time."""
    due = [0.015 + GAP_S * slower * n for n in range(32)]
    times = [due[min(n - n % held + held, 32) - 1] for n in range(32)]
    whole: dict[str, Any] = {
        "index": 0,
        "intended_s": 0.0,
        "sent_s": 0.0,
        "headers_s": 0.01,
        "arrivals": tuple(Arrival(time_s, " tok", False, 1) for time_s in times),
        "end_s": times[-1],
        "outcome": RequestOutcome.OK,
        "prompt_tokens": 64,
        "completion_tokens": 32,
    }
    return Trace(**{**whole, **fields})


LOST = answer(outcome=RequestOutcome.CUT, error="the stream ended")


def a_run(traces: Sequence[Trace], row: str = "distill", **fields: Any) -> LoadRun:
    return LoadRun(
        server=Server(row, row, "http://127.0.0.1:1", None, None, None, None, "", "fake"),
        workload=fields.pop("workload", Workload(64, 32)),
        concurrency=4,
        traces=tuple(traces),
        start_s=0.0,
        end_s=0.1,
        client=fields.pop("client", ClientHealth(0.01, 0.1, 0.001, 0.002, "uvloop")),
        prompts_note="",
        cache=None,
        connections=4,
        **fields,
    )


def loaded(runs: Sequence[LoadRun]) -> LoadResult:
    nothing = [None] * len(runs)
    device = OnDevice(nothing, nothing, nothing, "not asked")
    return LoadResult(strict, 4, MeasuredLoad(4, runs, [of_run(run) for run in runs], ClockError(), device))


def verdict(judgement: Judgement) -> tuple[Status, str]:
    return judgement.verdict.status, judgement.verdict.why


def test_one_failure_in_a_round_of_four_is_one_in_all_requests_of_the_load() -> None:
    rounds = [a_run([answer()] * 4) for _ in range(63)]
    assert verdict(loaded([*rounds, a_run([answer()] * 3 + [LOST])]).ttft.p95 <= 1.0)[0] is Status.PASS
    status, why = verdict(loaded([*rounds[:60], a_run([LOST] * 3 + [answer()])]).ttft.p95 <= 1.0)
    assert status is Status.INVALID
    assert "3 of 244 requests failed" in why


@pytest.mark.parametrize("name", ["itl", "tpot", "stall"])
def test_times_of_a_stream_that_is_held_back_are_invalid_and_the_others_stand(name: str) -> None:
    shown = loaded([a_run([answer(16)] * 4) for _ in range(64)])
    for judgement in (getattr(shown, name).p95 <= 1.0, getattr(shown, name).p50 >= 1e-6):
        status, why = verdict(judgement)
        assert status is Status.INVALID
        assert "holds the stream back" in why
    assert verdict(shown.e2el.p95 <= 1.0)[0] is Status.PASS
    assert verdict(shown.ttft.p95 <= 1.0)[0] is Status.PASS


def test_a_few_rounds_that_came_in_one_piece_are_lost_and_more_are_too_many() -> None:
    rounds = [a_run([answer()] * 4)] * 58
    few = loaded([*rounds, *[a_run([answer(32)] * 4)] * 6])
    assert verdict(few.itl.p50 <= 2 * GAP_S)[0] is Status.PASS
    assert len(few.itl.samples) == 58 * 4 * 31
    many = loaded([*rounds[:30], *[a_run([answer(32)] * 4)] * 10])
    assert verdict(many.itl.p50 <= 2 * GAP_S)[0] is Status.INVALID


def test_half_of_the_answers_held_back_is_a_load_that_was_not_seen() -> None:
    mixed = loaded([a_run([answer(16), answer(), answer(), answer(16)])] * 64)
    status, why = verdict(mixed.itl.p50 <= 1.0)
    assert status is Status.INVALID
    assert "48%" in why


def in_turn(candidate: Sequence[LoadRun], baseline: Sequence[LoadRun]) -> Pair:
    a, b = ([of_run(run) for run in side] for side in (candidate, baseline))
    rounds = Rounds(tuple(a), tuple(b), tuple(candidate), tuple(baseline))
    return Pair(strict, 4, MeasuredPair(4, AllRounds([rounds]), lambda _: ClockError()))


@dataclass(frozen=True)
class AllRounds:
    """Rounds of which none is measured later."""

    starts: Sequence[Rounds]
    looks: Sequence[int] = ()
    first_look: int = 64

    def first(self, n: int) -> Sequence[Rounds]:
        del n
        return self.starts


@pytest.mark.parametrize("metric", ["itl", "tpot"])
@pytest.mark.parametrize("side", ["candidate", "baseline"])
def test_a_ratio_with_a_side_that_was_not_seen_is_invalid_and_names_it(metric: str, side: str) -> None:
    held, seen = [a_run([answer(16, slower=2)] * 4)] * 64, [a_run([answer()] * 4, "math")] * 64
    pair = in_turn(held, seen) if side == "candidate" else in_turn(seen, held)
    status, why = verdict(getattr(pair, metric).ratio <= 100)
    assert status is Status.INVALID
    assert "distill: 64 of 64 rounds cannot be used" in why
    assert "holds the stream back" in why
    assert verdict(pair.e2el.ratio <= 100)[0] is Status.PASS


def test_rounds_in_which_something_stood_still_are_taken_out_and_their_stall_is_not() -> None:
    frozen = a_run(
        [
            answer(
                arrivals=tuple(Arrival(0.1 + n * 0.002 + 15 * (n > 9), " tok", False, 1) for n in range(32)),
                end_s=16,
            )
        ]
        * 4
    )
    rounds = [a_run([answer()] * 4)] * 58
    shown = loaded([*rounds, *[frozen] * 6])
    assert len(shown.e2el.samples) == len(shown.ttft.samples) == 58 * 4
    assert len(shown.throughput.samples) == 58
    assert max(value for value in shown.stall.samples if value is not None) > 14
    status, why = verdict(loaded([*rounds[:20], *[frozen] * 6]).throughput.p50 >= 1.0)
    assert status is Status.INVALID
    assert "the server stood still for 15" in why


def test_a_starved_client_is_invalid_by_its_own_timers() -> None:
    starved = ClientHealth(0.01, 0.1, 0.05, 0.06, "uvloop", late_share=0.5)
    status, why = verdict(loaded([a_run([answer()] * 4, client=starved)] * 64).ttft.p95 <= 1.0)
    assert status is Status.INVALID
    assert "late for 50% of the time" in why


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cached_tokens": 60}, "warm prefix cache"),
        ({"cached_tokens": 32}, "warm prefix cache"),
        ({"cached_tokens": 20}, ""),
        ({"cached_tokens": 0}, ""),
        (
            {"outcome": RequestOutcome.OTHER_LENGTH, "error": "8 of 32"},
            "do not have the length that was asked for",
        ),
    ],
)
def test_usage_tells_of_a_load_that_was_not_the_one_asked_for(fields: dict[str, Any], words: str) -> None:
    problems = a_run([answer(**fields)] * 4).own_problems
    assert any(words in problem for problem in problems) if words else problems == ()
    assert not any(
        "warm" in one for one in a_run([answer(**fields)], workload=Workload(warm_cache=True)).own_problems
    )


def goodput(run: LoadRun, slo: Slo) -> Share:
    outcomes, unusable = met_by_slice(run, slo)
    return Share("goodput", outcomes, noun="slice", unusable=unusable)


def test_goodput_on_tokens_that_were_not_seen_is_invalid() -> None:
    run = a_run([answer(16)] * 320, open_loop=ScheduleKept("poisson", 10.0, (0.0,) * 320))
    status, why = verdict(goodput(run, Slo(tpot_s=0.002)) >= 0.5)
    assert status is Status.INVALID
    assert "holds the stream back" in why
    assert verdict(goodput(run, Slo(e2el_s=0.2)) >= 0.5)[0] is Status.PASS
    empty = replace(
        run, traces=(answer(outcome=RequestOutcome.EMPTY, arrivals=(), completion_tokens=0),) * 320
    )
    assert verdict(goodput(empty, Slo(e2el_s=0.2)) >= 0.5)[0] is Status.FAIL


@pytest.fixture
def second_token() -> Iterator[None]:
    """The metric of a user's own that ``load.metrics`` gives as its example."""
    metrics.register_metric(
        metrics.Metric(
            name="second_token",
            title="second token",
            description="time to the second token",
            from_trace=lambda trace: [a.time_s - trace.intended_s for a in trace.arrivals[1:2]],
            from_truth=lambda request: [t - request.received_s for t in request.tokens_s[1:2]],
            needs="arrivals",
            from_intended=True,
        )
    )
    yield
    metrics.unregister("second_token")


@pytest.mark.usefixtures("second_token")
def test_a_metric_of_ones_own_is_judged_and_compared_like_any_other() -> None:
    rounds = [a_run([answer()] * 4)] * 64
    result = loaded(rounds)
    assert result.second_token.metric == "second token at 4"
    assert result.second_token.size == 64 * 4
    assert verdict(result.second_token.p95 <= 0.1)[0] is Status.PASS
    assert verdict(loaded([a_run([answer(16)] * 4)] * 64).second_token.p95 <= 0.1)[0] is Status.INVALID
    slow = [a_run([answer(slower=2)] * 4)] * 64
    pair = in_turn(slow, [a_run([answer()] * 4, "math")] * 64)
    assert verdict(pair.second_token.ratio <= 1.05)[0] is Status.FAIL


def test_a_metric_that_is_not_registered_is_named_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match="LoadResult: no metric 'second_token'; there are ttft, ttfat"):
        _ = loaded([a_run([answer()] * 4)]).second_token
    with pytest.raises(AttributeError, match="client's own"):
        _ = in_turn([a_run([answer()] * 4)], [a_run([answer()] * 4)]).schedule_delay
    assert not hasattr(loaded([a_run([answer()] * 4)]), "mean")


def test_requests_a_second_are_a_metric_with_one_value_a_round() -> None:
    result = loaded([a_run([answer()] * 4)] * 64)
    assert result.requests_per_s.size == 64
    assert result.requests_per_s.p50.value == pytest.approx(40.0)
    assert verdict(result.requests_per_s.p50 >= 30.0)[0] is Status.PASS
