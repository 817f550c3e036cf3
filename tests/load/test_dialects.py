"""Whole loads, evaluations and searches against servers that stream wrongly: none of it passes for right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_llmperf.client.answers import Retries, complete_all
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.load.arrivals import constant
from pytest_llmperf.load.goodput import RateSearch, Slo, goodput, max_rate, max_rate_of
from pytest_llmperf.load.patterns import ClosedLoop, OpenLoop
from pytest_llmperf.load.results import of_run
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Workload
from tests.fakes.dialects import DONE, HELD, Timed, due, event, speaking, token, whole

Body = Mapping[str, Any]
SHAPE = Workload(input_tokens=64, output_tokens=32)
EMPTY = event(
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"completion_tokens": 0}}
)


def every_third(number: int, body: Body, *ending: bytes) -> Sequence[Timed]:
    """A whole answer, or one that ends so after its third token."""
    if number % 3:
        return whole(body)
    return [*((due(n), token(n, count=n + 1)) for n in range(3)), *((due(3), part) for part in ending)]


def held_back(body: Body, size: int) -> Sequence[Timed]:
    events = whole(body)
    return [
        (events[min(n - n % size + size, len(events)) - 1][0], data) for n, (_, data) in enumerate(events)
    ]


BROKEN = {
    "an error as a field": (b'error: {"code":400,"message":"over the context"}\n\n', DONE),
    "an event named error": (b'event: error\ndata: {"message": "engine died"}\n\n', DONE),
    "a detail": (event({"detail": "engine died"}), DONE),
    "code and message": (event({"code": 50001, "message": "engine died"}), DONE),
    "no resources": (token(3, finish="insufficient_system_resource", count=4), DONE),
    "an unknown word": (token(3, finish="banana", count=4), DONE),
    "cut, with an empty reason": (token(3, finish="", count=4),),
    "done without a reason": (DONE,),
    "short": (token(3, finish="length", count=4), DONE),
}


@pytest.mark.parametrize("ending", BROKEN.values(), ids=BROKEN.keys())
def test_a_load_of_which_every_third_answer_broke_off_is_invalid(ending: tuple[bytes, ...]) -> None:
    with speaking(lambda number, body: every_third(number, body, *ending)) as server:
        run = run_load(server, SHAPE, ClosedLoop(3, 12), SendOptions(warmup=0))
    assert any("4 of 12 requests failed" in problem for problem in run.problems), run.problems
    assert len(of_run(run).samples["e2el"]) == 8


@pytest.mark.parametrize("word", ["eos", "end_turn", "STOP", "completed", "FINISH_REASON_STOP"])
def test_a_whole_answer_that_ends_in_another_word_is_measured(word: str) -> None:
    shape = replace(SHAPE, fixed_output=False)
    with speaking(lambda _, body: whole(body, finish=word)) as server:
        run = run_load(server, shape, ClosedLoop(3, 12), SendOptions(warmup=0))
    assert run.problems == ()
    assert {trace.finish_reason for trace in run.traces} == {"stop"}


def test_answers_without_a_token_meet_no_objective_and_keep_no_rate() -> None:
    nothing = [(due(0), EMPTY), (due(0), DONE)]
    slo = Slo(e2el_s=5.0)
    with speaking(lambda number, body: whole(body) if number % 2 else nothing) as server:
        run = run_load(server, SHAPE, OpenLoop(constant(200, 60)), SendOptions(warmup=0))
        assert goodput(run, slo).met == 30
        assert any("30 × empty" in problem for problem in run.problems)
    found = max_rate(lambda _: goodput(run, slo), RateSearch(200, 400, share=0.9, max_trials=2))
    assert (found.kept_at, found.broken_at) == (None, 200)
    with (
        speaking(lambda _number, _body: nothing) as server,
        pytest.raises(NotMeasured, match="no visible token"),
    ):
        of_run(run_load(server, SHAPE, ClosedLoop(2, 4)))


def test_answers_of_another_length_make_a_search_for_a_rate_impossible() -> None:
    with (
        speaking(lambda _, body: whole({**body, "max_tokens": 8})) as server,
        pytest.raises(NotMeasured, match="8 of the 32 tokens"),
    ):
        max_rate_of(server, SHAPE, Slo(e2el_s=5.0), RateSearch(500, 1000, max_trials=2), requests=120)


@pytest.mark.parametrize("size", [16, 11, 2])
def test_a_proxy_that_holds_the_stream_back_hides_times_per_token_and_no_others(size: int) -> None:
    with speaking(lambda _, body: held_back(body, size)) as server:
        run = run_load(server, SHAPE, ClosedLoop(2, 8), SendOptions(warmup=0))
    metrics = of_run(run)
    assert run.problems == ()
    assert metrics.value("e2el") > due(31)
    for name in ("itl", "tpot", "stall"):
        with pytest.raises(NotMeasured, match="holds the stream back"):
            metrics.value(name)
    with pytest.raises(NotMeasured, match="holds the stream back"):
        goodput(run, Slo(tpot_s=1.0))


def test_a_response_that_stays_open_behind_done_takes_none_of_the_time() -> None:
    with speaking(lambda _, body: [*whole(body), (due(31), HELD)]) as server:
        run = run_load(server, SHAPE, ClosedLoop(2, 8))
    assert run.problems == ()
    assert all(
        trace.end_s == trace.arrivals[-1].time_s or trace.end_s < trace.sent_s + 0.9 for trace in run.traces
    )
    # The warm-up lost its patience; four answers of 77 ms each one after the other.
    assert run.window_s < 0.9


def test_what_usage_tells_of_the_prompts_is_looked_at() -> None:
    with speaking(lambda _, body: whole(body, prompt_tokens_details={"cached_tokens": 60})) as server:
        run = run_load(server, SHAPE, ClosedLoop(2, 4), SendOptions(warmup=0))
        assert any("warm prefix cache" in problem for problem in run.own_problems)
    with speaking(lambda _, body: whole(body, prompt_tokens=640)) as server:
        run = run_load(server, SHAPE, ClosedLoop(2, 4), SendOptions(warmup=0))
        assert any("640 tokens a prompt, 64 were asked for" in problem for problem in run.own_problems)


def test_an_evaluation_asks_again_where_an_answer_broke_off() -> None:
    with speaking(lambda number, body: every_third(number, body, *BROKEN["an error as a field"])) as server:
        bodies: list[JsonObject] = [
            {"messages": [{"role": "user", "content": f"n {n}"}], "max_tokens": 8} for n in range(9)
        ]
        answers = complete_all(server, bodies, concurrency=1, retries=Retries(4, 0.01, 0.02))
    assert all(answer.ok and answer.text == " tok" * 8 for answer in answers)
    assert {answer.attempts for answer in answers} == {1, 2}


def test_a_server_that_cannot_be_asked_for_a_length_has_times_per_token_and_none_to_the_last() -> None:
    with speaking(lambda number, body: whole({"max_tokens": 24 + number % 3}, finish="stop")) as server:
        server.capabilities.refused = frozenset({"ignore_eos", "min_tokens"})
        run = run_load(server, SHAPE, ClosedLoop(2, 6))
    metrics = of_run(run)
    assert run.problems == ()
    assert metrics.value("tpot") > 0
    with pytest.raises(NotMeasured, match="takes no ignore_eos"):
        metrics.value("e2el")
    with pytest.raises(NotMeasured, match="takes no ignore_eos"):
        goodput(run, Slo(e2el_s=5.0))
    assert goodput(run, Slo(ttft_s=5.0)).met == 6
