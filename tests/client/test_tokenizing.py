"""A server's own tokens of a prompt, and that a server which does not tell is no error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmperf.client.tokenizer import Tokenized, detokenize, tokenize
from tests.client.conftest import ScriptedServer

CHAT = {"messages": [{"role": "user", "content": "How many?"}]}


def response(body: Any, status: str = "200 OK") -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def test_tokens_and_limit_are_read_and_the_model_is_named(scripted: ScriptedServer) -> None:
    state = scripted(response({"count": 2, "max_model_len": 4096, "tokens": [5, 7]}))
    assert tokenize(state.server, [CHAT]) == [Tokenized((5, 7), 4096)]
    head, _, body = state.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /tokenize ")
    assert json.loads(body) == {"model": state.server.model, **CHAT}


def test_a_server_without_a_limit_tells_the_tokens_all_the_same(scripted: ScriptedServer) -> None:
    state = scripted(response({"tokens": [5]}))
    assert tokenize(state.server, [CHAT, CHAT]) == [Tokenized((5,), None)] * 2


@pytest.mark.parametrize(
    "said",
    [
        response({"detail": "Not Found"}, "404 Not Found"),
        response({"error": "Unauthorized"}, "401 Unauthorized"),
        response(b"not JSON"),
        response([1, 2]),
        response({"count": 3}),
        response({"tokens": ["a", "b"]}),
        response({"tokens": [1, True]}),
    ],
)
def test_what_a_server_does_not_tell_is_none(scripted: ScriptedServer, said: bytes) -> None:
    state = scripted(said)
    assert tokenize(state.server, [CHAT]) == [None]
    assert detokenize(state.server, [1]) is None


def test_tokens_are_read_as_text(scripted: ScriptedServer) -> None:
    state = scripted(response({"prompt": "<s>How many?"}))
    assert detokenize(state.server, [1, 5, 7]) == "<s>How many?"
    head, _, body = state.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /detokenize ")
    assert json.loads(body)["tokens"] == [1, 5, 7]


def test_no_prompt_asks_nothing(scripted: ScriptedServer) -> None:
    state = scripted(response({}))
    assert tokenize(state.server, []) == []
    assert state.requests == []
