"""An answer is complete only when that is shown: one table of streams, and what each of them is."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmperf.client.answers import Retries, complete_all
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.finish_reasons import Finish, meaning
from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.trace import RequestOutcome

Replied = Callable[..., Reply]
DONE = b"data: [DONE]\n\n"
BROKEN, DIED = "stream_error", "engine died"
TOKEN = b'data: {"choices": [{"index": 0, "delta": {"content": " tok"}, "finish_reason": null}]}\n\n'


def event(value: object, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


def last(word: object, content: str = " end", **delta: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": content, **delta}, "finish_reason": word}]})


def end_only(word: object, **delta: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": word}]})


@pytest.mark.parametrize(
    ("finish", "words"),
    [
        (Finish.STOP, ["stop", "STOP", "eos", "eos_token", "end_turn", "EndTurn", "completed", "COMPLETE"]),
        (Finish.STOP, ["FinishReason.STOP", "FINISH_REASON_STOP", "endTurn", "stop-sequence", {"type": "stop"}]),
        (Finish.LENGTH, ["length", "max_tokens", "MAX_TOKENS", "FINISH_REASON_MAX_TOKENS", "model_length"]),
        (Finish.LENGTH, ["max_new_tokens", "model_context_window_exceeded", {"type": "length", "length": 16}]),
        (Finish.TOOL, ["tool_calls", "function_call", "tool_use", "TOOL_CALL"]),
        (Finish.FILTER, ["content_filter", "SAFETY", "refusal", "guardrail_intervened", "RECITATION", "sensitive"]),
        (Finish.ERROR, ["abort", "error", "insufficient_system_resource", "cancelled", "network_error", "TIMEOUT"]),
        (Finish.UNKNOWN, ["banana", 0, "<|im_end|>", {}, True, "stopp"]),
        (None, ["", "  ", None, "null", "None", "FINISH_REASON_UNSPECIFIED", "not_finished"]),
    ],
)  # fmt: skip
def test_every_word_for_the_end_of_an_answer_means_one_thing(
    finish: Finish | None, words: list[object]
) -> None:
    wrong = {
        repr(word): found for word in words if (found := meaning(word)) != (finish if word != {} else None)
    }
    assert not wrong


CALL = [{"function": {"name": "f", "arguments": "{}"}}]
WHOLE = [TOKEN, last("stop"), DONE]


@pytest.mark.parametrize(
    ("stream", "finish"),
    [
        (WHOLE, "stop"),
        ([TOKEN, last("eos"), DONE], "stop"),
        ([TOKEN, last("MAX_TOKENS"), DONE], "length"),
        ([last("", " a"), TOKEN, last("stop"), DONE], "stop"),
        ([TOKEN, end_only("tool_calls", tool_calls=CALL), DONE], "tool_calls"),
        ([end_only("tool_calls", tool_calls=CALL), DONE], "tool_calls"),
        ([end_only("stop", refusal="I can't help with that."), DONE], "stop"),
        ([end_only(None, reasoning_content="hm"), end_only("stop"), DONE], "stop"),
        ([end_only(None, reasoning_details=[{"type": "reasoning.text", "text": "a"}]), end_only("stop"), DONE], "stop"),
        # nothing behind [DONE] belongs to the answer
        ([*WHOLE, event({"error": "late"})], "stop"),
        # a null error, and a message that is no error
        ([event({"error": None, "choices": [{"index": 0, "delta": {"content": "a"}}]}), last("stop"), DONE], "stop"),
        ([TOKEN, last("stop"), event({"choices": [], "message": "", "usage": {"completion_tokens": 2}}), DONE], "stop"),
        ([event({"choices": [{"delta": {"content": "a"}}], "code": 0, "message": "Success"}), *WHOLE], "stop"),
        ([event({"choices": [{"delta": {"content": "a"}}], "error": {"code": 0, "message": ""}}), *WHOLE], "stop"),
        ([*WHOLE[:2], event({"code": 200, "message": "ok"}), DONE], "stop"),
        ([*WHOLE[:2], event({"base_resp": {"status_code": 0, "status_msg": "success"}}), DONE], "stop"),
        # what keeps a connection open
        ([b": OPENROUTER PROCESSING\n\n", event({"type": "ping"}, "ping"), b"data: null\n\n", *WHOLE], "stop"),
        ([b"event: ping\ndata: 2026-01-01 00:00:00\n\n", b"data: ping\n\n", b"data: {}\n\n", *WHOLE], "stop"),
        # [DONE] as some write it
        ([*WHOLE[:2], b'data: "[DONE]"\n\n'], "stop"),
        ([*WHOLE[:2], b"data:[done]\r\n\r\n"], "stop"),
        ([*WHOLE[:2], b"data: [DONE]\ndata: [DONE]\n\n"], "stop"),
        ([*WHOLE[:2], b"event: done\ndata: finished\n\n", DONE], "stop"),
        # a reason that says nothing yet, and other calls of tools than functions of text
        ([event({"choices": [{"delta": {"content": "a"}, "finish_reason": False}]}), *WHOLE], "stop"),
        ([end_only("tool_calls", tool_calls=[{"custom": {"name": "f", "input": "x"}}]), DONE], "tool_calls"),
        ([end_only("tool_calls", tool_calls=[{"function": {"arguments": {"a": 1}}}]), DONE], "tool_calls"),
        ([end_only("stop", audio={"transcript": "spoken"}), DONE], "stop"),
        # choices that are counted from one
        ([part.replace(b'"index": 0', b'"index": 1') for part in WHOLE], "stop"),
        # an invisible token among visible ones, and a single one, which may be half a character
        ([last(None, "\u200b"), *WHOLE], "stop"),
        ([last("length", "\ufffd"), DONE], "length"),
    ],
)  # fmt: skip
def test_a_whole_answer_is_whole_in_every_dialect(replied: Replied, stream: list[bytes], finish: str) -> None:
    trace = trace_of(replied(*stream))
    assert trace.ok, trace.error
    assert trace.finish_reason == finish
    assert len(trace.arrivals) >= 1


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
CHOICE_ERROR = {
    "index": 0,
    "delta": {"content": ""},
    "finish_reason": None,
    "error": {"code": 502, "message": "died"},
}


@pytest.mark.parametrize(
    ("stream", "outcome", "words"),
    [
        # errors that are told in the stream, in every form
        ([TOKEN, b'error: {"code":400,"message":"over the context"}\n\n', DONE], BROKEN, "over the context"),
        ([TOKEN, event({"message": DIED}, "error"), DONE], BROKEN, DIED),
        ([TOKEN, b"event: error\ndata: engine died\n\n", DONE], BROKEN, DIED),
        ([TOKEN, b"event: error\n\n", DONE], BROKEN, "error"),
        ([TOKEN, event({"detail": DIED}), DONE], BROKEN, DIED),
        ([TOKEN, event({"code": 50001, "message": DIED}), DONE], BROKEN, "50001"),
        ([TOKEN, event({"message": DIED, "type": "InternalError"}), DONE], BROKEN, DIED),
        ([TOKEN, event({"object": "error", "message": DIED}), DONE], BROKEN, DIED),
        ([TOKEN, event({"error": DIED}), DONE], BROKEN, DIED),
        ([TOKEN, event({"error": [{"message": DIED}]}), DONE], BROKEN, DIED),
        ([TOKEN, event([{"error": {"message": DIED, "code": 503}}]), DONE], BROKEN, DIED),
        ([TOKEN, event({"error": {"error": {"message": DIED}}}), DONE], BROKEN, DIED),
        ([TOKEN, event({"error": True, "msg": DIED}), DONE], BROKEN, DIED),
        ([TOKEN, event(OVERLOADED), DONE], BROKEN, "Overloaded"),
        ([TOKEN, event({"choices": [CHOICE_ERROR]}), DONE], BROKEN, "died"),
        ([TOKEN, event({"choices": [], "detail": DIED}), DONE], BROKEN, DIED),
        ([TOKEN, b'{"error": {"message": "engine died"}}\n', DONE], BROKEN, DIED),
        ([TOKEN, last("stop"), event({"error": DIED}), DONE], BROKEN, DIED),
        ([TOKEN, last("stop"), b'data: {"error": {"message": "engine died"}}'], BROKEN, DIED),
        ([TOKEN, event({"id": "c-1", "model": "m", "code": 500, "message": DIED}), DONE], BROKEN, DIED),
        ([TOKEN, event({"id": "c-1", "choices": [], "code": 500, "message": DIED}), *WHOLE], BROKEN, DIED),
        ([TOKEN, event({"id": "c-1", "choices": None, "message": DIED}), *WHOLE], BROKEN, DIED),
        ([TOKEN, event({"choices": [{"delta": {}}], "code": 10013, "message": DIED}), *WHOLE], BROKEN, DIED),
        ([TOKEN, event({"choices": [{"delta": {"error": {"message": DIED}}}]}), *WHOLE], BROKEN, DIED),
        ([TOKEN, event({"base_resp": {"status_code": 1008, "status_msg": DIED}}), *WHOLE], BROKEN, "1008"),
        ([TOKEN, event({"modelStreamErrorException": {"message": DIED}}), *WHOLE], BROKEN, DIED),
        ([TOKEN, event({"type": "response.failed", "response": {"error": DIED}}), *WHOLE], BROKEN, DIED),
        ([TOKEN, event({"status": "error", "reason": DIED}), *WHOLE], BROKEN, DIED),
        ([TOKEN, event({"title": DIED, "status": 500}), *WHOLE], BROKEN, DIED),
        ([TOKEN, event({"success": False, "Message": DIED}), *WHOLE], BROKEN, DIED),
        ([TOKEN, event({"fault": {"faultstring": DIED}}), *WHOLE], BROKEN, DIED),
        ([TOKEN, event({"errmsg": DIED, "errcode": 7}), *WHOLE], BROKEN, DIED),
        ([TOKEN, event({"m": DIED}, "internal_error"), *WHOLE], BROKEN, DIED),
        ([TOKEN, event({"m": DIED}, "modelStreamErrorException"), *WHOLE], BROKEN, DIED),
        ([TOKEN, b"event: failure\ndata: engine died\n\n", *WHOLE], BROKEN, DIED),
        ([TOKEN, b"event: error\ndata: [DONE]\n\n", *WHOLE], BROKEN, "DONE"),
        # a gateway that closes what the server has given up
        ([TOKEN, last("error"), end_only("stop"), DONE], BROKEN, "'error'"),
        ([TOKEN, last("abort"), end_only("length"), DONE], BROKEN, "'abort'"),
        # finish reasons of a server that gave up, and of no known meaning
        ([TOKEN, last("insufficient_system_resource"), DONE], BROKEN, "insufficient_system_resource"),
        ([TOKEN, last("abort"), DONE], BROKEN, "abort"),
        ([TOKEN, last("Cancelled"), DONE], BROKEN, "Cancelled"),
        ([TOKEN, last("banana"), DONE], "unknown_finish", "banana"),
        ([TOKEN, last(7), DONE], "unknown_finish", "7"),
        # no end
        ([TOKEN, DONE], "cut", "without a finish reason"),
        ([last(""), last(""), DONE], "cut", "without a finish reason"),
        ([last("null"), DONE], "cut", "without a finish reason"),
        ([DONE], "cut", "without a finish reason"),
        # no text
        ([end_only("stop"), event({"choices": [], "usage": {"completion_tokens": 0}}), DONE], "empty", "no visible"),
        ([last("stop", ""), DONE], "empty", "no visible"),
        ([last(None, "\u200b"), last(None, "\ufffd"), last("length", "\u2060"), DONE], "empty", "NaN"),
        ([last("length", ""), event({"choices": [], "usage": {"completion_tokens": 48}}), DONE], "empty", "48 tokens"),
    ],
)  # fmt: skip
def test_whatever_is_not_a_whole_answer_is_an_error_that_says_so(
    replied: Replied, stream: list[bytes], outcome: str, words: str
) -> None:
    reply = replied(*stream)
    reply.ending = Ending.COMPLETE
    trace = trace_of(reply)
    assert (trace.outcome.value, words in trace.error) == (outcome, True), trace.error
    assert not trace.ok


@pytest.mark.parametrize("ending", [Ending.CUT, Ending.TIMEOUT])
@pytest.mark.parametrize("stream", [[TOKEN], [last(""), last("")], [TOKEN, last("stop")]])
def test_a_socket_that_closed_in_the_middle_is_no_end(
    replied: Replied, stream: list[bytes], ending: Ending
) -> None:
    reply = replied(*stream)
    reply.ending = ending
    assert trace_of(reply).outcome.value == ending.value


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": DIED, "code": 500}}, "engine died (code 500)"),
        ({"detail": [{"msg": "field required"}]}, "field required"),
        ({"code": 20015, "message": DIED, "data": None}, "engine died (code 20015)"),
        ({"choices": [{"index": 0, "message": {}, "error": DIED}]}, DIED),
        ({"object": "error", "message": DIED, "type": "BadRequestError"}, DIED),
    ],
)
def test_a_body_in_one_piece_may_be_an_error_with_status_200(
    replied: Replied, body: object, words: str
) -> None:
    reply = replied(json.dumps(body).encode())
    reply.ending = Ending.COMPLETE
    trace = trace_of(reply, whole=True)
    assert trace.outcome is RequestOutcome.STREAM_ERROR
    assert words in trace.error


def counted(tokens: int) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": tokens}})


@pytest.mark.parametrize(
    ("chunks", "word", "usage", "comparable"),
    [
        (8, "length", 8, True),
        (2, "length", 8, True),
        (8, "length", 4, False),
        (8, "stop", 7, False),
        (8, "length", 9, False),
        (8, "length", None, True),
        (7, "length", None, True),
        (2, "length", None, False),
        (8, "stop", None, False),
        (9, "length", None, False),
    ],
)
def test_in_a_load_of_fixed_length_an_answer_of_another_length_is_none(
    replied: Replied, chunks: int, word: str, usage: int | None, comparable: bool
) -> None:
    tail = [] if usage is None else [counted(usage)]
    reply = replied(*[TOKEN] * (chunks - 1), last(word), *tail, DONE)
    assert trace_of(reply).ok
    trace = trace_of(reply, asked_tokens=8)
    assert trace.ok is comparable
    assert comparable or (trace.outcome is RequestOutcome.OTHER_LENGTH and "not comparable" in trace.error)


def test_a_stream_ends_at_done_though_the_server_holds_it_open(
    scripted: Callable[..., Any], read: Callable[..., Any]
) -> None:
    body = b"".join(WHOLE)
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body)

    def holds(connection: socket.socket) -> None:
        read(connection)
        connection.sendall(response)
        connection.recv(1)

    server = scripted(holds)

    async def ask(endpoint: Endpoint) -> tuple[list[Reply], Pool]:
        async with Pool(endpoint, timeout_s=60) as pool:
            return [await pool.fetch("POST", "/x", {}) for _ in range(5)], pool

    from pytest_llmperf.client import loop

    replies, pool = loop.run(lambda: ask(server.endpoint))
    assert [trace_of(reply).outcome for reply in replies] == [RequestOutcome.OK] * 5
    # The last read, and not when the client lost its patience.
    assert all(reply.end_s == reply.times[-1] for reply in replies)
    assert pool.opened == server.connections == 5, "a connection with an open response is not used again"
    # Patience is lost once, and no time is given to a server that is known for it.
    assert replies[-1].end_s - replies[1].sent_s < 0.5


def test_done_is_seen_however_it_is_cut_and_never_in_a_text(
    scripted: Callable[..., Any], read: Callable[..., Any], send: Callable[..., Any]
) -> None:
    word = "data: [DONE]"
    parts = [last(None, word), b"data", b": [DO", b"NE", b"]\n", b"\n"]

    def holds(connection: socket.socket) -> None:
        read(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in [last("stop", word), *parts[1:]]:
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        connection.recv(1)

    trace = send(scripted(holds).endpoint, timeout_s=30)
    assert trace.outcome is RequestOutcome.OK
    assert trace.text == word
    assert trace.end_s - trace.sent_s < 10


@pytest.mark.parametrize(
    "bad", [[TOKEN, last("banana"), DONE], [TOKEN, event({"detail": "busy"}), DONE], [end_only("stop"), DONE]]
)
def test_an_evaluation_sends_again_what_was_no_answer(
    scripted: Callable[..., Any], read: Callable[..., Any], chunked: Callable[..., bytes], bad: list[bytes]
) -> None:
    responses = [chunked(*bad), chunked(*WHOLE)]

    def answers(connection: socket.socket) -> None:
        for response in responses:
            read(connection)
            connection.sendall(response)

    (answer,) = complete_all(
        scripted(answers).server,
        [{"messages": [{"role": "user", "content": "x"}]}],
        retries=Retries(attempts=3, first_wait_s=0.01, longest_wait_s=0.02),
    )
    assert (answer.ok, answer.attempts, answer.text) == (True, 2, " tok end")


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": [{"type": "text", "text": "4"}, {"type": "text", "text": "2"}]}, "42", ""),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, "42"]}, "42", "hm"),
        ({"content": [{"type": "output_text", "text": "42"}], "thinking": "hm"}, "42", "hm"),
        ({"content": "42", "reasoning_content": None, "reasoning": "hm"}, "42", "hm"),
        ({"content": None, "refusal": "no"}, "no", ""),
    ],
)
def test_contents_in_parts_are_read(replied: Replied, message: object, text: str, reasoning: str) -> None:
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    reply = replied(json.dumps({"choices": choices}).encode())
    reply.ending = Ending.COMPLETE
    trace = trace_of(reply, whole=True)
    assert trace.ok
    assert (trace.text, trace.reasoning_text) == (text, reasoning)
