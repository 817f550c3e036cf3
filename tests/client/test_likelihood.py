"""Log probabilities of texts: summed by text, and every way in which a server may fail to tell them."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmperf.client.likelihood import Likelihood, likelihoods, scores_together
from tests.client.conftest import ScriptedServer, read_request


def response(body: Any, status: str = "200 OK") -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def told(*values: float | None) -> bytes:
    entries = [None if value is None else {"17": {"logprob": value, "rank": 3}} for value in values]
    return response({"choices": [{"text": "x", "prompt_logprobs": entries}]})


def test_every_text_is_scored_greedily_and_in_its_order(scripted: ScriptedServer) -> None:
    state = scripted(told(None, -1.5, -0.25, -2.0))
    assert (
        likelihoods(state.server, ["a b c d", "a b c d"], concurrency=1) == [Likelihood(3, -3.75, -1.5)] * 2
    )
    sent = json.loads(state.requests[0].partition(b"\r\n\r\n")[2])
    assert sent["prompt"] == "a b c d"
    assert (sent["prompt_logprobs"], sent["temperature"], sent["max_tokens"]) == (0, 0.0, 1)


def test_no_text_asks_nothing(scripted: ScriptedServer) -> None:
    assert likelihoods(scripted(told()).server, []) == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (response({"error": {"message": "too long"}}, "400 Bad Request"), "HTTP 400: .*too long"),
        (response(b"not JSON"), "returned no prompt_logprobs"),
        (response({"choices": []}), "returned no prompt_logprobs"),
        (response({"choices": [{"prompt_logprobs": None}]}), "returned no prompt_logprobs"),
        (told(None, float("-inf")), "has no log probability"),
        (told(None, 0.5), "has no log probability"),
        (response({"choices": [{"prompt_logprobs": [None, {}]}]}), "has no log probability"),
    ],
)
def test_what_a_server_does_not_tell_is_an_error_and_no_number(
    scripted: ScriptedServer, said: bytes, why: str
) -> None:
    (found,) = likelihoods(scripted(said).server, ["a b"])
    assert found.tokens == 0
    assert re.search(why, found.error)


def test_two_servers_are_asked_at_the_same_time_and_each_has_its_own_scores(
    scripted: ScriptedServer,
) -> None:
    both_wait = threading.Barrier(2, timeout=30)

    def meeting(response: bytes) -> Callable[[socket.socket], None]:
        def handle(connection: socket.socket) -> None:
            while read_request(connection):
                both_wait.wait()
                connection.sendall(response)

        return handle

    servers = [scripted(meeting(told(None, value))).server for value in (-1.5, -0.25)]
    found = scores_together(servers, ["a b"] * 3, needed_by="fidelity", concurrency=1)
    assert [[scores.log_probabilities for scores in side] for side in found] == [
        [(-1.5,)] * 3,
        [(-0.25,)] * 3,
    ]
