"""No bytes make the reader fail, hang or say something else for being cut elsewhere."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.client.trace import RequestOutcome
from tests.client.fuzz_reader import case_of, check
from tests.client.fuzz_seeds import DIALECTS, seeds

places = st.lists(st.integers(0, 4000), max_size=8)
chunks = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "index": st.integers(0, 1),
                    "delta": st.fixed_dictionaries(
                        {}, optional={"content": st.text(max_size=5), "reasoning": st.text(max_size=3)}
                    ),
                    "finish_reason": st.sampled_from([None, "stop", "abort", 3]),
                },
            ),
            max_size=2,
        ),
        "usage": st.fixed_dictionaries({}, optional={"completion_tokens": st.integers(-2, 9)}),
        "error": st.sampled_from(["", "broken", {"message": "no", "code": 500}]),
    },
)
events = st.one_of(chunks.map(json.dumps), st.sampled_from(["[DONE]", "{", "3", "null", ""]))


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """What a server might say on a bad day."""
    end = draw(st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"]))
    body = b"".join(b"data: " + event.encode() + end for event in draw(st.lists(events, max_size=5)))
    head = b"HTTP/1.1 " + draw(st.sampled_from([b"200 OK", b"500 X", b"100 Continue\r\n\r\nHTTP/1.1 200 OK"]))
    kind = draw(st.sampled_from(["chunked", "length", "until the end", "lies"]))
    if kind == "chunked":
        pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
        wired = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        return head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + wired[: draw(st.integers(0, len(wired)))]
    if kind == "until the end":
        return head + b"\r\n\r\n" + body
    length = len(body) + (draw(st.integers(-3, 3)) if kind == "lies" else 0)
    return head + b"\r\nContent-Length: %d\r\n\r\n" % max(0, length) + body


@settings(max_examples=300, deadline=None)
@given(responses(), places)
def test_a_response_is_read_alike_however_it_was_cut(wire: bytes, cuts: list[int]) -> None:
    check(wire, cuts)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.booleans(), places)
def test_bytes_that_are_no_response_are_a_result(noise: bytes, headed: bool, cuts: list[int]) -> None:
    check(b"HTTP/1.1 200 OK\r\n" * headed + noise, cuts)


def test_a_whole_stream_is_ok_wherever_it_is_cut() -> None:
    chunk = json.dumps({"choices": [{"index": 0, "delta": {"content": "é世"}, "finish_reason": "stop"}]})
    body = f"data: {chunk}\n\ndata: [DONE]\n\n".encode()
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    for place in range(len(wire)):
        trace = check(wire, [place])
        assert (trace.outcome, trace.text) == (RequestOutcome.OK, "é世")


FOUND = [
    # atheris, 2026-11-25: a head that breaks off in a header's name told the headers before it, or not, by the cut.
    b"\x01\x00\x26HTTP/1.1 200 OK\r\nContent-Type: text\r\nTransfer-Encod]ing: chunked\r\n\r\n0\r\n\r\n",
    # The same in a trailer, which is no header.
    b"\x01\x00\x49HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nTrailer: x\r\nB]d: 1\r\n\r\n",
]


@pytest.mark.parametrize("data", FOUND)
def test_what_the_fuzzer_found_is_read_alike_however_it_is_cut(data: bytes) -> None:
    wire, _ = case_of(data)
    for place in range(len(wire)):
        check(wire, [place])


def test_the_fuzzers_seeds_are_what_servers_say_and_read_alike_however_cut() -> None:
    outcomes = [check(*case_of(seed)).outcome for seed in seeds()]
    whole = 2 * 2 * sum(not options.no_finish_reason for options in DIALECTS)
    assert outcomes.count(RequestOutcome.OK) >= whole, "every dialect with a finish reason is a whole answer"
    assert set(outcomes) >= {RequestOutcome.HTTP_ERROR, RequestOutcome.STREAM_ERROR, RequestOutcome.CUT}
