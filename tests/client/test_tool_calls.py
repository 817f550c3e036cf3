"""Tool calls put together from streams as servers cut them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_llmperf.client.answer_cache import AnswerCache
from pytest_llmperf.client.answers import complete_all
from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.tool_calls import ToolCall
from pytest_llmperf.client.trace import RequestOutcome, Trace
from tests.fakes.dialects import DONE, event, speaking

PARIS, OSLO = '{"city": "Paris"}', '{"city": "Oslo"}'


def piece(name: str | None = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {**more, "function": {key: value for key, value in function.items() if value is not None}}


def streamed(
    pieces: Sequence[dict[str, Any] | list[dict[str, Any]]], finish: str | None = "tool_calls"
) -> Trace:
    deltas = [{"tool_calls": one if isinstance(one, list) else [one]} for one in pieces]
    return traced([*deltas, {}], finish)


def traced(deltas: Sequence[dict[str, Any]], finish: str | None) -> Trace:
    events = [
        event(
            {
                "choices": [
                    {"index": 0, "delta": delta, "finish_reason": finish if n == len(deltas) - 1 else None}
                ]
            }
        )
        for n, delta in enumerate(deltas)
    ]
    reply = Reply(sent_s=0.0, headers_s=0.0, end_s=1.0, status=200, ending=Ending.COMPLETE)
    for number, data in enumerate([*events, DONE] if finish else events):
        reply.body += data
        reply.times.append(float(number))
        reply.ends.append(len(reply.body))
    return trace_of(reply)


def calls_of(trace: Trace) -> list[tuple[str, str]]:
    assert trace.outcome is RequestOutcome.OK, trace.error
    return [(call.name, call.arguments) for call in trace.tool_calls]


DIALECTS = {
    "OpenAI, vLLM: id and name first, arguments in parts": [
        piece("get_weather", "", index=0, id="a", type="function"),
        piece(arguments='{"city": ', index=0),
        piece(arguments='"Paris"}', index=0),
        piece("get_weather", "", index=1, id="b", type="function"),
        piece(arguments=OSLO, index=1),
    ],
    "interleaved by index": [
        piece("get_weather", '{"city": ', index=0, id="a"),
        piece("get_weather", '{"city": ', index=1, id="b"),
        piece(arguments='"Paris"}', index=0),
        piece(arguments='"Oslo"}', index=1),
    ],
    "the name in parts": [
        piece("get_", index=0, id="a"),
        piece("weather", index=0),
        piece(arguments=PARIS, index=0),
        piece("get_weather", OSLO, index=1, id="b"),
    ],
    "SGLang: name and id in every piece": [
        piece("get_weather", "", index=0, id="a"),
        piece("get_weather", '{"city": ', index=0, id="a"),
        piece("get_weather", '"Paris"}', index=0, id="a"),
        piece("get_weather", OSLO, index=1, id="b"),
    ],
    "the name in every piece, the id in the first": [
        piece("get_weather", "", index=0, id="a"),
        piece("get_weather", PARIS, index=0),
        piece("get_weather", "", index=0),
        piece("get_weather", OSLO, index=1, id="b"),
    ],
    "a new id for every piece": [
        piece("get_weather", '{"city": ', index=0, id="a"),
        piece(arguments='"Paris"}', index=0, id="b"),
        piece("get_weather", OSLO, index=1, id="c"),
    ],
    "no id at all": [
        piece("get_weather", '{"city": ', index=0),
        piece(arguments='"Paris"}', index=0),
        piece("get_weather", OSLO, index=1),
    ],
    "index 0 for all": [
        piece("get_weather", PARIS, index=0, id="a"),
        piece("get_weather", OSLO, index=0, id="b"),
    ],
    "index 0 for all, no id": [
        piece("get_weather", PARIS, index=0),
        piece("get_weather", OSLO, index=0),
    ],
    "no index: by id": [
        piece("get_weather", '{"city": ', id="a"),
        piece(arguments='"Paris"}'),
        piece("get_weather", OSLO, id="b"),
    ],
    "no index, no id: whole calls in one chunk": [[piece("get_weather", PARIS), piece("get_weather", OSLO)]],
    "the index as text": [
        piece("get_weather", '{"city": ', index="0", id="a"),
        piece(arguments='"Paris"}', index="0"),
        piece("get_weather", OSLO, index="1", id="b"),
    ],
    "an empty object before the arguments": [
        piece("get_weather", {}, index=0, id="a"),
        piece(arguments='{"city": ', index=0),
        piece(arguments='"Paris"}', index=0),
        piece("get_weather", "{}", index=1, id="b"),
        piece(arguments=OSLO, index=1),
    ],
    "an empty object after the arguments": [
        piece("get_weather", PARIS, index=0, id="a"),
        piece(arguments={}, index=0),
        piece("get_weather", {"city": "Oslo"}, index=1, id="b"),
        piece(arguments={}, index=1),
    ],
    "the name after the id": [
        piece(arguments="", index=0, id="a"),
        piece("get_weather", "", index=0),
        piece(arguments=PARIS, index=0),
        piece("get_weather", OSLO, index=1, id="b"),
    ],
    "the name after the arguments": [
        piece(arguments='{"city": ', index=0, id="a"),
        piece(arguments='"Paris"}', index=0),
        piece("get_weather", index=0),
        piece(arguments=OSLO, index=1, id="b"),
        piece("get_weather", "", index=1),
    ],
    "arguments as objects": [
        piece("get_weather", {"city": "Paris"}, index=0, id="a"),
        piece("get_weather", {"city": "Oslo"}, index=1, id="b"),
    ],
}


@pytest.mark.parametrize("pieces", DIALECTS.values(), ids=DIALECTS.keys())
def test_two_calls_are_put_together_however_a_server_cuts_them(pieces: list[Any]) -> None:
    assert calls_of(streamed(pieces)) == [("get_weather", PARIS), ("get_weather", OSLO)]


def test_a_call_without_arguments_keeps_its_empty_text() -> None:
    assert calls_of(streamed([piece("now", "", index=0, id="a")])) == [("now", "")]


@pytest.mark.parametrize(
    "pieces",
    [
        [piece("now", "", index=0, id="a"), piece("now", "", index=0, id="b")],
        [piece("now", "", index=0, id="a"), piece(arguments="", index=0), piece("now", "", index=0, id="b")],
        [[piece("now", "", index=0), piece("now", "", index=0)]],
        [[piece("now", ""), piece("now", "")]],
        [[piece("now"), piece("now")]],
        [piece("now", "", id="a"), piece("now", "", id="b")],
        [piece("now", "", index=0, id="a"), piece("now", "", index=1, id="b")],
    ],
)
def test_parallel_calls_without_arguments_are_two(pieces: list[Any]) -> None:
    assert calls_of(streamed(pieces)) == [("now", "")] * 2


def test_calls_with_an_empty_object_each_are_two_and_keep_it() -> None:
    pieces = [piece("now", "{}", index=0, id="a"), piece("now", "{}", index=0, id="b")]
    assert calls_of(streamed(pieces)) == [("now", "{}")] * 2
    pieces = [piece("now", {}, index=0), piece(arguments={}, index=0), piece("now", {}, index=1)]
    assert calls_of(streamed(pieces)) == [("now", "{}")] * 2


def test_an_id_for_every_piece_with_the_name_is_one_call_as_soon_as_arguments_come() -> None:
    pieces = [
        piece("get_weather", "", index=0, id="a"),
        piece("get_weather", '{"city": ', index=0, id="b"),
        piece("get_weather", '"Paris"}', index=0, id="c"),
    ]
    assert calls_of(streamed(pieces)) == [("get_weather", PARIS)]


def test_arguments_that_are_sent_twice_stay_malformed_as_any_client_would_see_them() -> None:
    pieces = [piece("get_weather", PARIS, index=0, id="a"), piece(arguments=PARIS, index=0)]
    assert calls_of(streamed(pieces)) == [("get_weather", PARIS + PARIS)]


def test_the_old_function_call_is_one_call() -> None:
    deltas = [
        {"function_call": {"name": "get_weather", "arguments": ""}},
        {"function_call": {"arguments": PARIS}},
        {},
    ]
    assert calls_of(traced(deltas, "function_call")) == [("get_weather", PARIS)]


def test_text_before_a_call_stays_text() -> None:
    trace = traced(
        [{"content": "Let me look. "}, {"tool_calls": [piece("get_weather", PARIS, index=0)]}, {}], "stop"
    )
    assert (trace.text, calls_of(trace)) == ("Let me look. ", [("get_weather", PARIS)])


def test_a_call_that_is_never_finished_is_an_error() -> None:
    trace = streamed([piece("get_weather", '{"city": ', index=0, id="a")], finish=None)
    assert trace.outcome is RequestOutcome.CUT


def test_a_whole_answer_has_as_many_calls_as_it_lists() -> None:
    entry = {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": PARIS}}
    message = {"role": "assistant", "content": None, "tool_calls": [entry, {**entry, "id": "b"}]}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    reply = Reply(status=200, ending=Ending.COMPLETE, body=bytearray(json.dumps(whole).encode()))
    assert calls_of(trace_of(reply, whole=True)) == [("get_weather", PARIS)] * 2


def test_an_evaluation_that_streams_gets_the_calls() -> None:
    chunks = [
        event({"choices": [{"index": 0, "delta": {"tool_calls": [part]}, "finish_reason": finish}]})
        for part, finish in (
            (piece("get_weather", "", index=0, id="a"), None),
            (piece(arguments=PARIS, index=0), "stop"),
        )
    ]
    with speaking(lambda number, body: [(0.0, chunk) for chunk in (*chunks, DONE)]) as server:
        (answer,) = complete_all(server, [{"messages": [{"role": "user", "content": "?"}]}])
    assert answer.ok, answer.error
    assert answer.tool_calls == (ToolCall("get_weather", PARIS, "a"),)


def test_calls_survive_the_answer_cache(tmp_path: Any) -> None:
    from pytest_llmperf.client.answers import Answer

    call = ToolCall("get_weather", PARIS, "a")
    answer = Answer(0, "", "", "tool_calls", 1, 1, None, RequestOutcome.OK, "", 1, 0.1, tool_calls=(call,))
    body = {"messages": [{"role": "user", "content": "?"}]}
    first = AnswerCache(tmp_path, "one", "p", "all")
    first.keep("engine", body, answer)
    first.close()
    again = AnswerCache(tmp_path, "two", "p", "all").take("engine", body)
    assert again is not None
    assert again.tool_calls == (call,)
