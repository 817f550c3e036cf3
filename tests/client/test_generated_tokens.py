"""Answers as tokens: the ids and log probabilities of chats and completions, and how they may be missing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from pytest_llmperf.client.generated_tokens import GeneratedTokens, generated_tokens
from pytest_llmperf.client.likelihood import TokenScores, token_scores
from tests.client.conftest import ScriptedServer

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 4}


def response(body: Any, status: str = "200 OK") -> bytes:
    content = json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def sent(state: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(state.requests[0].partition(b"\r\n\r\n")[2])
    return found


def test_a_chat_gives_its_tokens_and_their_log_probabilities(scripted: ScriptedServer) -> None:
    choice = {
        "token_ids": [5, 6],
        "message": {"content": "ab"},
        "logprobs": {"content": [{"logprob": -0.5}, {"logprob": -1.5}]},
    }
    state = scripted(response({"prompt_token_ids": [1, 2, 3], "choices": [choice]}))
    assert generated_tokens(state.server, [CHAT]) == [GeneratedTokens((1, 2, 3), (5, 6), (-0.5, -1.5), "ab")]
    body = sent(state)
    assert (body["return_token_ids"], body["logprobs"], body["top_logprobs"]) == (True, True, 0)


def test_a_completion_gives_them_too(scripted: ScriptedServer) -> None:
    choice = {
        "prompt_token_ids": [1],
        "token_ids": [5],
        "text": "a",
        "logprobs": {"token_logprobs": [-0.5]},
    }
    state = scripted(response({"choices": [choice]}))
    assert generated_tokens(state.server, [{"prompt": "?", "max_tokens": 1}]) == [
        GeneratedTokens((1,), (5,), (-0.5,), "a")
    ]
    assert sent(state)["logprobs"] == 0


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (response({"error": {"message": "too long"}}, "400 Bad Request"), "HTTP 400: .*too long"),
        (response({"choices": []}), "returned no token ids"),
        (response({"choices": [{"message": {"content": "a"}}]}), "returned no token ids"),
        (response({"prompt_token_ids": [1], "choices": [{"token_ids": ["a"]}]}), "returned no token ids"),
        (response({"prompt_token_ids": [], "choices": [{"token_ids": [1]}]}), "returned no token ids"),
        (response([]), "returned no token ids"),
        (response({"choices": "none"}), "returned no token ids"),
        (response({"choices": [None]}), "returned no token ids"),
    ],
)
def test_what_a_server_does_not_tell_is_an_error(scripted: ScriptedServer, said: bytes, why: str) -> None:
    (found,) = generated_tokens(scripted(said).server, [CHAT])
    assert found.answer == ()
    assert re.search(why, found.error)


@pytest.mark.parametrize(
    "told",
    [{"content": [{"logprob": -0.5}]}, {"content": [-0.5, -0.5]}, {"token_logprobs": -1}, [-0.5, -0.5]],
)
def test_log_probabilities_that_are_not_of_all_tokens_are_left_out(
    scripted: ScriptedServer, told: object
) -> None:
    choice = {"token_ids": [5, 6], "logprobs": told}
    state = scripted(response({"prompt_token_ids": [1], "choices": [choice]}))
    assert generated_tokens(state.server, [CHAT])[0].log_probabilities == ()


def test_given_tokens_are_scored_with_rank_and_text(scripted: ScriptedServer) -> None:
    first = {"logprob": -0.5, "rank": 2, "decoded_token": "x\ud800"}
    entries = [None, {"7": first}, {"8": {"logprob": -0.0}}]
    state = scripted(response({"choices": [{"prompt_logprobs": entries}]}))
    assert token_scores(state.server, [(6, 7, 8)], needed_by="it") == [
        TokenScores((-0.5, -0.0), (2, 0), ("x?", ""))
    ]
    assert sent(state)["prompt"] == [6, 7, 8]
