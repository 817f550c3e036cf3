"""Where a fuzzer of the reader begins: whole responses in every dialect that the reference server speaks, and a few
that only other servers send. Generated, so that they follow what is known of dialects.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.replies import (
    END,
    HEADERS,
    ReplyPlan,
    ReplyWriter,
    http_chunk,
    render,
)

DIALECTS = (
    ReferenceOptions(),
    ReferenceOptions(tokens_per_chunk=4),
    ReferenceOptions(empty_deltas=True),
    ReferenceOptions(reasoning_field="reasoning_content", reasoning_tokens=2),
    ReferenceOptions(reasoning_field="reasoning"),
    ReferenceOptions(think_tokens=3),
    ReferenceOptions(crlf=True, comments=True),
    ReferenceOptions(no_space=True, split_utf8=True),
    ReferenceOptions(no_done=True, no_usage=True),
    ReferenceOptions(no_finish_reason=True),
)
OTHERS = (
    b'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 39\r\n\r\n{"error":{"message":"no","code":"oops"}}',
    b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\ndata: [DONE]\n\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\xef\xbb\xbfdata:[DONE]\r\revent: x\rid: 1\rretry: 3\r\r",
    b'HTTP/1.0 200 OK\r\n\r\ndata: {"choices":[{"text":"a","logprobs":{"tokens":["a"]}}]}\n\ndata: [DONE]\n\n',
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\ndata:\r\n9\r\n"
        b'{"error":\r\n3\r\n"n"\r\n3\r\n}\n\n\r\n0\r\nTrailer: x\r\n\r\n'
    ),
    b'HTTP/1.1 200 OK\r\nContent-Length: 61\r\n\r\ndata: {"choices":[{"delta":{"content":"\\ud83d"},"index":0}]}\n\n',
    b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ndata: {"usage":{"completion_tok',
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
)


def wires() -> Iterator[bytes]:
    """Responses as they come from the socket."""
    for options, chat in product(DIALECTS, (True, False)):
        plan = ReplyPlan(
            tokens=6,
            prompt_tokens=4,
            finish_reason="stop",
            chat=chat,
            usage=not options.no_usage,
            usage_per_chunk=chat and not options.no_usage,
        )
        tail = ReplyWriter(plan, options).tail()
        body = b"".join(data for data, _ in render(plan, options)) + http_chunk(tail)
        yield HEADERS + body + END
    yield from OTHERS


def seeds() -> Iterator[bytes]:
    """The same as inputs of ``fuzz_reader.case_of``: uncut, and cut in three places."""
    for wire in wires():
        yield b"\x00" + wire
        cuts = (len(wire) // 3, len(wire) // 2, len(wire) - 3)
        yield bytes([len(cuts)]) + b"".join(cut.to_bytes(2, "big") for cut in cuts) + wire
