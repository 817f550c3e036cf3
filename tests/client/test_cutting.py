"""Texts cut by the server's own tokenizer: never too long, hardly too short, behind a whole word."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from pytest_llmperf.client.tokenizer import cut
from pytest_llmperf.errors import RequestFailed
from tests.client.conftest import ScriptedServer, read_request


def tokenizer(tokens: Callable[[str], int], status: str = "200 OK") -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        while request := read_request(connection):
            body = json.loads(request.partition(b"\r\n\r\n")[2])
            assert body["add_special_tokens"] is False
            content = json.dumps({"count": tokens(body["prompt"])}).encode()
            connection.sendall(
                f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
            )

    return handle


def pieces(text: str) -> int:
    """A token is four characters of a word at most."""
    return sum(-(-len(word) // 4) for word in text.split())


LONG = "  ".join("word" * (1 + k % 5) for k in range(900))


def test_a_long_text_is_cut_to_nearly_the_limit_and_a_short_one_is_left(scripted: ScriptedServer) -> None:
    state = scripted(tokenizer(pieces))
    found = cut(state.server, [LONG, "a short one"], 480)
    assert found.counted
    assert found.texts[1] == "a short one"
    assert LONG.startswith(found.texts[0])
    assert not LONG[len(found.texts[0])].strip(), "cut within a word"
    assert 477 <= pieces(found.texts[0]) <= 480


@pytest.mark.parametrize("limit", [1, 7, 2_000])
def test_no_limit_is_exceeded(scripted: ScriptedServer, limit: int) -> None:
    found = cut(scripted(tokenizer(pieces)).server, [LONG], limit)
    assert pieces(found.texts[0]) <= limit
    assert found.texts[0]


def test_a_text_whose_words_differ_in_length_costs_few_questions(scripted: ScriptedServer) -> None:
    asked = 0

    def counted(text: str) -> int:
        nonlocal asked
        asked += 1
        return pieces(text)

    uneven = "of " * 700 + "incomprehensibilities " * 300
    cut(scripted(tokenizer(counted)).server, [uneven] * 10, 480)
    assert asked <= 1 + 10 * 8


def test_without_a_tokenizer_the_length_is_estimated_and_said_to_be(scripted: ScriptedServer) -> None:
    found = cut(scripted(tokenizer(pieces, "404 Not Found")).server, [LONG, "short"], 100)
    assert not found.counted
    assert found.texts[1] == "short"
    assert LONG.startswith(found.texts[0])
    assert 380 <= len(found.texts[0]) <= 400


def test_a_tokenizer_that_fails_is_no_estimate(scripted: ScriptedServer) -> None:
    with pytest.raises(RequestFailed, match="HTTP 500"):
        cut(scripted(tokenizer(pieces, "500 Oops")).server, [LONG], 100)
