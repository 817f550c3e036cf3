"""What counts as a token, what as an error, and when."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.trace import RequestOutcome

Replied = Callable[..., Reply]
DONE = b"data: [DONE]\n\n"


def chunk(delta: dict[str, Any] | None = None, *, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"choices": choices, **more}, ensure_ascii=False).encode() + b"\n\n"


def used(completion: int) -> dict[str, int]:
    return {"prompt_tokens": 9, "completion_tokens": completion, "total_tokens": 9 + completion}


def test_role_chunks_and_empty_deltas_are_no_tokens(replied: Replied) -> None:
    trace = trace_of(
        replied(
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": ""}),
            chunk({"content": "hi"}, finish="stop"),
            DONE,
        )
    )
    assert [(a.time_s, a.text) for a in trace.arrivals] == [(3.0, "hi")]
    assert trace.ttft_s == 2.5
    assert trace.ok


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_counts_as_visible_and_is_kept_apart(replied: Replied, field: str) -> None:
    trace = trace_of(replied(chunk({field: "hm"}), chunk({"content": "4"}, finish="stop"), DONE))
    assert [(a.text, a.reasoning) for a in trace.arrivals] == [("hm", True), ("4", False)]
    assert (trace.text, trace.reasoning_text) == ("4", "hm")
    assert trace.ttft_s == 0.5


def test_reasoning_under_both_names_counts_once(replied: Replied) -> None:
    trace = trace_of(replied(chunk({"reasoning_content": "hm", "reasoning": "hm"}, finish="stop"), DONE))
    assert trace.reasoning_text == "hm"


def test_a_chunk_over_the_border_of_thinking_gives_both_parts(replied: Replied) -> None:
    trace = trace_of(replied(chunk({"reasoning": "so", "content": "4"}, finish="stop", usage=used(3)), DONE))
    assert [(a.text, a.reasoning, a.tokens) for a in trace.arrivals] == [("so", True, 2), ("4", False, 1)]


def test_completions_stream_text(replied: Replied) -> None:
    body = b'data: {"choices":[{"index":0,"text":"ab","finish_reason":"length"}],"usage":null}\n\n'
    assert trace_of(replied(body, DONE)).text == "ab"


def test_usage_in_every_chunk_counts_the_tokens_of_each(replied: Replied) -> None:
    trace = trace_of(
        replied(
            chunk({"role": "assistant", "content": ""}, usage=used(0)),
            chunk({"content": "ab"}, usage=used(2)),
            chunk({"content": ""}, usage=used(3)),
            chunk({"content": "é"}, usage=used(4)),
            chunk({"content": ""}, finish="stop", usage=used(5)),
            chunk(usage=used(5)),
            DONE,
        )
    )
    assert [a.tokens for a in trace.arrivals] == [2, 2]
    assert trace.completion_tokens == 5
    assert trace.last_token_s == 5.0
    assert trace.finish_reason == "stop"


def test_logprobs_count_the_tokens_when_usage_does_not(replied: Replied) -> None:
    two = {"content": [{"token": "a"}, {"token": "b"}]}
    choice = {"index": 0, "delta": {"content": "ab"}, "logprobs": two, "finish_reason": "stop"}
    trace = trace_of(replied(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n", DONE))
    assert [a.tokens for a in trace.arrivals] == [2]
    assert trace.completion_tokens is None


def test_tokens_stay_unknown_when_the_server_does_not_say(replied: Replied) -> None:
    trace = trace_of(replied(chunk({"content": "a"}), chunk({"content": "b"}, finish="stop"), DONE))
    assert [a.tokens for a in trace.arrivals] == [None, None]
    assert trace.completion_tokens is None


def test_cached_tokens_are_read(replied: Replied) -> None:
    usage = {**used(1), "prompt_tokens_details": {"cached_tokens": 7}}
    trace = trace_of(replied(chunk({"content": "a"}, finish="stop"), chunk(usage=usage), DONE))
    assert (trace.prompt_tokens, trace.completion_tokens, trace.cached_tokens) == (9, 1, 7)


def test_a_missing_done_is_no_error_where_the_response_ends_properly_after_a_finish_reason(
    replied: Replied,
) -> None:
    assert trace_of(_complete(replied(chunk({"content": "a"}, finish="stop")))).outcome is RequestOutcome.OK
    assert trace_of(replied(chunk({"content": "a"}, finish="stop"))).outcome is RequestOutcome.CUT


def test_done_without_its_blank_line_is_done(replied: Replied) -> None:
    assert (
        trace_of(replied(chunk({"content": "a"}, finish="stop"), b"data: [DONE]")).outcome
        is RequestOutcome.OK
    )


def test_a_stream_that_ends_early_is_cut(replied: Replied) -> None:
    trace = trace_of(replied(chunk({"content": "a"}), chunk({"content": "b"})))
    assert trace.outcome is RequestOutcome.CUT
    assert trace.text == "ab"


def test_half_an_event_is_no_token(replied: Replied) -> None:
    trace = trace_of(replied(chunk({"content": "a"}), chunk({"content": "b"})[:-9]))
    assert trace.text == "a"
    assert trace.outcome is RequestOutcome.CUT


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error": {"message": "engine died", "code": 500}}\n\n',
        b'data: {"error": "engine died"}\n\n',
        b'data: {"object": "error", "message": "engine died"}\n\n',
        b'event: error\ndata: {"error": {"message": "engine died"}}\n\n',
    ],
)
def test_an_error_in_the_stream_is_an_error_even_before_done(replied: Replied, event: bytes) -> None:
    trace = trace_of(replied(chunk({"content": "a"}), event, DONE))
    assert trace.outcome is RequestOutcome.STREAM_ERROR
    assert "engine died" in trace.error


def test_an_answer_that_the_engine_aborted_is_no_answer(replied: Replied) -> None:
    trace = trace_of(replied(chunk({"content": "a"}, finish="abort"), DONE))
    assert trace.outcome is RequestOutcome.STREAM_ERROR


@pytest.mark.parametrize(
    "body", [b"data: {broken\n\n", b"data: [1]\n\n", b"data: " + b"[" * 100_000 + b"\n\n"]
)
def test_an_event_that_is_no_json_object_is_an_error(replied: Replied, body: bytes) -> None:
    assert trace_of(replied(body, DONE)).outcome is RequestOutcome.STREAM_ERROR


def test_a_page_instead_of_a_stream_is_an_error_that_shows_it(replied: Replied) -> None:
    trace = trace_of(_complete(replied(b"<html>login</html>")))
    assert trace.outcome is RequestOutcome.STREAM_ERROR
    assert "login" in trace.error


def test_an_http_error_shows_status_and_message(replied: Replied) -> None:
    trace = trace_of(replied(b'{"error": {"message": "too long", "code": 400}}', status=400))
    assert trace.outcome is RequestOutcome.HTTP_ERROR
    assert "HTTP 400: too long" in trace.error


def test_an_answer_without_any_visible_token_is_none(replied: Replied) -> None:
    trace = trace_of(replied(chunk({"content": ""}, finish="stop"), DONE))
    assert trace.outcome is RequestOutcome.EMPTY
    assert trace.ttft_s is None


def test_events_are_kept_on_request(replied: Replied) -> None:
    assert (
        trace_of(replied(chunk({"content": "a"}, finish="stop"), DONE), keep_events=True).events[-1]
        == "[DONE]"
    )


def _complete(reply: Reply) -> Reply:
    reply.ending = Ending.COMPLETE
    return reply
