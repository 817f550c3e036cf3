"""Many requests, one answer each, in order; and what is sent again."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmperf.client.answers import Answer, Retries, complete_all
from pytest_llmperf.client.trace import RequestOutcome
from pytest_llmperf.errors import UsageError, WrongServer
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import running

QUICK = Retries(attempts=3, first_wait_s=0.01, longest_wait_s=0.02)


def asking(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"n {n}"}], "max_tokens": n % 5 + 1, **fields}
        for n in range(count)
    ]


def test_answers_come_in_the_order_of_the_requests_whatever_their_length() -> None:
    seen: list[tuple[int, int]] = []
    kept: list[Answer] = []
    with running(ReferenceOptions(ttft_ms=5, gap_ms=2)) as known:
        answers = complete_all(
            known.server,
            asking(40),
            concurrency=7,
            on_progress=lambda done, total: seen.append((done, total)),
            on_answer=kept.append,
        )
        peak = known.truth().peak
    assert [answer.completion_tokens for answer in answers] == [n % 5 + 1 for n in range(40)]
    assert [answer.index for answer in answers] == list(range(40))
    assert all(answer.ok and answer.finish_reason == "length" for answer in answers)
    assert seen == [(n, 40) for n in range(1, 41)]
    assert {answer.index for answer in kept} == set(range(40))
    assert peak == 7


def test_the_next_request_is_out_before_an_answer_is_taken_in(
    scripted: Callable[..., Any], read: Callable[[socket.socket], bytes]
) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
    come = [threading.Event() for _ in range(5)]

    def handle(connection: socket.socket) -> None:
        for event in come:
            read(connection)
            event.set()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    waited: list[bool] = []

    def taken_in(answer: Answer) -> None:
        # In the client's own thread: what is not out yet would not get out.
        waited.append(come[min(answer.index + 1, 4)].wait(10))

    server = scripted(handle).server
    answers = complete_all(server, asking(5), concurrency=1, on_answer=taken_in, whole=True)
    assert all(answer.ok for answer in answers)
    assert waited == [True] * 5


def test_an_error_of_whoever_keeps_the_answers_is_raised() -> None:
    def full(answer: Answer) -> None:
        raise OSError("no space left on device")

    with running(ReferenceOptions(ttft_ms=1)) as known, pytest.raises(OSError, match="no space left"):
        complete_all(known.server, asking(20), concurrency=4, on_answer=full)


def test_a_passing_failure_is_sent_again_and_a_model_is_asked_once() -> None:
    with running(ReferenceOptions(ttft_ms=1, gap_ms=1, http_500_share=0.5)) as known:
        answers = complete_all(known.server, asking(20), concurrency=4, retries=Retries(8, 0.01, 0.02))
        assert all(answer.ok for answer in answers)
        assert sum(answer.attempts for answer in answers) == len(known.truth().requests)
        assert sum(answer.attempts for answer in answers) > 20


def test_a_failure_that_stays_is_an_error_and_no_answer() -> None:
    with running(ReferenceOptions(ttft_ms=1, http_500_share=1)) as known:
        answers = complete_all(known.server, asking(3), concurrency=1, retries=QUICK)
    assert [answer.outcome for answer in answers] == [RequestOutcome.HTTP_ERROR] * 3
    assert [answer.attempts for answer in answers] == [3] * 3
    assert all("failed, as asked" in answer.error and answer.text == "" for answer in answers)


def test_a_server_that_is_gone_is_given_up_soon() -> None:
    with running(ReferenceOptions(ttft_ms=1)) as known:
        server = known.server
    answers = complete_all(server, asking(50), concurrency=2, retries=QUICK)
    assert {answer.outcome for answer in answers} == {RequestOutcome.CONNECT_ERROR}
    assert sum(answer.attempts == 0 for answer in answers) >= 40
    assert "not sent" in answers[-1].error


def test_the_requests_own_mistake_is_not_sent_again(scripted: Callable[..., Any]) -> None:
    body = b'{"error": {"message": "maximum context length is 2048"}}'
    server = scripted(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    (answer,) = complete_all(server.server, asking(1), retries=QUICK)
    assert (answer.attempts, answer.outcome) == (1, RequestOutcome.HTTP_ERROR)
    assert "maximum context length" in answer.error


def test_an_error_in_the_stream_and_a_cut_are_infrastructure() -> None:
    for options, outcome in (
        (ReferenceOptions(ttft_ms=1, gap_ms=1, error_after=0), RequestOutcome.STREAM_ERROR),
        (ReferenceOptions(ttft_ms=1, gap_ms=1, cut_after=0), RequestOutcome.CUT),
    ):
        with running(options) as known:
            (answer,) = complete_all(known.server, asking(1), retries=QUICK)
        assert (answer.outcome, answer.attempts) == (outcome, 3)


def test_a_wrong_key_or_model_stops_everything_at_once() -> None:
    with running(ReferenceOptions(ttft_ms=1, api_key="right")) as known:
        wrong = dataclasses.replace(known.server, api_key="wrong")
        with pytest.raises(WrongServer, match="refuses the API key"):
            complete_all(wrong, asking(100), concurrency=4)
        other = dataclasses.replace(known.server, model="other")
        with pytest.raises(WrongServer, match="other"):
            complete_all(other, asking(100), concurrency=4)
        assert known.truth().requests == ()
        assert complete_all(known.server, asking(1))[0].ok


def test_a_misspelt_field_is_found_before_anything_is_sent() -> None:
    with running(ReferenceOptions(ttft_ms=1)) as known:
        with pytest.raises(UsageError, match="temperature"):
            complete_all(known.server, [*asking(5), *asking(1, temprature=0.6)])
        assert known.truth().requests == ()


def test_no_requests_are_no_answers(scripted: Callable[..., Any]) -> None:
    assert complete_all(scripted(b"").server, []) == []


def test_whole_answers_say_what_streamed_ones_say() -> None:
    options = ReferenceOptions(ttft_ms=1, gap_ms=1, eos_after=4)
    with running(options) as known:
        streamed = complete_all(known.server, asking(12), concurrency=3)
        whole = complete_all(known.server, asking(12), concurrency=3, whole=True)
    assert [dataclasses.replace(one, seconds=0.0) for one in whole] == [
        dataclasses.replace(one, seconds=0.0) for one in streamed
    ]
    assert {one.finish_reason for one in whole} == {"length", "stop"}


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{}", RequestOutcome.CUT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", RequestOutcome.CUT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", RequestOutcome.STREAM_ERROR),
        (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}", RequestOutcome.HTTP_ERROR),
    ],
)
def test_half_a_whole_answer_is_none(
    scripted: Callable[..., Any], response: bytes, outcome: RequestOutcome
) -> None:
    def once(connection: Any) -> None:
        connection.recv(65536)
        connection.sendall(response)

    (answer,) = complete_all(scripted(once).server, asking(1), retries=QUICK, whole=True)
    assert (answer.outcome, answer.attempts, answer.text) == (outcome, 3, "")


def test_thinking_and_answer_are_kept_apart() -> None:
    with running(
        ReferenceOptions(ttft_ms=1, gap_ms=1, reasoning_field="reasoning", reasoning_tokens=2)
    ) as known:
        (answer,) = complete_all(
            known.server, [{"messages": [{"role": "user", "content": "x"}], "max_tokens": 5}]
        )
    assert (answer.reasoning, answer.text) == (" tok tok", " tok tok tok")


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("\u0001\u200b" * 24, RequestOutcome.EMPTY),
        ("\ufffd" * 48, RequestOutcome.EMPTY),
        ("\u200b\n \u2060", RequestOutcome.EMPTY),
        ("\n\n", RequestOutcome.OK),
        ("\u200b4", RequestOutcome.OK),
        ("答\ufffd", RequestOutcome.OK),
    ],
)
def test_an_answer_that_nobody_can_see_is_none(
    scripted: Callable[..., Any], text: str, outcome: RequestOutcome
) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
    body = json.dumps({"choices": [choice], "usage": {"completion_tokens": 48}}).encode()
    server = scripted(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    (answer,) = complete_all(server.server, asking(1), retries=QUICK, whole=True)
    assert (answer.outcome, answer.attempts) == (outcome, 1)
    assert answer.text == text
